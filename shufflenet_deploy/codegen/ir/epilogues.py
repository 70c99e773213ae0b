"""Window addressing, and epilogues: accumulators become stored values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.codegen.ir.int8 import (
    Int32Array,
    Multipliers,
    Padding,
)
from shufflenet_deploy.network.graph import Activation, FloatArray, Pair


@dataclass(frozen=True, kw_only=True)
class TapOffsets:
    """Windows of stride 1 in a phase-split map: element offsets of the taps of a ``kernel``.

    A channel of the source is ``planes_per_channel`` planes.
    """

    taps: tuple[int, ...]
    planes_per_channel: int
    kernel: Pair = (1, 1)


@dataclass(frozen=True, kw_only=True)
class StridedWindow:
    """Windows over a map with a border that holds the padding."""

    stride: Pair
    padding: Padding
    dilation: Pair = (1, 1)


@dataclass(frozen=True, kw_only=True)
class Clamp:
    """``act(bias + sum)``; ``clamp_min``, if given, replaces both: ``max(clamp_min, sum)``."""

    activation: Activation
    clamp_min: FloatArray | None = None


@dataclass(frozen=True, kw_only=True)
class Requantize:
    """``multiplier`` and ``shift`` make a byte of ``bias + sum``; in float arithmetic no shift.

    With ``residual`` the second source is added, times ``residual / 2**fraction``. The outputs are
    shuffled in ``shuffle`` groups. ``float_output``: fp32 results, the sum times the multiplier.
    """

    multiplier: Multipliers
    shift: int = 0
    fraction: int = 0
    residual: int | None = None
    shuffle: int = 1
    float_output: bool = False


@dataclass(frozen=True, kw_only=True)
class RequantizeMean:
    """The requantized ``start + sum``."""

    start: int
    multiplier: Multipliers
    shift: int


@dataclass(frozen=True, kw_only=True)
class RequantizeAreas:
    """``RequantizeMean`` of each output pixel, ``(H, W)``: ranges of ``rows`` by ``columns``."""

    rows: tuple[Pair, ...]
    columns: tuple[Pair, ...]
    start: Int32Array
    multiplier: Multipliers
    shift: int


@dataclass(frozen=True, kw_only=True)
class RequantizeSum:
    """``(part(a) + part(b) + start) >> shift`` of the bytes of two sources.

    A part is ``(128 * a * multiplier + 2**14) >> 15``, with ``shift`` fraction bits.
    """

    multipliers: Pair
    start: int
    shift: int


@dataclass(frozen=True, kw_only=True)
class FactorTable:
    """Fixed-point factors that a byte, or a sum of squares, selects.

    Of ``x`` above the zero point, ``(128 * x * multiplier + 2**14) >> 15`` has ``shift`` fraction
    bits, which are rounded off after the target's zero point is added.
    """

    multipliers: NDArray[np.int16]
    shift: int
