"""int8 NHWC programs.

A value is bytes, pixel by pixel, channels contiguous; a byte is an integer number of the value's
scale above its zero point. Windows that reach over the edge read a border of pixels around the map,
which holds zero points (for a max pool: the lowest byte). Requantization is part of the program and
bit-exact wherever it runs: fixed-point on ARM, one float multiplication on x86
(``Requantization``).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.codegen.ir.op import Program, Step, View
from shufflenet_deploy.network.graph import Layer
from shufflenet_deploy.records import Precision

Padding = tuple[int, int, int, int]
Int8Array = NDArray[np.int8]
Int32Array = NDArray[np.int32]
Multipliers = NDArray[np.int32] | NDArray[np.float32]

#: Bytes that kernels read and write at a time, to which a pixel's bytes are rounded up.
VECTOR_BYTES = 16


class Requantization(StrEnum):
    """The arithmetic that turns an accumulator into a byte.

    ``FIXED``: signed bytes; the accumulator is multiplied by a 31-bit fixed-point multiplier and
    the rounded upper half shifted right with rounding. ``FLOAT``: unsigned bytes; the accumulator
    as a float is multiplied by a float and rounded to nearest even.
    """

    FIXED = "fixed"
    FLOAT = "float"

    @property
    def dtype(self) -> str:
        """The quantized type as kernels are named: signed qs8 or unsigned qu8."""
        return "qs8" if self is Requantization.FIXED else "qu8"

    @property
    def lowest(self) -> int:
        """The lowest byte."""
        return -128 if self is Requantization.FIXED else 0

    @property
    def highest(self) -> int:
        """The highest byte."""
        return self.lowest + 255


@dataclass(frozen=True, kw_only=True)
class PixelView(View):
    """A value in memory; ``first`` is the byte of its first channel in pixels of ``pixel_stride``.

    ``border`` is (top, left, bottom, right) in pixels, ``fill`` the byte in it. A byte b stands for
    ``(b - zero_point) * scale``. ``overwrite_slack`` bytes after a pixel's channels may be
    overwritten.
    """

    dtype: Precision = Precision.INT8
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
        """Pixels, without the border."""
        return self.height * self.width

    @property
    def row_stride(self) -> int:
        """Bytes from a pixel to the one below."""
        return (self.border[1] + self.width + self.border[3]) * self.pixel_stride

    def distance(self, step: Step) -> int:
        """See ``View.distance``."""
        channels, rows, columns = step
        return channels + rows * self.row_stride + columns * self.pixel_stride

    @property
    def origin(self) -> int:
        """Byte offset of the first channel of the first pixel."""
        return self.border[0] * self.row_stride + self.border[1] * self.pixel_stride + self.first

    def start(self, padding: Padding) -> int:
        """Byte offset of the first pixel of the first window over so much padding."""
        return self.origin - padding[0] * self.row_stride - padding[1] * self.pixel_stride

    @property
    def size(self) -> int:
        """Bytes of the buffer."""
        return (self.border[0] + self.height + self.border[2]) * self.row_stride

    @property
    def flat(self) -> bool:
        """True if rows follow each other without a border."""
        return self.row_stride == self.width * self.pixel_stride

    def part(self, first: int, channels: int) -> PixelView:
        """A view of some of the channels."""
        behind = self.channels - first - channels
        room = self.overwrite_slack if behind == 0 else 0
        return replace(self, first=self.first + first, channels=channels, overwrite_slack=room)


@dataclass(kw_only=True)
class Int8Program(Program[PixelView]):
    """NHWC ops in order; buffers are in bytes.

    ``float_layers``, in order, are planar ops among them. ``places`` are where values are; what a
    fused op does not store is nowhere.
    """

    arithmetic: Requantization
    float_layers: tuple[Layer, ...] = ()
    places: dict[str, PixelView] = field(default_factory=dict)


def padded_channels(channels: int) -> int:
    """Bytes of a pixel with this many channels."""
    return -(-channels // VECTOR_BYTES) * VECTOR_BYTES
