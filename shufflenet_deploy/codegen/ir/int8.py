"""What an int8 network does, step by step, in whole numbers, before any C is written.

A value is bytes, pixel by pixel: the channels of a pixel side by side, then the next pixel. A
byte is a whole number of the value's scale above its zero. Windows that reach over the edge of a
picture read a border of pixels around it, which holds zeros (for a maximum: the lowest byte).

How an accumulator becomes a byte is part of the program, and the same to the last bit wherever
the program runs: in whole numbers on ARM, by one float multiplication on x86 (``Numbers``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.codegen.ir import op
from shufflenet_deploy.network.graph import Pair

Padding = tuple[int, int, int, int]
Int8Array = NDArray[np.int8]
Int32Array = NDArray[np.int32]
Multipliers = NDArray[np.int32] | NDArray[np.float32]

#: Bytes that kernels read and write at a time, to which a pixel's bytes are rounded up.
VECTOR_BYTES = 16


class Requantization(StrEnum):
    """The kinds of arithmetic.

    ``FIXED``: bytes are signed; an accumulator is multiplied by a factor of 31 bits, and the upper
    half of the product, rounded, shifted right with rounding. ``FLOAT``: bytes are unsigned; an
    accumulator becomes a float, is multiplied by a float and rounded to the nearest even number.
    """

    FIXED = "fixed"
    FLOAT = "float"

    @property
    def lowest(self) -> int:
        """The lowest byte."""
        return -128 if self is Requantization.FIXED else 0

    @property
    def highest(self) -> int:
        """The highest byte."""
        return self.lowest + 255


@dataclass(frozen=True, kw_only=True)
class PixelView:
    """Where a value is, in bytes: ``first`` is its first channel in pixels of ``pixel`` bytes.

    ``border`` is (top, left, bottom, right) in pixels, ``fill`` what is in it. The value of a byte
    b is ``(b - zero) * scale``.
    """

    buffer: int
    channels: int
    height: int
    width: int
    pixel_stride: int
    scale: float = 1.0
    zero_point: int = 0
    first: int = 0
    border: Padding = (0, 0, 0, 0)
    fill: int = 0
    overwrite_slack: int = 0

    @property
    def pixels(self) -> int:
        """How many there are, without the border."""
        return self.height * self.width

    @property
    def row_stride(self) -> int:
        """Bytes from a pixel to the one below."""
        return (self.border[1] + self.width + self.border[3]) * self.pixel_stride

    @property
    def origin(self) -> int:
        """Bytes from the start of the buffer to the first channel of the first pixel."""
        return self.border[0] * self.row_stride + self.border[1] * self.pixel_stride + self.first

    def start(self, padding: Padding) -> int:
        """Bytes to the first pixel of the first window over so much padding."""
        return self.origin - padding[0] * self.row_stride - padding[1] * self.pixel_stride

    @property
    def size(self) -> int:
        """Bytes of the buffer."""
        return (self.border[0] + self.height + self.border[2]) * self.row_stride

    @property
    def flat(self) -> bool:
        """Whether there is nothing between the rows."""
        return self.row_stride == self.width * self.pixel_stride

    def part(self, first: int, channels: int) -> PixelView:
        """Some of the channels."""
        behind = self.channels - first - channels
        room = self.overwrite_slack if behind == 0 else 0
        return replace(self, first=self.first + first, channels=channels, overwrite_slack=room)


class PixelOp(op.Op[PixelView]):
    """A step on pixels of bytes."""


@dataclass(frozen=True, kw_only=True)
class QuantizeInput(PixelOp):
    """Bytes of the caller's floats: ``round(x * inverse) + zero``, within the range of a byte."""

    inverse: float


@dataclass(frozen=True, kw_only=True)
class FillPadding(PixelOp):
    """Fills the border of its target, which is its source."""


