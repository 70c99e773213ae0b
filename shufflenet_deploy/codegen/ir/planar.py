"""Planar (channels first) fp32 and fp16 programs.

A value is planes, one per channel. A plane's rows may be longer than its map (``row_stride`` >
``width``): a convolution over a padded map then runs over all pixels as one flat vector, and what
it computes between the rows is ignored. Shuffle, concatenation and flattening have no op of their
own: the op before them stores in place.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

from shufflenet_deploy.codegen.ir.op import Op, Program, Step, View

#: The buffer that is the caller's input image, and the one that is the caller's output. Of several
#: outputs the second one is ``OUTPUT - 1``, the third one ``OUTPUT - 2``.
INPUT, OUTPUT = -1, -2


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Planes of ``height`` rows; ``row_stride`` and ``channel_stride`` are in elements."""

    channels: int
    height: int
    width: int
    row_stride: int
    channel_stride: int

    @property
    def span(self) -> int:
        """Elements from a plane's first pixel to the end of its last."""
        return (self.height - 1) * self.row_stride + self.width

    def vectors(self, lanes: int) -> int:
        """Vectors that cover a plane."""
        return ceil(self.span / lanes)


def vector_layout(length: int) -> Layout:
    """One element per channel, contiguous."""
    return Layout(channels=length, height=1, width=1, row_stride=1, channel_stride=1)


def flat_layout(elements: int, lanes: int) -> Layout:
    """One plane of one row: a value that is neither a map nor a vector, in order."""
    return Layout(
        channels=1,
        height=1,
        width=elements,
        row_stride=elements,
        channel_stride=ceil(elements / lanes) * lanes,
    )


def avoid_4k_aliasing(plane: int, lanes: int) -> int:
    """The next channel stride that is no multiple of 4 KiB, whose planes share cache sets."""
    return plane + max(lanes, 16) if plane % 1024 == 0 else plane


def planar_layout(channels: int, height: int, width: int, row: int, lanes: int) -> Layout:
    """Planes in whole vectors; see ``avoid_4k_aliasing``."""
    plane = avoid_4k_aliasing(ceil(height * row / lanes) * lanes, lanes)
    return Layout(
        channels=channels, height=height, width=width, row_stride=row, channel_stride=plane
    )


@dataclass(frozen=True, kw_only=True)
class PlanarView(View):
    """A value in memory: channel ``c`` is plane ``planes[c]`` of ``buffer``."""

    layout: Layout
    planes: tuple[int, ...]

    @property
    def contiguous(self) -> bool:
        """True if channels are consecutive planes."""
        first = self.planes[0]
        return self.planes == tuple(range(first, first + len(self.planes)))

    @property
    def pixels(self) -> int:
        """Pixels per channel."""
        return self.layout.height * self.layout.width

    def distance(self, step: Step) -> int:
        """See ``View.distance``; channels are consecutive planes."""
        channels, rows, columns = step
        return channels * self.layout.channel_stride + rows * self.layout.row_stride + columns

    def offset(self, channel: int = 0) -> int:
        """Elements from the start of the buffer to a channel."""
        return self.planes[channel] * self.layout.channel_stride


class PlanarProgram(Program[PlanarView]):
    """Planar ops in order; buffers are in elements."""


def is_planar(op: Op[Any]) -> bool:
    """True for an op on planes alone, not on pixels of bytes."""
    return all(isinstance(view, PlanarView) for view in (*op.sources, op.target))
