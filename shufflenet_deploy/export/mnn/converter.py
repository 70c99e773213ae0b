"""MNN's converter and quantiser, isolated: from an ONNX file to an MNN file.

Ranges of int8 are calibrated in MNN itself, in the same environment, and written by ``int8``.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from shufflenet_deploy.export.isolated import IsolatedConverter, calibration_file
from shufflenet_deploy.export.job import Job, Written, onnx_file, reweighted_onnx
from shufflenet_deploy.export.mnn import int8
from shufflenet_deploy.export.mnn.padded_averages import bordered
from shufflenet_deploy.network.quantization import calibration
from shufflenet_deploy.network.quantization.ranges import Span
from shufflenet_deploy.records import Precision

_HERE = Path(__file__).parent

CONVERTER = IsolatedConverter(
    name="MNN",
    lock=_HERE / "mnn.lock.txt",
    worker=_HERE / "mnn_worker.py",
    pythons=((3, 11), (3, 14)),
    installs="MNN and its converter (once, about 100 MB)",
    advice="take --fmt onnx, tflite or native",
)


def write(job: Job) -> Written:
    """Write ``job.path``: weights in float32 or float16, or all of it in int8.

    Raises:
        UsageError: there are no wheels for this Python, or the cache cannot be written.
        ExportError: the environment cannot be installed, or MNN's tools fail.
    """
    job.report("converting to ONNX")
    converted = reweighted_onnx(job)
    if job.calibration is not None:
        converted = bordered(converted)
    with onnx_file(converted) as source:
        folder = source.parent
        order: dict[str, Any] = {
            "do": "convert",
            "onnx": str(source),
            "fp16": job.request.precision is Precision.FP16,
            "maker": stated(job),
            "int8": None,
        }
        if job.calibration is None:
            shutil.copyfile(CONVERTER.run(order, folder, job.report), job.path)
        else:
            job.report(job.calibrating())
            order["int8"] = _settings(job, folder / "calibration")
            quantised = CONVERTER.run(order, folder, job.report)
            spans = _spans(job, quantised.with_name("float.mnn"), folder)
            job.path.write_bytes(int8.ranged(quantised.read_bytes(), spans))
    return Written("MNN")


def stated(job: Job) -> str:
    """What the file says of itself, as JSON; the agent's engine looks at the precision."""
    fields = {
        "precision": job.request.precision.value,
        "metadata": json.loads(job.metadata.to_json()),
    }
    return json.dumps(fields)


def _spans(job: Job, floats: Path, folder: Path) -> dict[str, Span]:
    """The range to be told apart of each value of a file in floats, in MNN."""
    inside = folder / "ranges"
    inside.mkdir()
    order = {
        "do": "observe",
        "model": str(floats),
        "images": calibration_file(inside, job.images),
        "bins": 0 if job.recipe.method == "minmax" else calibration.BINS,
    }
    seen = json.loads(CONVERTER.run(order, inside, job.report).read_text())
    return {
        name: calibration.narrowed(
            np.array(one["counts"]), (one["span"][0], one["span"][1]), job.recipe.method
        )
        for name, one in seen.items()
    }


def _settings(job: Job, folder: Path) -> dict[str, object]:
    """Settings of the quantiser, which decodes images itself: they lie in ``folder``.

    What it makes of them is the structure of the file; ``int8`` writes the ranges.
    """
    from PIL import Image  # noqa: PLC0415

    card = job.model.preprocessing
    low, high = card.value_range
    folder.mkdir()
    size = job.request.resolution
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (card.mean, card.std))
    for index, batch in enumerate(job.images):
        pixels = (batch[0] * std + mean - low) * (255 / (high - low))
        levels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8).transpose(1, 2, 0)
        # The file is RGB whatever the network takes; the quantiser puts the order right.
        rgb = levels if card.channel_order == "RGB" else levels[:, :, ::-1]
        Image.fromarray(np.ascontiguousarray(rgb)).save(folder / f"{index:04}.png")
    return {
        "format": card.channel_order,
        "mean": [(mean - low) * 255 / (high - low) for mean in card.mean],
        "normal": [(high - low) / (255 * std) for std in card.std],
        "width": size.width,
        "height": size.height,
        "path": f"{folder}/",
        "used_image_num": len(job.images),
        "feature_quantize_method": "EMA",
        "quant_bits": 8,
        "batch_size": 1,
        "weight_quantize_method": "MAX_ABS",
    }