@dataclass(frozen=True, kw_only=True)
class Convolution(PixelOp):
    """Sums of products; ``weight`` is ``(out, in / groups, kh, kw)``.

    ``factor`` and ``shift`` make a byte of ``bias + sum``; in floats the factor does all. With
    ``residual`` the second source is added, times ``residual / 2**fraction``. ``shuffle`` is in
    how many groups the outputs are shuffled. ``real`` makes floats: the sum times the factor.
    """

    weight: Int8Array
    bias: Int32Array
    multiplier: Multipliers
    groups: int
    stride: Pair
    padding: Padding
    shift: int = 0
    fraction: int = 0
    residual: int | None = None
    shuffle: int = 1
    float_output: bool = False

    @property
    def weights(self) -> tuple[Int8Array, Int32Array]:
        """As ``steps.Step`` says."""
        return self.weight, self.bias


@dataclass(frozen=True, kw_only=True)
class DepthwiseConvolution(PixelOp):
    """A sum of products for each channel; ``weight`` is ``(channels, 3, 3)``."""

    weight: Int8Array
    bias: Int32Array
    multiplier: Multipliers
    stride: int
    padding: Padding
    shift: int

    @property
    def weights(self) -> tuple[Int8Array, Int32Array]:
        """As ``steps.Step`` says."""
        return self.weight, self.bias


@dataclass(frozen=True, kw_only=True)
class MaxPool(PixelOp):
    """The largest of each window."""

    kernel: Pair
    stride: Pair
    padding: Padding


@dataclass(frozen=True, kw_only=True)
class AveragePool(PixelOp):
    """``(((start + sum) << up) * factor + 2**14) >> 15``, the sum in 16 bits."""

    kernel: Pair
    stride: Pair
    padding: Padding
    start: int
    multiplier: int
    left_shift: int


@dataclass(frozen=True, kw_only=True)
class GlobalAveragePool(PixelOp):
    """The mean of each channel over all pixels: a convolution's epilogue of ``start + sum``."""

    start: int
    multiplier: Multipliers
    shift: int


@dataclass(frozen=True, kw_only=True)
class AdaptivePool(PixelOp):
    """Means over areas, each a range of ``rows`` and one of ``columns``.

    ``start`` and ``factor`` are those of each output pixel, ``(H, W)``; see ``Mean``.
    """

    rows: tuple[Pair, ...]
    columns: tuple[Pair, ...]
    start: Int32Array
    multiplier: Multipliers
    shift: int


@dataclass(frozen=True, kw_only=True)
class LookupTable(PixelOp):
    """``table[byte]``, the byte without its sign; ``shuffle`` as in a convolution."""

    table: Int8Array
    shuffle: int = 1


@dataclass(frozen=True, kw_only=True)
class Add(PixelOp):
    """``(part(a) + part(b) + start) >> power`` of the bytes of two sources.

    A part is ``(128 * a * factor + 2**14) >> 15``, with ``power`` bits of fractions of a step.
    """

    multipliers: Pair
    start: int
    shift: int


@dataclass(frozen=True, kw_only=True)
class ChannelScale(PixelOp):
    """The first source, times a factor that the second's byte of its channel chooses.

    Of ``x`` above the zero, ``(128 * x * factor + 2**14) >> 15`` has ``power`` bits of fractions
    of a step; with the target's zero added they are rounded off.
    """

    multipliers: NDArray[np.int16]
    shift: int


@dataclass(frozen=True, kw_only=True)
class LocalResponseNorm(PixelOp):
    """A gate whose factors are chosen by the squares of ``size`` channels around each.

    One more than their sum becomes a float, whose upper 16 bits, less those of 1.0, choose.
    """

    size: int
    multipliers: NDArray[np.int16]
    shift: int


@dataclass(frozen=True, kw_only=True)
class DequantizeOutput(PixelOp):
    """Floats, channels first, of bytes."""


@dataclass(kw_only=True)
class Int8Program(op.Program[PixelOp]):
    """Steps in order; buffers are in bytes."""

    arithmetic: Requantization


def padded_channels(channels: int) -> int:
    """Bytes of a pixel with this many channels."""
    return -(-channels // VECTOR_BYTES) * VECTOR_BYTES
