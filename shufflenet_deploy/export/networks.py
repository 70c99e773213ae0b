"""What answers a picture: a PyTorch module, or an exported file in its runtime.

Everything runs on one thread, so that several processes may share a machine and an answer does not
depend on how many there are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from shufflenet_deploy.export import parity
from shufflenet_deploy.export.parity import FloatArray
from shufflenet_deploy.records import Format

#: From one picture ``(1, 3, H, W)`` to its scores ``(classes,)``.
Network = Callable[[FloatArray], FloatArray]


def of_module(module: nn.Module) -> Network:
    """The answers of a module in eval mode."""
    torch.set_num_threads(1)

    def answer(picture: FloatArray) -> FloatArray:
        scores: FloatArray = parity.expected(module, [picture])[0].ravel()
        return scores

    return answer


def of_file(path: Path, format: Format) -> Network:  # noqa: A002
    """The answers of an exported file.

    Raises:
        ExportError: its runtime cannot load it.
    """
    file = (
        parity.OnnxFile(path, threads=1) if format is Format.ONNX else parity.RUNTIMES[format](path)
    )

    def answer(picture: FloatArray) -> FloatArray:
        scores: FloatArray = file.run(picture).ravel()
        return scores

    return answer
