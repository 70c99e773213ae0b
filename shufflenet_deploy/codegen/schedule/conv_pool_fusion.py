"""Which convolutions are computed in bands with the pool behind them, and in how many rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil

from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.ir.planar import (
    BufferView,
    Convolution,
    Direct3x3,
    FusedConvPool,
    Layout,
    PhaseSplit,
    StripConvPool,
    avoid_4k_aliasing,
)
from shufflenet_deploy.codegen.ir.window_geometry import (
    Shape,
    WindowGeometry,
    is_pointwise,
    supports_direct_3x3,
)
from shufflenet_deploy.codegen.schedule import fused_conv_pool as fused_tile
from shufflenet_deploy.network.graph import Activation, Conv, Pool, PoolKind

#: Bytes of what a band keeps between its steps: with the weights, not all of the smallest cache
#: that a core has for itself and instructions share.
_STRIP_BYTES = 128 << 10
_MAX_ROWS = 8
_SLACK_VECTORS = 16
#: Maps that stay in the cache anyway.
_MIN_MAP_BYTES = 64 << 10


@dataclass(frozen=True, kw_only=True)
class ConvPool:
    """A convolution and the pool behind it, with the shapes of picture, map and pooled map."""

    conv: Conv
    pool: Pool
    picture: Shape
    map: Shape
    pooled: Shape

    def suits(self, row: int, machine: CpuTarget) -> bool:
        """Whether bands are worth it; rows of the map are ``row`` apart."""
        conv, pool = self.conv, self.pool
        return (
            conv.groups == 1
            and not is_pointwise(conv)
            and pool.kind is PoolKind.MAX
            and (pool.stride, pool.padding[:2]) == ((2, 2), (1, 1))
            and supports_direct_3x3(pool, self.map, self.pooled)
            and Activation.SIGMOID not in {conv.activation, pool.activation}
            and self.map[0] * self.map[1] * row * machine.element_bytes > _MIN_MAP_BYTES
        )

    def windows(self, rows: int) -> WindowGeometry:
        """Of the convolution, for a band of so many rows of the map."""
        conv = self.conv
        kernel = (conv.weight.shape[2], conv.weight.shape[3])
        size = (self.picture[1], self.picture[2])
        return WindowGeometry(kernel, conv.stride, conv.padding, size, (rows, self.map[2]))

    def rows(self, row: int, machine: CpuTarget) -> int:
        """Rows of the pooled map in a band: as many as the cache has room for, in equal bands."""
        phases = len(self.windows(1).phases)
        numbers = row * (self.map[0] + self.picture[0] * phases)
        most = _STRIP_BYTES // (2 * numbers * machine.element_bytes)
        most = max(1, min(most, _MAX_ROWS))
        height = self.pooled[1]
        sizes = range((most + 1) // 2, most + 1)
        return min(sizes, key=lambda size: (ceil(height / size) * size, -size))


def strip_conv_pool(
    pair: ConvPool,
    machine: CpuTarget,
    row: int,
    source: BufferView,
    target: BufferView,
    buffer: Callable[[int], int],
) -> StripConvPool:
    """The step; rows of the map are ``row`` apart, ``buffer`` gives memory for so many elements."""
    rows, lanes = pair.rows(row, machine), machine.lanes
    windows = pair.windows(2 * rows)
    bands = ceil(pair.pooled[1] / rows)
    channels, _, width = pair.map
    sorted_ = windows.sorted(pair.picture[0], row, lanes)
    front = ceil(row / lanes) * lanes
    span = (2 * rows - 1) * row + width
    plane = avoid_4k_aliasing(front + ceil(span / lanes) * lanes, lanes)
    map_ = Layout(channels=channels, height=2 * rows, width=width, row=row, plane=plane)
    between = [
        BufferView(
            buffer=buffer(bands * per_thread_elements(one, lanes)),
            layout=one,
            planes=tuple(range(one.channels)),
        )
        for one in (sorted_, map_)
    ]
    above = replace(map_, height=2 * rows + 1)
    after = replace(target.layout, height=rows, plane=rows * target.layout.row)
    conv, name = pair.conv, pair.conv.name
    out, per_group = conv.weight.shape[:2]
    return StripConvPool(
        name=name,
        sources=(source, *between),
        target=target,
        split=PhaseSplit(
            name=name,
            sources=(source,),
            target=between[0],
            stride=windows.stride,
            top=windows.padding[0],
            left=windows.padding[1],
            phases=windows.phases,
            outside=0.0,
        ),
        convolution=Convolution(
            name=name,
            sources=(between[0],),
            target=between[1],
            weight=conv.weight.reshape(out, per_group, -1),
            bias=conv.bias,
            groups=1,
            taps=windows.taps(sorted_),
            spread=len(windows.phases),
            activation=conv.activation,
            kernel=windows.kernel,
        ),
        pool=Direct3x3(
            name=name,
            sources=(replace(between[1], layout=above),),
            target=BufferView(buffer=target.buffer, layout=after, planes=target.planes),
            stride=2,
            top=0,
            left=1,
            kind=PoolKind.MAX,
            activation=pair.pool.activation,
        ),
        rows=rows,
        height=pair.map[1],
        front=front,
    )


def fused_conv_pool(
    pair: ConvPool,
    machine: CpuTarget,
    source: BufferView,
    target: BufferView,
    buffer: Callable[[int], int],
) -> FusedConvPool:
    """The step that takes maxima in registers; see ``maxima.suits``."""
    conv, (_, height, width) = pair.conv, pair.map
    out, per_group, *kernel = conv.weight.shape
    columns = fused_tile.tile_columns(machine)
    kept_row = avoid_4k_aliasing(ceil(width / columns) * columns, machine.lanes)
    bands = pair.pooled[1]
    layout = Layout(channels=bands, height=out, width=width, row=kept_row, plane=out * kept_row)
    kept = BufferView(
        buffer=buffer(bands * layout.plane), layout=layout, planes=tuple(range(bands))
    )
    return FusedConvPool(
        name=conv.name,
        sources=(source, kept),
        target=target,
        weight=conv.weight.reshape(out, per_group, -1),
        bias=conv.bias,
        kernel=(kernel[0], kernel[1]),
        top=conv.padding[0],
        left=conv.padding[1],
        height=height,
        width=width,
        inner=conv.activation,
        activation=pair.pool.activation,
        kept_row=kept_row,
    )


def per_thread_elements(layout: Layout, lanes: int) -> int:
    """Elements between what one thread and another have; vectors may read behind the last plane."""
    return layout.channels * layout.plane + _SLACK_VECTORS * lanes
