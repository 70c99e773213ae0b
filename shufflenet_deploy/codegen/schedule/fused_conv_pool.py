"""Tile geometry of a convolution fused with its max pool in registers."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.ir.planar import avoid_4k_aliasing
from shufflenet_deploy.network.graph import Conv, Pair

#: Numbers of the image that are sorted for a tile: half of what the nearest cache has room for.
_MAX_TILE_ELEMENTS = 4 << 10
#: Rows of the map, and vectors of its columns, in a tile.
ROWS, VECTORS = 2, 2
#: Rows and columns of the image between neighbours of the map.
STRIDE = 2


@dataclass(frozen=True)
class DeinterleavedTile:
    """Layout of a tile's input: even and odd columns of each row, ``part`` elements each.

    ``before`` and ``after`` are pairs of columns that windows reach outside the tile, ``first`` is
    the tile's start in a part, ``row_stride`` and ``channel_stride`` are distances.
    """

    columns: int
    before: int
    after: int
    first: int
    part: int
    row_stride: int
    rows: int

    @property
    def channel_stride(self) -> int:
        """Elements between channels."""
        return self.rows * self.row_stride

    def at(self, column: int) -> int:
        """Offset of the pixels at a column relative to the kernel's middle."""
        return column % STRIDE * self.part + self.first + column // STRIDE


def tile_columns(cpu: CpuTarget) -> int:
    """Columns of the convolution in a tile."""
    return VECTORS * cpu.lanes


def fits_registers(conv: Conv, columns: int, map_columns: int, cpu: CpuTarget) -> bool:
    """True if a convolution is pooled in registers, from so many columns to so many."""
    if cpu.fma_by_lane or conv.stride != (STRIDE, STRIDE):
        return False
    if map_columns > columns // STRIDE + 1:  # whole tiles might be of padding
        return False
    kernel = (conv.weight.shape[2], conv.weight.shape[3])
    tile = deinterleaved_tile(kernel, conv.padding[1], cpu)
    return int(conv.weight.shape[1]) * tile.channel_stride <= _MAX_TILE_ELEMENTS


def deinterleaved_tile(kernel: Pair, left: int, cpu: CpuTarget) -> DeinterleavedTile:
    """The layout of a tile's pixels for a kernel with so many columns of padding left."""
    lanes, columns = cpu.lanes, tile_columns(cpu)
    shifts = [(column - left) // STRIDE for column in range(kernel[1])]
    before, behind = max(0, -min(shifts)), max(0, *shifts)
    first = ceil(before / lanes) * lanes
    part = first + columns + ceil(behind / lanes) * lanes
    row, rows = avoid_4k_aliasing(STRIDE * part, lanes), kernel[0] + STRIDE * (ROWS - 1)
    return DeinterleavedTile(columns, before, behind, first, part, row, rows)
