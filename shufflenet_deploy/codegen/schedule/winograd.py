"""Winograd's minimal filtering (arXiv 1509.09308): matrices, and where it pays.

F(m, r) computes ``m`` outputs of an ``r``-tap filter as ``AT (G g * BT d)``: ``alpha = m + r - 1``
products between transforms of taps and pixels. In two dimensions a 4x4 tile of a 3x3 kernel takes
36 products per channel instead of 144; transforms are per channel, so all outputs share their cost.
A tile's height may differ from its width: two by four 2x4 tiles fill one of 7x7 pixels best.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import ceil, prod

import numpy as np

from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.ir.ops import WinogradTiles
from shufflenet_deploy.codegen.ir.window_geometry import Shape
from shufflenet_deploy.codegen.schedule import tail
from shufflenet_deploy.network.graph import Conv, FloatArray

Matrix = tuple[tuple[Fraction, ...], ...]

#: Points of the polynomials, by span: those that round least. Another one is at infinity.
_INTERPOLATION_POINTS = {
    4: "0 1 -1",
    5: "0 2/3 -2/3 3/2",
    6: "0 2/3 -2/3 3/2 -3/2",
    7: "0 1 -1 2 -2 1/2",
    8: "0 1 -1 2 -2 1/2 -1/2",
}
#: Sides of the kernels, and heights and widths of their tiles: on AArch64, and on other cores, on
#: which no other shapes were compared.
_KERNELS = (3, 5)
OUTPUT_TILES = tuple(itertools.product((2, 3, 4), repeat=2))
SQUARE_TILES = ((2, 2), (4, 4))
#: The span up to which halves lose by transforms what they gain by shorter sums, or little more.
_MAX_FP16_ALPHA = 6
#: Least share of the direct convolution's cost that must be saved.
MIN_GAIN = 0.15
#: Channels of a group, read and written, below which transforms cost more than they save.
MIN_CHANNELS = 8
#: Numbers between one direction and the other that a thread's stack has room for.
_MAX_STACK_ELEMENTS = 16 << 10
#: What a weight costs besides its multiply-adds, in vector instructions: its load into registers.
_WEIGHT_LOAD_COST = 0.2
#: The vector instructions that AArch64 cores execute while an fp32 weight comes from memory, where
#: a network's weights are: 4 bytes at the 14 GB/s of a Cortex-A76 with two multiply-adds per cycle
#: at 2.4 GHz, at the 4 GB/s of an A72 or the 2 GB/s of an A53 with one at 1.8 or 1.4 GHz. That is a
#: property of boards rather than cores, and one number for all of them.
_STREAMED_WEIGHT_COST = 1.7
#: What a vector of weights costs cores with few registers, or wide vectors and large caches.
_WEIGHT_VECTOR_COST = 8


@dataclass(frozen=True)
class Transforms:
    """The matrices of F(m, r), in Lavin and Gray's letters.

    ``BT`` transforms pixels, ``G`` taps, ``AT`` products to outputs.
    """

    BT: Matrix
    G: Matrix
    AT: Matrix


@lru_cache
def transforms(m: int, r: int) -> Transforms:
    """The matrices of F(m, r), from polynomials through the interpolation points."""
    points = [Fraction(text) for text in _INTERPOLATION_POINTS[m + r - 1].split()]
    pixels, taps = [], []
    for point in points:
        others = [other for other in points if other != point]
        scale = prod((point - other for other in others), start=Fraction(1))
        pixels.append((*_polynomial_from_roots(others), Fraction(0)))
        taps.append(tuple(point**power / scale for power in range(r)))
    pixels.append(tuple(_polynomial_from_roots(points)))
    taps.append(_unit_row(r, r - 1))
    outputs = [
        (*(point**power for point in points), Fraction(power == m - 1)) for power in range(m)
    ]
    return Transforms(tuple(pixels), tuple(taps), tuple(outputs))


def _polynomial_from_roots(roots: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients of the product of all ``x - root``, the constant first."""
    found = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *found], [*(root * one for one in found), Fraction(0)]
        found = [one - two for one, two in zip(shifted, scaled, strict=True)]
    return found


