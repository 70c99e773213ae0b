"""Sliding windows: the pixels that a layer reads, and their offsets after a phase split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shufflenet_deploy.codegen.ir.planar import Layout, avoid_4k_aliasing
from shufflenet_deploy.network.graph import Conv, FloatArray, Pair, Pool, PoolKind

Shape = tuple[int, ...]


@dataclass(frozen=True)
class WindowGeometry:
    """Windows over a map, and the phase-split (space-to-depth) map in which they have stride 1."""

    kernel: Pair
    stride: Pair
    padding: tuple[int, int, int, int]
    in_size: Pair
    out_size: Pair
    dilation: Pair = (1, 1)

    @classmethod
    def of(cls, layer: Conv | Pool, shape_in: Shape, shape_out: Shape) -> WindowGeometry:
        """The geometry of a layer over its whole input."""
        kernel = layer.kernel if isinstance(layer, Pool) else layer.weight.shape[2:]
        return cls(
            (kernel[0], kernel[1]),
            layer.stride,
            layer.padding,
            (shape_in[1], shape_in[2]),
            (shape_out[1], shape_out[2]),
            (1, 1) if isinstance(layer, Pool) else layer.dilation,
        )

    @property
    def window(self) -> Pair:
        """Rows and columns that a dilated kernel covers."""
        rows, columns = ((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))
        return rows, columns

    @property
    def phases(self) -> tuple[Pair, ...]:
        """The (row, column) phases that some tap reads, in order."""
        rows, columns = (
            sorted({tap * self.dilation[axis] % self.stride[axis] for tap in range(size)})
            for axis, size in enumerate(self.kernel)
        )
        return tuple((row, column) for row in rows for column in columns)

    @property
    def rows(self) -> int:
        """Rows of a phase."""
        return self.out_size[0] + (self.window[0] - 1) // self.stride[0]

    @property
    def min_row_stride(self) -> int:
        """The least row stride: padding right of a row may also be padding left of the next."""
        return max(self.out_size[1], *(self._needed(phase) for _, phase in self.phases))

    def columns(self, phase: int) -> int:
        """Columns of a phase that some tap reads."""
        return self.out_size[1] + (self.window[1] - 1 - phase) // self.stride[1]

    def _needed(self, phase: int) -> int:
        stride, left = self.stride[1], self.padding[1]
        sources = [at * stride + phase - left for at in range(self.columns(phase))]
        leading = sum(source < 0 for source in sources)
        trailing = sum(source >= self.in_size[1] for source in sources)
        return len(sources) - min(leading, trailing)

    def phase_split_layout(self, channels: int, row: int, lanes: int) -> Layout:
        """Layout of the phase-split map: a plane per phase for each of ``channels``."""
        longest = max(self.columns(phase) for _, phase in self.phases)
        plane = self.rows * row + max(0, longest - row)
        return Layout(
            channels=channels * len(self.phases),
            height=self.rows,
            width=longest,
            row_stride=row,
            channel_stride=avoid_4k_aliasing(-(-plane // lanes) * lanes, lanes),
        )

    def taps(self, layout: Layout) -> tuple[int, ...]:
        """Element offsets of the taps in the phase-split map, relative to the output pixel."""
        phases = {phase: at for at, phase in enumerate(self.phases)}
        found = []
        down_by, right_by = self.dilation
        for row in range(0, self.window[0], down_by):
            for column in range(0, self.window[1], right_by):
                phase = phases[row % self.stride[0], column % self.stride[1]]
                down, right = row // self.stride[0], column // self.stride[1]
                found.append(phase * layout.channel_stride + down * layout.row_stride + right)
        return tuple(found)

    def valid_counts(self) -> FloatArray:
        """Pixels of each output's window that are inside the map."""
        counts = []
        for axis in (0, 1):
            starts = np.arange(self.out_size[axis]) * self.stride[axis] - self.padding[axis]
            stops = np.minimum(starts + self.kernel[axis], self.in_size[axis])
            counts.append(stops - np.maximum(starts, 0))
        return np.outer(*counts).astype(np.float32)


def is_pointwise(layer: Conv) -> bool:
    """True if a convolution maps each pixel to the same pixel."""
    return layer.weight.shape[2:] == (1, 1) and layer.stride == (1, 1) and not any(layer.padding)


def is_wide_depthwise(layer: Conv) -> bool:
    """True for a depthwise convolution of more than 3x3 pixels.

    It is cheap, and what comes after it is not: its results are copied to rows without gaps.
    """
    return layer.depthwise and max(layer.window) > 3


def supports_direct_3x3(layer: Conv | Pool, shape_in: Shape, shape_out: Shape) -> bool:
    """True if 3x3 windows can be read from the map in place."""
    if isinstance(layer, Conv):
        direct = layer.depthwise and layer.dilation == (1, 1)
        kernel = layer.weight.shape[2:] if direct else (0, 0)
    else:
        kernel = layer.kernel
        whole = layer.count_padding or not any(layer.padding)
        if layer.kind is PoolKind.AVERAGE and not whole:
            return False
    return (
        tuple(kernel) == (3, 3)
        and layer.stride in {(1, 1), (2, 2)}
        and max(layer.padding[:2]) <= 1
        and shape_out[2] >= 4
        and shape_in[2] >= 4
    )
