"""A PyTorch module as a file of ``torch.export``, which converters of other environments read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from shufflenet_deploy.errors import ExportError

if TYPE_CHECKING:
    from torch import nn


def save_program(module: nn.Module, shape: Sequence[int], path: Path) -> Path:
    """Write a module in eval mode that takes one image of ``shape`` (C, H, W); return the path.

    Raises:
        ExportError: the module cannot be exported.
    """
    import torch  # noqa: PLC0415

    from shufflenet_deploy.export.onnx.fp32 import quiet  # noqa: PLC0415

    try:
        with quiet():
            program = torch.export.export(module, (torch.zeros(1, *shape),))
            torch.export.save(program, path)
    except Exception as error:  # whatever the module's own code or torch raises
        first = str(error).strip().partition("\n")[0]
        raise ExportError(
            f"torch.export cannot read the module: {type(error).__name__}: {first}"
        ) from error
    return path
