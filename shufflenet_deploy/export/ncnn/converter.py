"""pnnx, isolated: from an ONNX file to ncnn's weights and layers, in one file.

int8 is calibrated in ncnn itself, in the same environment, and written by ``int8``.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np

from shufflenet_deploy.export.isolated import IsolatedConverter, calibration_file
from shufflenet_deploy.export.job import Job, Written, onnx_file, reweighted_onnx
from shufflenet_deploy.export.ncnn import archive, int8
from shufflenet_deploy.network.quantization import calibration
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
    """Write ``job.path``: weights in float32, float16 or int8, and how the file is fed.

    Raises:
        UsageError: there are no wheels for this Python, or the cache cannot be written.
        ExportError: the environment cannot be installed, pnnx fails, or the network has layers
            whose weights cannot be told from others.
    """
    job.report("converting to ONNX")
    converted = reweighted_onnx(job)
    with onnx_file(converted) as source:
        folder = source.parent
        order = {
            "do": "convert",
            "onnx": str(source),
            "fp16": job.request.precision is Precision.FP16,
            "inputs": [_shape(value) for value in converted.graph.input],
            "outputs": [_shape(value) for value in converted.graph.output],
            "metadata": job.metadata.to_json(),
        }
        with zipfile.ZipFile(CONVERTER.run(order, folder, job.report)) as made:
            parts = {name: made.read(name) for name in made.namelist()}
        weights = parts.pop(archive.WEIGHTS)
        archive.write(job.path, weights, parts)
        if job.calibration is not None:
            layers = parts[archive.LAYERS].decode("ascii")
            rounded, weights = int8.quantised(layers, weights, _peaks(job, layers, folder))
            archive.write(job.path, weights, {**parts, archive.LAYERS: rounded.encode("ascii")})
    return Written("pnnx")


def _peaks(job: Job, layers: str, folder: Path) -> dict[str, float]:
    """The largest magnitudes to be told apart of the values that layers in int8 read.

    They are observed in the fp32 file at ``job.path``, in ncnn.
    """
    job.report(job.calibrating())
    inside = folder / "calibration"
    inside.mkdir()
    order = {
        "do": "observe",
        "model": str(job.path.absolute()),
        "values": int8.inputs_of(layers),
        "images": calibration_file(inside, job.images),
        "bins": 0 if job.recipe.method == "minmax" else calibration.BINS,
    }
    seen = json.loads(CONVERTER.run(order, inside, job.report).read_text())
    return {
        name: _kept(one["peak"], one["counts"], job.recipe.method) for name, one in seen.items()
    }


def _kept(peak: float, counts: list[float], method: calibration.Method) -> float:
    low, high = calibration.narrowed(np.array(counts), (-peak, peak), method)
    return max(-low, high)


def _shape(value: object) -> list[int]:
    """The sizes of a tensor of an ONNX file of ours, which are all static."""
    dimensions = value.type.tensor_type.shape.dim  # type: ignore[attr-defined]
    return [int(one.dim_value) for one in dimensions]
