"""Inference on one image: a PyTorch module, or an exported file in its runtime.

Everything runs on one thread, so that several processes may share a machine and a result does not
depend on how many there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from shufflenet_deploy.export import formats
from shufflenet_deploy.export.parity import FloatArray
from shufflenet_deploy.network.frontends import recording
from shufflenet_deploy.network.one_thread import one_thread
from shufflenet_deploy.records import Artifact
from shufflenet_deploy.zoo.model import Model

#: From one image ``(1, 3, H, W)`` to its logits ``(classes,)``, the first of several outputs.
Network = Callable[[FloatArray], FloatArray]


def of_module(module: nn.Module) -> Network:
    """Inference function of a module in eval mode."""

    @one_thread()
    def infer(image: FloatArray) -> FloatArray:
        with torch.inference_mode():
            first, *_ = recording.outputs(module(torch.from_numpy(image)))
        logits: FloatArray = first.numpy().ravel()
        return logits

    return infer


def of_file(artifact: Artifact, model: Model) -> Network:
    """Inference function of an exported file. ``model``, its source, serves native programs:
    where this machine cannot run one, the same network compiled for it runs instead.

    Raises:
        ExportError: its runtime cannot load it.
        UsageError: the replacement of a program needs calibration images that are not there now.
    """
    file = formats.get(artifact.format).of_artifact(artifact, model)

    classes = math.prod(file.outputs[0].shape)

    def infer(image: FloatArray) -> FloatArray:
        logits: FloatArray = file.run(image).ravel()[:classes]
        return logits

    return infer
