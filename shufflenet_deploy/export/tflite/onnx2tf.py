"""onnx2tf, isolated: from an ONNX file to a TFLite file by way of TensorFlow.

The sample file that onnx2tf would download is made from the shipped photographs.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.export.image_set import load_image_set, read
from shufflenet_deploy.export.isolated import IsolatedConverter, calibration_file
from shufflenet_deploy.records import Resolution

_HERE = Path(__file__).parent

CONVERTER = IsolatedConverter(
    name="onnx2tf",
    lock=_HERE / "onnx2tf.lock.txt",
    worker=_HERE / "onnx2tf_worker.py",
    # TensorFlow 2.19 has wheels for these only.
    pythons=((3, 10), (3, 12)),
    installs="onnx2tf and TensorFlow (once, about 2 GB)",
    advice="use --converter direct",
)

#: What onnx2tf looks for in its working folder before it goes to the network.
_SAMPLE = "calibration_image_sample_data_20x128x128x3_float32.npy"
_SAMPLE_COUNT, _SAMPLE_SIZE = 20, Resolution(height=128, width=128)


def convert(
    source: Path,
    path: Path,
    calibration: Sequence[NDArray[np.float32]] | None,
    on_stage: Callable[[str], None],
) -> None:
    """Convert the ONNX file ``source`` to a TFLite file at ``path``.

    With ``calibration`` inputs ``(1, 3, H, W)`` the file is full-integer int8, else fp32.

    Raises:
        UsageError: TensorFlow does not exist for this Python, or the cache cannot be written.
        ExportError: the environment cannot be installed, or onnx2tf fails.
    """
    with tempfile.TemporaryDirectory(prefix="shufflenet-deploy-") as name:
        folder = Path(name)
        _write_sample(folder / _SAMPLE)
        order = {"onnx": str(source), "calibration": None}
        if calibration is not None:
            planes = (image.transpose(0, 2, 3, 1) for image in calibration)
            order["calibration"] = calibration_file(folder, planes)
        shutil.copyfile(CONVERTER.run(order, folder, on_stage), path)


def _write_sample(path: Path) -> None:
    """(20, 128, 128, 3) float32 in 0..1: what onnx2tf compares its own steps on."""
    shipped = load_image_set(None).calibration
    chosen = [shipped[index % len(shipped)] for index in range(_SAMPLE_COUNT)]
    np.save(path, np.stack([read(one, _SAMPLE_SIZE) for one in chosen]).astype(np.float32) / 255)
