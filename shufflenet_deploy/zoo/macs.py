"""Multiply-adds and parameters, as the paper counts them: convolutions and fully connected layers.

Biases, normalisation, activations, pooling and additions are not counted: after folding they cost
little next to the rest, and no table of the paper includes them.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import Record, Resolution


class Complexity(Record):
    """Cost of one image. ``layers`` holds the multiply-adds per layer, in order."""

    multiply_adds: int
    parameters: int
    layers: dict[str, int]


def complexity(
    module: nn.Module, resolution: Resolution, name: str = "this network", *, channels: int = 3
) -> Complexity:
    """Count ``module`` at one resolution, by shapes alone where it can be run without numbers.

    ``layers`` are the modules that convolve or multiply; what ``forward`` does without a module of
    its own is counted in the sum. ``name`` names the network in errors.

    Raises:
        UsageError: the network cannot take an image of this size.
    """
    layers: dict[str, int] = {}
    names = {child: name for name, child in module.named_modules()}

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
        if not isinstance(output, Tensor):
            return  # a layer made into another, such as of maps of two sizes
        weight = cast("Tensor", layer.weight)
        values = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        uses = values.numel() // values.shape[0]
        layers[names[layer]] = layers.get(names[layer], 0) + uses * weight[0].numel()

    hooks = [
        child.register_forward_hook(count)
        for child in module.modules()
        if isinstance(child, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
    ]
    try:
        operations = run_shapes(module, resolution, name, channels=channels)
    finally:
        for hook in hooks:
            hook.remove()
    return Complexity(
        multiply_adds=operations // 2,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        layers=layers,
    )


def run_shapes(
    module: nn.Module, resolution: Resolution, name: str = "this network", *, channels: int = 3
) -> int:
    """Run ``module`` without numbers; returns its multiplications and additions.

    On the meta device, or, where the module mixes that with tensors of its own, on the CPU.

    Raises:
        UsageError: the network cannot take an image of this size.
    """
    # A module that is there under two paths is named once: what is tied is put back wrongly.
    state: dict[str, Any] = {
        f"{path}.{name}".lstrip("."): torch.empty_like(tensor, device="meta")
        for path, part in module.named_modules()
        for name, tensor in (
            *part.named_parameters(recurse=False, remove_duplicate=False),
            *part.named_buffers(recurse=False, remove_duplicate=False),
        )
    }
    shape = (1, channels, resolution.height, resolution.width)
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter:
            image = torch.empty(shape, device="meta")
            functional_call(module, state, (image,), tie_weights=False)
    except Exception as error:
        if any(tensor.is_meta for tensor in module.parameters()):
            raise _unsuitable(resolution, name, error) from error
        counter = FlopCounterMode(display=False)
        try:
            with torch.no_grad(), counter:
                module(torch.zeros(shape))
        except Exception as real:
            raise _unsuitable(resolution, name, real) from real
    return int(counter.get_total_flops())


def _unsuitable(resolution: Resolution, name: str, error: Exception) -> UsageError:
    if "Sizes of tensors must match" in str(error):
        return UsageError(
            f"{resolution} does not suit {name}: its branches get maps of different sizes;"
            " choose a multiple of 32"
        )
    return UsageError(
        f"{resolution} is too small for {name}: its feature maps shrink to nothing;"
        " choose a larger resolution"
    )
