"""Integer constants of ops without weights: lookup tables, factors of additions and scales."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.codegen.ir.int8 import (
    Int8Array,
    PixelView,
    Requantization,
)
from shufflenet_deploy.codegen.ir.ops import FactorTable, RequantizeAreas, RequantizeSum
from shufflenet_deploy.codegen.lower.int8.activation_functions import (
    Float64Array,
    apply_activation,
)
from shufflenet_deploy.codegen.lower.int8.requantize import (
    NoInt8CodeError,
    ScaleTooSmallError,
    quantize_multiplier,
)
from shufflenet_deploy.network.graph import Activation, LocalResponseNorm, Pair

Ranges1d = tuple[Pair, ...]

_INT16_MAX = 2**15 - 1
#: Steps that saturate any byte, whatever its zero point.
_FAR = 1e6
#: Most fraction bits with which a product, or the sum of two, fits 16 bits.
_MAX_SCALE_FRACTION_BITS = 7
_MAX_ADD_FRACTION_BITS = 6


def real_values(arithmetic: Requantization, view: PixelView) -> Float64Array:
    """The real value of each byte of a view, indexed by the unsigned byte."""
    values = np.arange(256, dtype=np.float64)
    if arithmetic is Requantization.FIXED:
        values[128:] -= 256
    return (values - view.zero_point) * view.scale


def activation_table(
    arithmetic: Requantization, source: PixelView, target: PixelView, activation: Activation
) -> Int8Array:
    """The target byte of each source byte's activation, indexed by the unsigned byte."""
    return quantized(
        arithmetic, apply_activation(activation, real_values(arithmetic, source)), target
    )


def quantized(arithmetic: Requantization, values: Float64Array, target: PixelView) -> Int8Array:
    """The bytes of real numbers in a view, rounded to nearest even and saturated."""
    steps = np.clip(values / target.scale, -_FAR, _FAR)
    whole = np.clip(np.rint(steps) + target.zero_point, arithmetic.lowest, arithmetic.highest)
    found: Int8Array = whole.astype(np.int64).astype(np.uint8).view(np.int8)
    return found


def add_constants(
    name: str, one: PixelView, two: PixelView, target: PixelView, sign: int = 1
) -> RequantizeSum:
    """Constants of the sum of two values into a third scale, the second times ``sign``.

    Raises:
        ScaleTooSmallError: the sum's scale is much smaller than those of its inputs.
    """
    ratios = np.array([one.scale, sign * two.scale]) / target.scale
    shift, multipliers = _sum_factors(name, ratios)
    zeros = float(multipliers @ np.array([one.zero_point, two.zero_point])) / 2**8
    start = (target.zero_point << shift) + (1 << shift >> 1) - round(zeros)
    return RequantizeSum(
        multipliers=(int(multipliers[0]), int(multipliers[1])), start=start, shift=shift
    )


def choice_constants(name: str, one: PixelView, two: PixelView, target: PixelView) -> RequantizeSum:
    """Constants of the greater or lesser of two values, each above its own zero point.

    Raises:
        ScaleTooSmallError: the output's scale is much smaller than those of its inputs.
    """
    shift, multipliers = _sum_factors(name, np.array([one.scale, two.scale]) / target.scale)
    start = (target.zero_point << shift) + (1 << shift >> 1)
    return RequantizeSum(
        multipliers=(int(multipliers[0]), int(multipliers[1])), start=start, shift=shift
    )


def _sum_factors(name: str, ratios: Float64Array) -> tuple[int, NDArray[np.int64]]:
    """Fraction bits and factors of the parts of a sum: a part is ``128 * factor / 2**15`` bytes."""
    shift = _fraction_bits(name, ratios, _MAX_ADD_FRACTION_BITS)
    return shift, np.round(ratios * 2.0 ** (shift + 8)).astype(np.int64)


