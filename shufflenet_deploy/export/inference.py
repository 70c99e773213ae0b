"""Inference on one image: a PyTorch module, or an exported file in its runtime.

Everything runs on one thread, so that several processes may share a machine and a result does not
depend on how many there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from shufflenet_deploy.export import image_set, parity
from shufflenet_deploy.export.parity import FloatArray
from shufflenet_deploy.export.pipeline import prepared, traced
from shufflenet_deploy.network.frontends import recording
from shufflenet_deploy.network.quantization.calibration import calibrate
from shufflenet_deploy.records import Artifact, Format
from shufflenet_deploy.zoo.model import Model

#: From one image ``(1, 3, H, W)`` to its logits ``(classes,)``, the first of several outputs.
Network = Callable[[FloatArray], FloatArray]


def of_module(module: nn.Module) -> Network:
    """Inference function of a module in eval mode."""
    torch.set_num_threads(1)

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
    if artifact.format is Format.ONNX:
        file: parity.ExportedFile = parity.OnnxFile(artifact.path, threads=1)
    elif artifact.format is Format.NATIVE:
        file = _program(artifact, model)
    else:
        file = parity.RUNTIMES[artifact.format](artifact.path)

    classes = math.prod(file.outputs[0].shape)

    def infer(image: FloatArray) -> FloatArray:
        logits: FloatArray = file.run(image).ravel()[:classes]
        return logits

    return infer


def _program(artifact: Artifact, model: Model) -> parity.ExportedFile:
    from shufflenet_deploy import codegen  # noqa: PLC0415
    from shufflenet_deploy.export import native  # noqa: PLC0415

    size = artifact.resolution
    machine = codegen.cpu_target_named(artifact.options["machine"]).for_precision(
        artifact.precision
    )
    graph = traced(model, size)

    def stand_in() -> codegen.GeneratedC:
        made, recipe = artifact.calibration, artifact.recipe
        if made is None or recipe is None:
            return codegen.host_equivalent(graph, machine)
        chosen = image_set.reload(made).within_budget(size)
        images = image_set.Batches(chosen, model.preprocessing, size)
        rounded = prepared(model, size, recipe)
        ranges = calibrate(rounded, images, recipe.method)
        return codegen.host_equivalent(rounded, machine, ranges)

    return native.NativeExecutable(artifact.path, graph, machine, stand_in)
