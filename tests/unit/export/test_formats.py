"""The registry of formats and the readers of ncnn's and MNN's files, undamaged and hostile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from mobile_files import DESCRIBED, LAYERS, mnn_file, ncnn_file

from shufflenet_deploy import runtime
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export import formats
from shufflenet_deploy.export.inspection.contents import inspect
from shufflenet_deploy.export.mnn import flat_buffer


def test_every_format_has_a_runtime_that_runs_it() -> None:
    assert {"onnx", "tflite", "native", "ncnn", "mnn"} <= set(formats.names())
    for one in formats.every():
        assert formats.get(one.name) is one
        assert one.name in runtime.get(one.runtime).formats
    with pytest.raises(UsageError, match="did you mean ncnn"):
        formats.get("nccn")


def test_every_runtime_runs_a_format_that_there_is() -> None:
    for name in runtime.names():
        assert set(runtime.get(name).formats) <= set(formats.names())


def test_descriptions_load_no_framework() -> None:
    """Whether a file is there already is asked of every format."""
    program = (
        "import sys\nfrom shufflenet_deploy import runtime\nfrom shufflenet_deploy.export import"
        " formats\nformats.every()\n[runtime.get(name) for name in runtime.names()]\n"
        "print({'torch', 'numpy', 'onnx', 'onnxruntime'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_ncnn_files_state_their_cost(tmp_path: Path) -> None:
    found = inspect(ncnn_file(tmp_path / "a.ncnn", described=DESCRIBED, fp16=True))
    assert (found.format, found.precision) == ("ncnn", "fp16")
    # 8x27 over 16x12, 8x9 over 8x6, and 80.
    assert found.multiply_adds == 216 * 192 + 72 * 48 + 80
    assert found.parameters == 216 + 8 + 72 + 80 + 10
    assert found.operations["Convolution"] == 1
    assert [one.shape for one in (*found.inputs, *found.outputs)] == [(1, 3, 16, 12), (1, 10)]
    assert not found.warnings


def test_ncnn_files_of_strangers_leave_their_input_open(tmp_path: Path) -> None:
    path = ncnn_file(tmp_path / "a.ncnn")
    assert inspect(path).inputs[0].shape == (1, 0, 0, 0)
    found = inspect(path, shapes={"in0": (1, 3, 16, 12)})
    assert found.multiply_adds == 216 * 192 + 72 * 48 + 80
    odd = LAYERS.replace("Pooling", "Whatever")
    named = inspect(ncnn_file(tmp_path / "b.ncnn", layers=odd, described=DESCRIBED))
    assert named.warnings == ("multiply-adds are not known behind Whatever",)


@pytest.mark.parametrize(
    "layers",
    [
        "",
        "7767518\n1 1\n",
        "7767517\n1 1\n",
        "7767517\n1 1\nInput in 0 1\n",
        LAYERS.replace("0=8", "0=x"),
        LAYERS.replace("1=3", "1=999999999999"),
        LAYERS.replace("3=2", "3=0"),
        LAYERS.replace("in 0 1", "in -1 1"),
    ],
    ids=range(8),
)
def test_damaged_ncnn_files_are_refused(tmp_path: Path, layers: str) -> None:
    with pytest.raises(UsageError, match="not an undamaged ncnn file"):
        inspect(ncnn_file(tmp_path / "a.ncnn", layers=layers, described=DESCRIBED))


def test_mnn_files_are_known_by_their_first_table() -> None:
    content = mnn_file("maker")
    assert flat_buffer.looks_like_mnn(content[: formats.MARK_BYTES])
    assert flat_buffer.maker(content) == "maker"
    assert flat_buffer.weights(content) == (0, False)


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"\x08\x0a\x12\x07pytorch" + bytes(60),
        b"\x1c\0\0\0TFL3" + bytes(60),
        b"\x7fELF\x02\x01\x01" + bytes(60),
        b"\xff" * 64,
        bytes(64),
    ],
    ids=("empty", "onnx", "tflite", "elf", "ones", "zeros"),
)
def test_other_files_are_not_taken_for_mnn(start: bytes) -> None:
    assert not flat_buffer.looks_like_mnn(start)


def test_an_mnn_file_cut_anywhere_is_refused() -> None:
    content = mnn_file("maker")
    for length in range(len(content) - 1):
        with pytest.raises(ValueError, match=r"outside of the file|longer than the file"):
            flat_buffer.maker(content[:length])
