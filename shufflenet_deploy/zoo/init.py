"""Seeded initialisation, the same on every machine, with plausible activation statistics.

Latency does not depend on the weights' values, but int8 ranges and parity do: with normalisation
statistics of (0, 1) activations would grow or vanish with depth. So the statistics are measured
in one forward pass over synthetic images, in float64 and rounded, so that machines that add in
another order still agree to the last bit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_IMAGES = 8
_SIZE = 112
#: For networks whose maps fit each other only at multiples of 32.
_ROUND_SIZE = 128


def initialize(module: nn.Module, seed: int) -> None:
    """Fill ``module`` in place and leave it in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for child in module.modules():
            if isinstance(child, nn.Conv2d | nn.Linear):
                _fill(child, generator)
            elif isinstance(child, nn.BatchNorm2d):
                child.reset_running_stats()
                child.weight.copy_(1 + _spread(child.weight, 0.3, generator))
                child.bias.copy_(_spread(child.bias, 0.3, generator))
        if any(isinstance(child, nn.BatchNorm2d) for child in module.modules()):
            _measure_statistics(module, generator)
    module.eval()


def _spread(like: Tensor, reach: float, generator: torch.Generator) -> Tensor:
    """Uniform numbers in [-reach, reach): unlike normal ones, the same bits on every machine."""
    return (torch.rand(like.shape, generator=generator) - 0.5) * (2 * reach)


def _fill(layer: nn.Conv2d | nn.Linear, generator: torch.Generator) -> None:
    """Variance-keeping uniform weights (He et al. 2015) and small biases."""
    inputs = layer.weight[0].numel()
    layer.weight.copy_(_spread(layer.weight, math.sqrt(6 / inputs), generator))
    if layer.bias is not None:
        layer.bias.copy_(_spread(layer.bias, 0.05, generator))


def _measure_statistics(module: nn.Module, generator: torch.Generator) -> None:
    norms = [child for child in module.modules() if isinstance(child, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    module.double().eval()
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    try:
        module(natural_images(_IMAGES, _SIZE, generator))
    except RuntimeError:
        module(natural_images(_IMAGES, _ROUND_SIZE, generator))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_((norm.running_mean * 4096).round() / 4096)
        # A channel that hardly moves here may move elsewhere: do not blow it up.
        variance = norm.running_var.clamp(min=0.25 * norm.running_var.mean().item())
        norm.running_var.copy_((variance * 4096).round().clamp(min=1) / 4096)
    module.float()
    for norm in norms:
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.zero_()


def natural_images(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Images with the 1/f spectrum of natural ones: (count, 3, size, size), float64.

    Noise is added octave by octave, the coarser the stronger; channels are correlated; contrast
    and brightness vary around 1 and 0, as in images that were normalised.
    """
    total = torch.zeros(count, 3, size, size, dtype=torch.float64)
    cells, strength = 2, 1.0
    while cells <= size:
        shape = (count, 3, cells, cells)
        noise = torch.rand(shape, generator=generator, dtype=torch.float64) - 0.5
        noise = 0.4 * noise + noise.mean(1, keepdim=True)
        total += strength * functional.interpolate(noise, (size, size), mode="bilinear")
        cells, strength = cells * 2, strength * 0.6
    contrast = 0.5 + torch.rand((count, 1, 1, 1), generator=generator, dtype=torch.float64)
    brightness = torch.rand((count, 1, 1, 1), generator=generator, dtype=torch.float64) - 0.5
    return total / total.std(dim=(1, 2, 3), keepdim=True) * contrast + brightness
