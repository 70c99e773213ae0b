"""The whole numbers of steps without weights: tables of bytes, factors of sums and of gates."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.export.graph import Activation, LocalResponseNorm, Pair
from shufflenet_deploy.export.native.int8.folding import TooFineError, finish
from shufflenet_deploy.export.native.int8.program import Bytes, Factors, Numbers, Place, Words

_Reals = NDArray[np.float64]
Span = tuple[float, float]
Ends = tuple[Pair, ...]
Shorts = NDArray[np.int16]

#: Beyond this a sigmoid is 0 or 1, as far as a byte can tell.
_MOST_LOGIT = 8.0
_MOST_SHORT = 2**15 - 1
#: The most bits of fractions of a step, so that a product, or the sum of two, fits 16 bits.
_GATE_POWER = 7
_SUM_POWER = 6


def activated(activation: Activation, x: _Reals) -> _Reals:
    """An activation of real numbers."""
    match activation:
        case Activation.RELU:
            return np.maximum(x, 0.0)
        case Activation.RELU6:
            return np.clip(x, 0.0, 6.0)
        case Activation.SIGMOID:
            return 1.0 / (1.0 + np.exp(-x))
        case Activation.HARD_SIGMOID:
            return np.clip(x / 6.0 + 0.5, 0.0, 1.0)
        case _:
            return x


def before(activation: Activation, span: Span) -> Span:
    """The range of what an activation that only rises makes ``span`` of."""
    if activation is Activation.HARD_SIGMOID:
        low, high = (min(3.0, max(-3.0, 6.0 * end - 3.0)) for end in span)
        return low, high
    least = 1.0 / (1.0 + math.exp(_MOST_LOGIT))
    low, high = (min(1.0 - least, max(least, end)) for end in span)
    return math.log(low / (1.0 - low)), math.log(high / (1.0 - high))


def reals(numbers: Numbers, place: Place) -> _Reals:
    """What each byte of a place stands for, by the byte without its sign."""
    values = np.arange(256, dtype=np.float64)
    if numbers is Numbers.FIXED:
        values[128:] -= 256
    return (values - place.zero) * place.scale


def table(numbers: Numbers, source: Place, target: Place, activation: Activation) -> Bytes:
    """For each byte of the source, without its sign, the target's byte of its activation."""
    value = activated(activation, reals(numbers, source)) / target.scale
    whole = np.clip(np.rint(value) + target.zero, numbers.lowest, numbers.highest)
    found: Bytes = whole.astype(np.int64).astype(np.uint8).view(np.int8)
    return found


@dataclass(frozen=True, kw_only=True)
class SumNumbers:
    """Of ``program.Sum``."""

    factors: Pair
    start: int
    power: int


def sum_numbers(name: str, one: Place, two: Place, target: Place) -> SumNumbers:
    """How two values become one, at its own scale.

    Raises:
        TooFineError: the sum's steps are much finer than those of what is added.
    """
    ratios = np.array([one.scale, two.scale]) / target.scale
    power = _power(name, ratios, _SUM_POWER)
    # A part is 128 * factor / 2**15 of a byte.
    factors = np.round(ratios * 2.0 ** (power + 8)).astype(int)
    zeros = float(factors @ np.array([one.zero, two.zero])) / 2**8
    start = (target.zero << power) + (1 << power >> 1) - round(zeros)
    return SumNumbers(factors=(int(factors[0]), int(factors[1])), start=start, power=power)


def _power(name: str, ratios: _Reals, most: int) -> int:
    """How many bits of fractions products with ratios may have, of ``most``."""
    largest = float(np.abs(ratios).max())
    up = max(0, math.ceil(math.log2(largest))) if largest > 0 else 0
    if up >= most:
        raise TooFineError(name, largest / 2.0 ** (most - 1))
    return most - up


def _shorts(name: str, ratios: _Reals) -> tuple[Shorts, int]:
    """Factors of 16 bits, and how many bits of fractions a product with them has."""
    power = _power(name, ratios, _GATE_POWER)
    whole = np.clip(np.round(ratios * 2.0 ** (power + 8)), -_MOST_SHORT, _MOST_SHORT)
    return whole.astype(np.int16), power


def gate(
    name: str, numbers: Numbers, value: Place, by: Place, target: Place, activation: Activation
) -> tuple[Shorts, int]:
    """For each byte of a gate, without its sign, the factor of its channel; and the fractions.

    Raises:
        TooFineError: the output's steps are much finer than the value's.
    """
    ratios = activated(activation, reals(numbers, by)) * (value.scale / target.scale)
    return _shorts(name, ratios)


def normalisation(layer: LocalResponseNorm, source: Place, target: Place) -> tuple[Shorts, int]:
    """Factors by the upper half of the float that is one more than a sum of squares.

    The first is that of 1.0. Halves that no whole number has get the factor before them.

    Raises:
        TooFineError: the output's steps are much finer than the source's.
        ExportError: sums are not exact as floats, or may be divided by zero.
    """
    most = layer.size * 255**2 + 1
    if most >= 2**24 or layer.k <= 0:
        raise ExportError(f"{layer.name}: no int8 code for size {layer.size} with k = {layer.k:g}")
    one = np.float32(1.0).view(np.int32) >> 16
    halves = np.arange(one, (np.float32(most).view(np.int32) >> 16) + 2, dtype=np.int32)
    first = np.ceil((halves << 16).view(np.float32).astype(np.float64))
    squares = (first[:-1] + np.maximum(first[1:] - 1, first[:-1])) / 2 - 1
    base = layer.k + layer.alpha / layer.size * squares * source.scale**2
    return _shorts(layer.name, base**-layer.beta * (source.scale / target.scale))


@dataclass(frozen=True, kw_only=True)
class Areas:
    """The numbers of the means over areas, ``(H, W)``; see ``program.Areas``."""

    start: Words
    factor: Factors
    shift: int


def parts(length: int, count: int) -> Ends:
    """Nearly equal ranges that cover a length, as PyTorch's adaptive pools have them."""
    return tuple((i * length // count, -(-(i + 1) * length // count)) for i in range(count))


def inside(length: int, count: int, size: int, stride: int, padding: int) -> Ends:
    """What windows of a size see of a padded length."""
    starts = [i * stride - padding for i in range(count)]
    return tuple(
        (min(max(0, start), length), min(max(0, start + size), length)) for start in starts
    )


def areas(
    name: str, numbers: Numbers, source: Place, target: Place,
    rows: Ends, columns: Ends, divisor: int | None = None,
) -> Areas:  # fmt: skip
    """Means over areas, or sums of them over ``divisor`` pixels.

    Raises:
        TooFineError: the output's steps are finer than those of a sum.
    """
    heights = np.array([stop - start for start, stop in rows])
    widths = np.array([stop - start for start, stop in columns])
    pixels = np.outer(heights, widths)
    over = np.maximum(pixels, 1) if divisor is None else np.full_like(pixels, divisor)
    multiplier = source.scale / (target.scale * over)
    start = np.round(target.zero / multiplier).astype(np.int64) - source.zero * pixels
    factor, shift = finish(name, numbers, multiplier)
    return Areas(start=start.astype(np.int32), factor=factor, shift=shift)
