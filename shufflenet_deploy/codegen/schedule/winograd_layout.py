"""Memory layout of Winograd's transform domain, and rows of tiles per pass of a transform."""

from __future__ import annotations

from math import ceil

from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.ir.ops import WinogradTiles
from shufflenet_deploy.codegen.ir.planar import Layout, PlanarProgram, PlanarView, avoid_4k_aliasing

#: Elements of scratch between the two directions of a transform.
_SCRATCH_ELEMENTS = 6 << 10


def transform_buffer(
    program: PlanarProgram, channels: int, tiles: WinogradTiles, cpu: CpuTarget
) -> PlanarView:
    """A buffer for channels in the transform domain, with slack after each plane.

    A spare plane separates the matrices of the transform domain, so that those of a channel share
    no cache sets either.
    """
    lanes = cpu.lanes
    plane = ceil(tiles.count / lanes) * lanes
    if tile_rows_per_pass(tiles, lanes) < tiles.rows:
        plane += lanes
    plane = avoid_4k_aliasing(plane, lanes)
    planes = [
        element * (channels + 1) + channel
        for element in range(tiles.transform_size)
        for channel in range(channels)
    ]
    whole = tiles.transform_size * (channels + 1)
    layout = Layout(
        channels=whole, height=1, width=tiles.count, row_stride=tiles.count, channel_stride=plane
    )
    buffer = program.buffer(whole * plane)
    return PlanarView(buffer=buffer, dtype=cpu.precision, layout=layout, planes=tuple(planes))


def tile_rows_per_pass(tiles: WinogradTiles, lanes: int) -> int:
    """Rows of tiles whose half-transformed elements fit the scratch."""
    row = tiles.m * (phase_elements(tiles, lanes) * tiles.m + tiles.alpha * tiles.columns)
    rows = max(1, _SCRATCH_ELEMENTS // row)
    return ceil(tiles.rows / ceil(tiles.rows / rows))


def phase_elements(tiles: WinogradTiles, lanes: int) -> int:
    """Elements of one phase of a row: every column that is ``phase`` modulo m."""
    columns = tiles.m * tiles.columns + tiles.kernel - 1
    return ceil(columns / (tiles.m * lanes)) * lanes
