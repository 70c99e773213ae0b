"""Multiply-adds and parameters, as the paper counts them: convolutions and fully connected layers.

Biases, normalisation, activations, pooling and additions are not counted: after folding they cost
little next to the rest, and no table of the paper includes them.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import Record, Resolution


class Complexity(Record):
    """Cost of one image. ``layers`` holds the multiply-adds per layer, in order."""

    multiply_adds: int
    parameters: int
    layers: dict[str, int]


def complexity(module: nn.Module, resolution: Resolution, name: str = "this network") -> Complexity:
    """Count ``module`` at one resolution, by shapes alone: no arithmetic, no image in memory.

    ``name`` names it in errors.

    Raises:
        UsageError: the network cannot take an image this small.
    """
    layers: dict[str, int] = {}
    names = {child: name for name, child in module.named_modules()}

    def count(layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weight = cast("Tensor", layer.weight)
        uses = output.numel() // output.shape[0]
        layers[names[layer]] = layers.get(names[layer], 0) + uses * weight[0].numel()

    hooks = [
        child.register_forward_hook(count)
        for child in module.modules()
        if isinstance(child, nn.Conv2d | nn.Linear)
    ]
    try:
        run_shapes(module, resolution, name)
    finally:
        for hook in hooks:
            hook.remove()
    return Complexity(
        multiply_adds=sum(layers.values()),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        layers=layers,
    )


def run_shapes(module: nn.Module, resolution: Resolution, name: str = "this network") -> None:
    """Run ``module`` on the meta device.

    Raises:
        UsageError: the network cannot take an image this small.
    """
    state: dict[str, Any] = {
        name: torch.empty_like(tensor, device="meta")
        for name, tensor in (*module.named_parameters(), *module.named_buffers())
    }
    image = torch.empty((1, 3, resolution.height, resolution.width), device="meta")
    try:
        with torch.no_grad():
            functional_call(module, state, (image,))
    except RuntimeError as error:
        if "Sizes of tensors must match" in str(error):
            raise UsageError(
                f"{resolution} does not suit {name}: its branches get maps of different sizes;"
                " choose a multiple of 32"
            ) from error
        raise UsageError(
            f"{resolution} is too small for {name}: its feature maps shrink to nothing;"
            " choose a larger resolution"
        ) from error
