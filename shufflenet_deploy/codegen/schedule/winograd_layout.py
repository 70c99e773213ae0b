"""Memory layout of Winograd's transform domain, and rows of tiles per pass of a transform."""

from __future__ import annotations

from math import ceil

from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.ir.ops import WinogradTiles
from shufflenet_deploy.codegen.ir.planar import Layout, PlanarProgram, PlanarView, avoid_4k_aliasing

#: Elements of scratch between the two directions of a transform.
_SCRATCH_ELEMENTS = 6 << 10


def transform_buffer(
    program: PlanarProgram, channels: int, tiles: WinogradTiles, cpu: CpuTarget, *, by_channel: bool
) -> PlanarView:
    """A buffer for channels in the transform domain, with slack after each plane.

    The planes of an element are together, for the products that read them, or with ``by_channel``
    those of a channel, for the transform that reads these. A spare plane after an even number keeps
    what is accessed at once from sharing cache sets. A channel that is read is prefetched while the
    one before it is, and after the last one there is room for another.
    """
    lanes, elements = cpu.lanes, tiles.transform_size
    plane = ceil(tiles.count / lanes) * lanes
    if tile_rows_per_pass(tiles, lanes) < tiles.rows:
        plane += lanes
    plane = avoid_4k_aliasing(plane, lanes)
    together, times = (elements, channels) if by_channel else (channels, elements)
    pitch = _spaced(together)
    planes = [
        channel * pitch + element if by_channel else element * pitch + channel
        for element in range(elements)
        for channel in range(channels)
    ]
    layout = Layout(
        channels=pitch * times,
        height=1,
        width=tiles.count,
        row_stride=tiles.count,
        channel_stride=plane,
    )
    room = 0
    if by_channel and cpu.assembly_prefetch:
        room = prefetched_per_tile(tiles, plane, lanes) * (tiles.count + 2 * lanes)
    buffer = program.buffer(pitch * times * plane + room)
    return PlanarView(buffer=buffer, dtype=cpu.precision, layout=layout, planes=tuple(planes))


def prefetched_per_tile(tiles: WinogradTiles, plane: int, lanes: int) -> int:
    """Elements of the next channel, in planes of so many, that are prefetched with each tile."""
    vectors = ceil(tiles.count / lanes)
    return ceil(channel_elements(tiles, plane) / (vectors * lanes))


def channel_elements(tiles: WinogradTiles, plane: int) -> int:
    """From one channel to the next in elements, where the planes of each are together."""
    return _spaced(tiles.transform_size) * plane


def _spaced(planes: int) -> int:
    """Planes that are together, with a spare one after an even number."""
    return planes | 1


def tile_rows_per_pass(tiles: WinogradTiles, lanes: int) -> int:
    """Rows of tiles whose half-transformed elements fit the scratch."""
    phases = phase_elements(tiles, lanes) * tiles.width
    row = tiles.height * (phases + tiles.spans[1] * tiles.columns)
    rows = max(1, _SCRATCH_ELEMENTS // row)
    return ceil(tiles.rows / ceil(tiles.rows / rows))


def phase_elements(tiles: WinogradTiles, lanes: int) -> int:
    """Elements of one phase of a row: every column that is ``phase`` modulo a tile's width."""
    columns = tiles.width * tiles.columns + tiles.kernel - 1
    return ceil(columns / (tiles.width * lanes)) * lanes
