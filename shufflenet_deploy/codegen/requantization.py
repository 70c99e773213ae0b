"""The integer arithmetic of int8 programs in numpy, bit for bit as in ``int8_arithmetic.h``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.codegen.ir.int8 import Requantization

Whole = NDArray[np.int64]


def scaled(arithmetic: Requantization, total: Whole, factor: Any, shift: int) -> Whole:
    """An accumulator scaled to the output (or fractions of it), saturated to 16 bits."""
    if arithmetic is Requantization.FLOAT:
        near = np.rint(total.astype(np.float32) * np.asarray(factor, np.float32))
        return saturated_16(np.clip(near, -(2.0**31), 2.0**31 - 1).astype(np.int64))
    upper = (2 * total * np.asarray(factor, np.int64) + (1 << 31)) >> 32
    return saturated_16((upper + (1 << shift >> 1)) >> shift)


def part(value: Whole, factor: Any) -> Whole:
    """A byte times a 16-bit factor, with fractions of a step."""
    found: Whole = (value * 128 * factor + (1 << 14)) >> 15
    return found


def saturated_16(value: Whole) -> Whole:
    """Integers clipped to 16 bits."""
    return np.clip(value, -32768, 32767)


def as_byte(arithmetic: Requantization, value: Whole) -> Whole:
    """Integers clipped to a byte."""
    return np.clip(value, arithmetic.lowest, arithmetic.highest)
