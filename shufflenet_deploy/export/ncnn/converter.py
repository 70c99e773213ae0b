"""pnnx, isolated: from an ONNX file to ncnn's weights and layers, in one file."""

from __future__ import annotations

import shutil
from pathlib import Path

from shufflenet_deploy.export.isolated import IsolatedConverter
from shufflenet_deploy.export.job import Job, Written, onnx_file, plain_onnx
from shufflenet_deploy.records import Precision

_HERE = Path(__file__).parent

CONVERTER = IsolatedConverter(
    name="pnnx",
    lock=_HERE / "ncnn.lock.txt",
    worker=_HERE / "ncnn_worker.py",
    pythons=((3, 11), (3, 14)),
    installs="pnnx and ncnn (once, about 140 MB)",
    advice="take --fmt onnx, tflite or native",
)


def write(job: Job) -> Written:
    """Write ``job.path``: weights in float32 or float16, and how the file is fed.

    Raises:
        UsageError: there are no wheels for this Python, or the cache cannot be written.
        ExportError: the environment cannot be installed, or pnnx fails.
    """
    job.report("converting to ONNX")
    converted = plain_onnx(job)
    with onnx_file(converted) as source:
        order = {
            "onnx": str(source),
            "fp16": job.request.precision is Precision.FP16,
            "inputs": [_shape(value) for value in converted.graph.input],
            "outputs": [_shape(value) for value in converted.graph.output],
            "metadata": job.metadata.to_json(),
        }
        shutil.copyfile(CONVERTER.run(order, source.parent, job.report), job.path)
    return Written("pnnx")


def _shape(value: object) -> list[int]:
    """The sizes of a tensor of an ONNX file of ours, which are all static."""
    dimensions = value.type.tensor_type.shape.dim  # type: ignore[attr-defined]
    return [int(one.dim_value) for one in dimensions]
