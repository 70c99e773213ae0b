"""Fusion of a convolution with the max pool after it: where it pays, and rows per strip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil

from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.ir.activations import CLAMPS
from shufflenet_deploy.codegen.ir.ops import (
    Clamp,
    Convolution,
    Direct3x3,
    FusedConvPool,
    PhaseSplit,
    StripConvPool,
    TapOffsets,
)
from shufflenet_deploy.codegen.ir.planar import Layout, PlanarView, avoid_4k_aliasing
from shufflenet_deploy.codegen.ir.window_geometry import (
    Shape,
    WindowGeometry,
    is_pointwise,
    supports_direct_3x3,
)
from shufflenet_deploy.codegen.schedule import fused_conv_pool as fused_tile
from shufflenet_deploy.network.graph import Conv, Pool, PoolKind

_MAX_ROWS = 8
_SLACK_VECTORS = 16


@dataclass(frozen=True, kw_only=True)
class ConvPool:
    """A convolution, the pool after it, and the shapes of input, convolution and pool."""

    conv: Conv
    pool: Pool
    input_shape: Shape
    conv_shape: Shape
    pool_shape: Shape

    def is_profitable(self, row: int, cpu: CpuTarget) -> bool:
        """True if strips pay; ``row`` is the row stride of the convolution's map."""
        conv, pool = self.conv, self.pool
        return (
            conv.groups == 1
            and not is_pointwise(conv)
            and conv.dilation == (1, 1)
            and pool.kind is PoolKind.MAX
            and (pool.stride, pool.padding[:2]) == ((2, 2), (1, 1))
            and supports_direct_3x3(pool, self.conv_shape, self.pool_shape)
            and {conv.activation, pool.activation} <= CLAMPS
            and self._map_bytes(row, cpu) > cpu.max_whole_map_bytes
        )

    def _map_bytes(self, row: int, cpu: CpuTarget) -> int:
        """Bytes of the convolution's map."""
        return self.conv_shape[0] * self.conv_shape[1] * row * cpu.element_bytes

    def windows(self, rows: int) -> WindowGeometry:
        """Window geometry of the convolution for a strip of so many rows."""
        conv = self.conv
        kernel = (conv.weight.shape[2], conv.weight.shape[3])
        size = (self.input_shape[1], self.input_shape[2])
        return WindowGeometry(kernel, conv.stride, conv.padding, size, (rows, self.conv_shape[2]))

    def rows(self, row: int, cpu: CpuTarget) -> int:
        """Output rows per strip: as many as fit the cache budget, in equal strips."""
        phases = len(self.windows(1).phases)
        numbers = row * (self.conv_shape[0] + self.input_shape[0] * phases)
        most = cpu.strip_bytes // (2 * numbers * cpu.element_bytes)
        most = max(1, min(most, _MAX_ROWS))
        height = self.pool_shape[1]
        sizes = range((most + 1) // 2, most + 1)
        return min(sizes, key=lambda size: (ceil(height / size) * size, -size))


def strip_conv_pool(
    pair: ConvPool,
    cpu: CpuTarget,
    row: int,
    source: PlanarView,
    target: PlanarView,
    buffer: Callable[[int], int],
) -> StripConvPool:
    """The strip-mined op; ``row`` is the map's row stride, ``buffer`` allocates elements."""
    rows, lanes = pair.rows(row, cpu), cpu.lanes
    windows = pair.windows(2 * rows)
    strips = ceil(pair.pool_shape[1] / rows)
    channels, _, width = pair.conv_shape
    sorted_ = windows.phase_split_layout(pair.input_shape[0], row, lanes)
    front = ceil(row / lanes) * lanes
    span = (2 * rows - 1) * row + width
    plane = avoid_4k_aliasing(front + ceil(span / lanes) * lanes, lanes)
    map_ = Layout(
        channels=channels, height=2 * rows, width=width, row_stride=row, channel_stride=plane
    )
    between = [
        PlanarView(
            buffer=buffer(strips * per_thread_elements(one, lanes)),
            dtype=cpu.precision,
            layout=one,
            planes=tuple(range(one.channels)),
        )
        for one in (sorted_, map_)
    ]
    above = replace(map_, height=2 * rows + 1)
    after = replace(target.layout, height=rows, channel_stride=rows * target.layout.row_stride)
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
            window=TapOffsets(
                taps=windows.taps(sorted_),
                planes_per_channel=len(windows.phases),
                kernel=windows.kernel,
            ),
            epilogue=Clamp(activation=conv.activation),
        ),
        pool=Direct3x3(
            name=name,
            sources=(replace(between[1], layout=above),),
            target=replace(target, layout=after),
            stride=2,
            top=0,
            left=1,
            kind=PoolKind.MAX,
            activation=pair.pool.activation,
        ),
        rows=rows,
        height=pair.conv_shape[1],
        carried_row_offset=front,
    )


def fused_conv_pool(
    pair: ConvPool,
    cpu: CpuTarget,
    source: PlanarView,
    target: PlanarView,
    buffer: Callable[[int], int],
) -> FusedConvPool:
    """The op that pools in registers; see ``fused_conv_pool.fits_registers``."""
    conv, (_, height, width) = pair.conv, pair.conv_shape
    out, per_group, *kernel = conv.weight.shape
    columns = fused_tile.tile_columns(cpu)
    kept_row = avoid_4k_aliasing(ceil(width / columns) * columns, cpu.lanes)
    strips = pair.pool_shape[1]
    layout = Layout(
        channels=strips, height=out, width=width, row_stride=kept_row, channel_stride=out * kept_row
    )
    kept = PlanarView(
        buffer=buffer(strips * layout.channel_stride),
        dtype=cpu.precision,
        layout=layout,
        planes=tuple(range(strips)),
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
        carried_row_stride=kept_row,
    )


def per_thread_elements(layout: Layout, lanes: int) -> int:
    """Elements of scratch per thread, with slack for vector loads past the last plane."""
    return layout.channels * layout.channel_stride + _SLACK_VECTORS * lanes