def _unit_row(length: int, at: int) -> tuple[Fraction, ...]:
    return tuple(Fraction(index == at) for index in range(length))


def transform_weights(weight: FloatArray, tiles: WinogradTiles) -> FloatArray:
    """Transform ``(out, in, r, r)`` to ``(elements of a tile * out, in, 1)``, column by column."""
    per_group, kernel = weight.shape[1:3]
    down, across = (
        np.array(transforms(side, kernel).G, np.float64) for side in (tiles.height, tiles.width)
    )
    both = np.einsum("fi,goij,hj->hfgo", down, weight.astype(np.float64), across, optimize=True)
    whole: FloatArray = both.astype(np.float32)
    return whole.reshape(-1, per_group, 1)


def choose_tiles(
    layer: Conv, shape_in: Shape, shape_out: Shape, cpu: CpuTarget
) -> WinogradTiles | None:
    """The cheapest tiles of a convolution, or None where direct convolution is cheaper."""
    out, per_group, *kernel = layer.weight.shape
    size = kernel[0]
    if (
        kernel != [size, size]
        or size not in _KERNELS
        or layer.stride != (1, 1)
        or layer.dilation != (1, 1)
        or max(layer.padding) >= size
        or shape_out[1:] == (1, 1)
        or min(per_group, out // layer.groups) < MIN_CHANNELS
    ):
        return None
    height, width = shape_out[1:]
    pairs = out * per_group
    best, least = None, (1 - MIN_GAIN) * _gemm_cost(pairs * size**2, height * width, cpu)
    for down, across in OUTPUT_TILES if cpu.fma_by_lane else SQUARE_TILES:
        cut = WinogradTiles(down, across, size, ceil(height / down), ceil(width / across))
        if cpu.is_fp16 and max(cut.spans) > _MAX_FP16_ALPHA:
            continue
        cost = _gemm_cost(pairs * cut.transform_size, cut.count, cpu)
        cost += shape_in[0] * _input_cost(cut, cpu.lanes) + out * _output_cost(cut, cpu.lanes)
        if cost < least and _stack_elements(cut) <= _MAX_STACK_ELEMENTS:
            best, least = cut, cost
    return best


def _stack_elements(cut: WinogradTiles) -> int:
    """Elements of scratch between the two directions, for a row of tiles."""
    down, across = cut.spans
    rows = ceil(down / cut.height) * cut.height
    return cut.columns * across * (rows + cut.height)


def _gemm_cost(weights: int, pixels: int, cpu: CpuTarget) -> float:
    """Cost of multiplying weights and pixels, in vector instructions."""
    rest = tail.packed_tail_pixels(cpu, pixels) / cpu.lanes or (pixels % cpu.lanes > 0)
    vectors = pixels // cpu.lanes + rest
    if cpu.fma_by_lane:
        streamed = _STREAMED_WEIGHT_COST * cpu.element_bytes / 4
        return weights * (max(vectors, streamed) + _WEIGHT_LOAD_COST)
    return weights * (vectors + _WEIGHT_VECTOR_COST / cpu.lanes)


def _input_cost(cut: WinogradTiles, lanes: int) -> float:
    """Vector instructions of one channel's input transform: deinterleave, across, down."""
    rows = cut.height * cut.rows + cut.kernel - 1
    phases = ceil((cut.width * cut.columns + cut.kernel - 1) / (cut.width * lanes)) * cut.width
    down, across = cut.spans
    sort = rows * (3 * phases + 4)
    return (
        sort
        + rows * (_transform_cost(across) * ceil(cut.columns / lanes) + 4)
        + across * (_transform_cost(down) * ceil(cut.count / lanes) + 4)
    )


def _output_cost(cut: WinogradTiles, lanes: int) -> float:
    """Vector instructions of one channel's output transform: down and across, interleave."""
    down, across = cut.spans
    tiles = across * _transform_cost(down) + cut.height * _transform_cost(across)
    vectors = ceil(cut.columns / lanes) * cut.width
    return tiles * ceil(cut.count / lanes) + cut.height * cut.rows * (5 * vectors + 4)


def _transform_cost(span: int) -> float:
    """Vector instructions of a transform of so many numbers: loads, arithmetic, stores."""
    return 3.5 * span
