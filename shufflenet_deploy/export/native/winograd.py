"""Winograd's minimal filtering (arXiv 1509.09308): when it pays, and its matrices.

``side`` outputs of a filter of ``kernel`` taps are ``A (G g * B d)``: transforms of the taps and of
``span = side + kernel - 1`` pixels, multiplied number by number, and one back. In two dimensions a
tile of 4x4 outputs of a 3x3 window takes 36 products for each channel, where sums of taps take 144.
Transforms are of one channel, so that what they cost is shared by all outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import ceil, prod

import numpy as np

from shufflenet_deploy.export.graph import Conv, FloatArray
from shufflenet_deploy.export.native import tail
from shufflenet_deploy.export.native.geometry import Shape
from shufflenet_deploy.export.native.machine import Machine
from shufflenet_deploy.export.native.program import Tiles

Matrix = tuple[tuple[Fraction, ...], ...]

#: Points of the polynomials, by span: those that round least. Another one is at infinity.
_POINTS = {
    4: "0 1 -1",
    6: "0 2/3 -2/3 3/2 -3/2",
    8: "0 1 -1 2 -2 1/2 -1/2",
}
#: Sides of tiles, by kernel.
SIDES = {3: (2, 4), 5: (2, 4)}
#: The span up to which halves lose by transforms what they gain by shorter sums, or little more.
_LONGEST_OF_HALVES = 6
#: The least share of the direct sums' price that must be saved.
LEAST_GAIN = 0.15
#: Channels of a group, read and written, below which transforms cost more than they save.
FEWEST_CHANNELS = 8
#: Numbers between one direction and the other that a thread's stack has room for.
_MOST_KEPT = 16 << 10
#: What a vector of weights that comes from memory costs, in vector instructions.
_MEMORY = 8
#: Instructions for a number of a transform: what it takes to load, compute and store it.
_TRANSFORM = 4


@dataclass(frozen=True)
class Matrices:
    """The transforms of pixels, of taps, and of products to outputs."""

    pixels: Matrix
    taps: Matrix
    outputs: Matrix


@lru_cache
def matrices(side: int, kernel: int) -> Matrices:
    """Those of so many outputs, from polynomials through ``_POINTS``."""
    points = [Fraction(text) for text in _POINTS[side + kernel - 1].split()]
    pixels, taps = [], []
    for point in points:
        others = [other for other in points if other != point]
        scale = prod((point - other for other in others), start=Fraction(1))
        pixels.append((*_polynomial(others), Fraction(0)))
        taps.append(tuple(point**power / scale for power in range(kernel)))
    pixels.append(tuple(_polynomial(points)))
    taps.append(_last(kernel, kernel - 1))
    outputs = [
        (*(point**power for point in points), Fraction(power == side - 1)) for power in range(side)
    ]
    return Matrices(tuple(pixels), tuple(taps), tuple(outputs))


def _polynomial(roots: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients of the product of all ``x - root``, the constant first."""
    found = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *found], [*(root * one for one in found), Fraction(0)]
        found = [one - two for one, two in zip(shifted, scaled, strict=True)]
    return found


def _last(length: int, at: int) -> tuple[Fraction, ...]:
    return tuple(Fraction(index == at) for index in range(length))


def in_frequencies(weight: FloatArray, side: int) -> FloatArray:
    """``(out, in, kernel, kernel)`` as ``(frequencies * out, in, 1)``, frequency by frequency."""
    per_group, kernel = weight.shape[1:3]
    taps = np.array(matrices(side, kernel).taps, np.float64)
    both = np.einsum("fi,goij,hj->fhgo", taps, weight.astype(np.float64), taps, optimize=True)
    whole: FloatArray = both.astype(np.float32)
    return whole.reshape(-1, per_group, 1)


def tiles(layer: Conv, shape_in: Shape, shape_out: Shape, machine: Machine) -> Tiles | None:
    """The tiles in which a convolution takes least, or None where sums of its taps do."""
    out, per_group, *kernel = layer.weight.shape
    size = kernel[0]
    if (
        kernel != [size, size]
        or size not in SIDES
        or layer.stride != (1, 1)
        or max(layer.padding) >= size
        or shape_out[1:] == (1, 1)
        or min(per_group, out // layer.groups) < FEWEST_CHANNELS
    ):
        return None
    height, width = shape_out[1:]
    pairs = out * per_group
    direct = _price(pairs * size**2, height * width, machine)
    best, least = None, (1 - LEAST_GAIN) * direct
    for side in SIDES[size]:
        cut = Tiles(side, size, ceil(height / side), ceil(width / side))
        if machine.computes_in_halves and cut.span > _LONGEST_OF_HALVES:
            continue
        price = _price(pairs * cut.frequencies, cut.count, machine)
        numbers = (shape_in[0] + out) * cut.frequencies
        price += _TRANSFORM * numbers * ceil(cut.count / machine.lanes)
        if price < least and _kept(cut) <= _MOST_KEPT:
            best, least = cut, price
    return best


def _kept(cut: Tiles) -> int:
    """Numbers between the directions of a transform, for a row of tiles."""
    rows = ceil(cut.span / cut.side) * cut.side
    return cut.columns * cut.span * (rows + cut.side)


def _price(weights: int, pixels: int, machine: Machine) -> float:
    """Of a product of weights and pixels, in vector instructions."""
    rest = tail.pixels(machine, pixels) / machine.lanes or (pixels % machine.lanes > 0)
    vectors = pixels // machine.lanes + rest
    return weights * (vectors + _MEMORY / machine.lanes)