def _fraction_bits(name: str, ratios: Float64Array, most: int) -> int:
    """Fraction bits, of at most ``most``, that products with these ratios may have."""
    largest = float(np.abs(ratios).max())
    up = max(0, math.ceil(math.log2(largest))) if largest > 0 else 0
    if up >= most:
        raise ScaleTooSmallError(name, largest / 2.0 ** (most - 1))
    return most - up


def _int16_factors(name: str, ratios: Float64Array) -> FactorTable:
    """16-bit factors, and the fraction bits of a product with them."""
    shift = _fraction_bits(name, ratios, _MAX_SCALE_FRACTION_BITS)
    whole = np.clip(np.round(ratios * 2.0 ** (shift + 8)), -_INT16_MAX, _INT16_MAX)
    return FactorTable(multipliers=whole.astype(np.int16), shift=shift)


def channel_scale_factors(
    name: str,
    arithmetic: Requantization,
    value: PixelView,
    by: PixelView,
    target: PixelView,
    activation: Activation,
) -> FactorTable:
    """The factor for each byte of a channel scale, unsigned, and the fraction bits.

    Raises:
        ScaleTooSmallError: the output's scale is much smaller than the value's.
    """
    ratios = apply_activation(activation, real_values(arithmetic, by)) * (
        value.scale / target.scale
    )
    return _int16_factors(name, ratios)


def norm_factors(layer: LocalResponseNorm, source: PixelView, target: PixelView) -> FactorTable:
    """Factors indexed by the upper half of the float ``1 + sum of squares``.

    The first is that of 1.0. Indices that no integer has get the factor before them.

    Raises:
        ScaleTooSmallError: the output's scale is much smaller than the source's.
        NoInt8CodeError: sums are not exact as floats, or may be divided by zero.
    """
    most = layer.size * 255**2 + 1
    if most >= 2**24 or layer.k <= 0:
        raise NoInt8CodeError(layer.name, f"a norm of size {layer.size} with k = {layer.k:g}")
    one = np.float32(1.0).view(np.int32) >> 16
    uppers = np.arange(one, (np.float32(most).view(np.int32) >> 16) + 2, dtype=np.int32)
    first = np.ceil((uppers << 16).view(np.float32).astype(np.float64))
    squares = (first[:-1] + np.maximum(first[1:] - 1, first[:-1])) / 2 - 1
    base = layer.k + layer.alpha / layer.size * squares * source.scale**2
    return _int16_factors(layer.name, base**-layer.beta * (source.scale / target.scale))


def adaptive_ranges(length: int, count: int) -> Ranges1d:
    """Nearly equal ranges that cover a length, by PyTorch's rule for adaptive pools."""
    return tuple((i * length // count, -(-(i + 1) * length // count)) for i in range(count))


def clipped_ranges(length: int, count: int, size: int, stride: int, padding: int) -> Ranges1d:
    """Windows of a padded length, clipped to the length itself."""
    starts = [i * stride - padding for i in range(count)]
    return tuple(
        (min(max(0, start), length), min(max(0, start + size), length)) for start in starts
    )


def area_constants(
    name: str,
    arithmetic: Requantization,
    source: PixelView,
    target: PixelView,
    rows: Ranges1d,
    columns: Ranges1d,
    divisor: int | None = None,
) -> RequantizeAreas:
    """Constants of averages over areas, or of sums of them over ``divisor`` pixels.

    Raises:
        ScaleTooSmallError: the output's scale is smaller than that of a sum.
    """
    heights = np.array([stop - start for start, stop in rows])
    widths = np.array([stop - start for start, stop in columns])
    pixels = np.outer(heights, widths)
    over = np.maximum(pixels, 1) if divisor is None else np.full_like(pixels, divisor)
    ratio = source.scale / (target.scale * over)
    start = np.round(target.zero_point / ratio).astype(np.int64) - source.zero_point * pixels
    multiplier, shift = quantize_multiplier(name, arithmetic, ratio)
    return RequantizeAreas(
        rows=rows,
        columns=columns,
        start=start.astype(np.int32),
        multiplier=multiplier,
        shift=shift,
    )
