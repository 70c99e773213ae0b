"""litert-torch, isolated: from a PyTorch module to a TFLite file, for what the writer cannot say.

It is Google's converter, through MLIR. The module travels as an exported program; torch itself is
this package's, which the worker finds behind what its own environment has.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.export.isolated import IsolatedConverter, calibration_file
from shufflenet_deploy.export.torch_program import save_program

if TYPE_CHECKING:
    from torch import nn

_HERE = Path(__file__).parent

CONVERTER = IsolatedConverter(
    name="litert-torch",
    lock=_HERE / "litert_torch.lock.txt",
    worker=_HERE / "litert_torch_worker.py",
    pythons=((3, 11), (3, 13)),
    installs="litert-torch (once, about 1.4 GB)",
    advice="use --converter onnx2tf",
)


def convert(
    module: nn.Module,
    shape: Sequence[int],
    path: Path,
    calibration: Sequence[NDArray[np.float32]] | None,
    on_stage: Callable[[str], None],
) -> None:
    """Convert a module in eval mode that takes one image of ``shape`` (C, H, W) to a TFLite file.

    Input and maps are NHWC in the file. With ``calibration`` inputs ``(1, C, H, W)`` it is
    full-integer int8, else fp32.

    Raises:
        UsageError: there are no wheels for this Python, or the cache cannot be written.
        ExportError: the module cannot be exported, the environment cannot be installed, or
            litert-torch fails.
    """
    import torch  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="shufflenet-deploy-") as name:
        folder = Path(name)
        order = {
            "program": str(save_program(module, shape, folder / "module.pt2")),
            "shape": [1, *shape],
            "torch": str(Path(torch.__file__).parents[1]),
            "calibration": None,
        }
        if calibration is not None:
            planes = (image.transpose(0, 2, 3, 1) for image in calibration)
            order["calibration"] = calibration_file(folder, planes)
        shutil.copyfile(CONVERTER.run(order, folder, on_stage), path)
