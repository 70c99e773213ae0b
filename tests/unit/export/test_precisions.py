"""Precisions of each format, and the error for any other."""

from __future__ import annotations

import pytest

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export.precisions import resolve
from shufflenet_deploy.records import Precision

FP32, FP16, INT8 = Precision


@pytest.mark.parametrize(
    ("file_format", "machine", "there"),
    [
        ("onnx", None, (FP32, INT8)),
        ("tflite", "cortex-a76", (FP32, INT8)),
        ("native", "cortex-a76", (FP32, FP16, INT8)),
        ("native", "max", (FP32, FP16, INT8)),
        ("native", "cortex-a72", (FP32, INT8)),
        ("native", "armv7", (FP32, INT8)),
        ("native", "x86-64-v4-vnni", (FP32, INT8)),
        ("native", None, (FP32, FP16, INT8)),
    ],
)
def test_all_is_what_there_is(file_format, machine, there):
    assert resolve(["all"], file_format, machine) == there
    assert resolve(["int8", "all"], file_format, machine) == there


def test_what_is_named_comes_in_the_order_it_was_named_in():
    assert resolve(["int8", "fp16", "int8"], "native", "cortex-a76") == (INT8, FP16)


@pytest.mark.parametrize(
    ("file_format", "machine", "runtime", "message"),
    [
        (
            "tflite",
            None,
            "",
            "fp16 is for --fmt mnn, native, ncnn or openvino: tflite has none; .*--precision all",
        ),
        (
            "onnx",
            None,
            "onnxruntime==1.30",
            "--runtime mnn, native, ncnn or openvino: onnxruntime==1.30 has none",
        ),
        (
            "native",
            "cortex-a72",
            "",
            "cortex-a72 does not compute in fp16: choose fp32, or cortex-a55",
        ),
    ],
)
def test_fp16_that_there_is_not(file_format, machine, runtime, message):
    with pytest.raises(UsageError, match=message) as raised:
        resolve(["fp32", "fp16"], file_format, machine, runtime=runtime)
    assert "\n" not in str(raised.value)
