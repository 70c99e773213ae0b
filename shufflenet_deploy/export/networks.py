"""What answers a picture: a PyTorch module, or an exported file in its runtime.

Everything runs on one thread, so that several processes may share a machine and an answer does not
depend on how many there are.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from shufflenet_deploy.export import parity
from shufflenet_deploy.export.parity import FloatArray
from shufflenet_deploy.export.trace import trace
from shufflenet_deploy.records import Artifact, Format

#: From one picture ``(1, 3, H, W)`` to its scores ``(classes,)``.
Network = Callable[[FloatArray], FloatArray]


def of_module(module: nn.Module) -> Network:
    """The answers of a module in eval mode."""
    torch.set_num_threads(1)

    def answer(picture: FloatArray) -> FloatArray:
        scores: FloatArray = parity.expected(module, [picture])[0].ravel()
        return scores

    return answer


def of_file(artifact: Artifact, module: nn.Module) -> Network:
    """The answers of an exported file. ``module``, that it was made from, serves native programs:
    where this machine cannot run one, the same network compiled for it answers instead.

    Raises:
        ExportError: its runtime cannot load it.
    """
    if artifact.format is Format.ONNX:
        file: parity.ExportedFile = parity.OnnxFile(artifact.path, threads=1)
    elif artifact.format is Format.NATIVE:
        from shufflenet_deploy.export import native  # noqa: PLC0415

        graph = trace(module, artifact.resolution, artifact.model)
        machine = native.machine(artifact.options["machine"])
        file = native.NativeFile(artifact.path, graph, machine)
    else:
        file = parity.RUNTIMES[artifact.format](artifact.path)

    def answer(picture: FloatArray) -> FloatArray:
        scores: FloatArray = file.run(picture).ravel()
        return scores

    return answer
