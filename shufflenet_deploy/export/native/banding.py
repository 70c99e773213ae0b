"""Which convolutions are computed in bands with the pool behind them, and in how many rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil

from shufflenet_deploy.export.graph import Activation, Conv, Pool, PoolKind
from shufflenet_deploy.export.native import maxima
from shufflenet_deploy.export.native.geometry import (
    Shape,
    Windows,
    is_direct,
    is_pointwise,
)
from shufflenet_deploy.export.native.machine import Machine
from shufflenet_deploy.export.native.program import (
    Banded,
    Convolution,
    Layout,
    Place,
    Pooled,
    Split,
    Window3x3,
    apart,
)

#: Bytes of what a band keeps between its steps: with the weights, not all of the smallest cache
#: that a core has for itself and instructions share.
_BAND_BYTES = 128 << 10
_MOST_ROWS = 8
_SLACK_VECTORS = 16
#: Maps that stay in the cache anyway.
_LEAST_BYTES = 64 << 10


@dataclass(frozen=True, kw_only=True)
class Banding:
    """A convolution and the pool behind it, with the shapes of picture, map and pooled map."""

    conv: Conv
    pool: Pool
    picture: Shape
    map: Shape
    pooled: Shape

    def suits(self, row: int, machine: Machine) -> bool:
        """Whether bands are worth it; rows of the map are ``row`` apart."""
        conv, pool = self.conv, self.pool
        return (
            conv.groups == 1
            and not is_pointwise(conv)
            and pool.kind is PoolKind.MAX
            and (pool.stride, pool.padding[:2]) == ((2, 2), (1, 1))
            and is_direct(pool, self.map, self.pooled)
            and Activation.SIGMOID not in {conv.activation, pool.activation}
            and self.map[0] * self.map[1] * row * machine.element_bytes > _LEAST_BYTES
        )

    def windows(self, rows: int) -> Windows:
        """Of the convolution, for a band of so many rows of the map."""
        conv = self.conv
        kernel = (conv.weight.shape[2], conv.weight.shape[3])
        size = (self.picture[1], self.picture[2])
        return Windows(kernel, conv.stride, conv.padding, size, (rows, self.map[2]))

    def rows(self, row: int, machine: Machine) -> int:
        """Rows of the pooled map in a band: as many as the cache has room for, in equal bands."""
        phases = len(self.windows(1).phases)
        numbers = row * (self.map[0] + self.picture[0] * phases)
        most = _BAND_BYTES // (2 * numbers * machine.element_bytes)
        most = max(1, min(most, _MOST_ROWS))
        height = self.pooled[1]
        sizes = range((most + 1) // 2, most + 1)
        return min(sizes, key=lambda size: (ceil(height / size) * size, -size))


def banded(
    pair: Banding,
    machine: Machine,
    row: int,
    source: Place,
    target: Place,
    buffer: Callable[[int], int],
) -> Banded:
    """The step; rows of the map are ``row`` apart, ``buffer`` gives memory for so many elements."""
    rows, lanes = pair.rows(row, machine), machine.lanes
    windows = pair.windows(2 * rows)
    bands = ceil(pair.pooled[1] / rows)
    channels, _, width = pair.map
    sorted_ = windows.sorted(pair.picture[0], row, lanes)
    front = ceil(row / lanes) * lanes
    span = (2 * rows - 1) * row + width
    plane = apart(front + ceil(span / lanes) * lanes, lanes)
    map_ = Layout(channels=channels, height=2 * rows, width=width, row=row, plane=plane)
    between = [
        Place(
            buffer=buffer(bands * apiece(one, lanes)),
            layout=one,
            planes=tuple(range(one.channels)),
        )
        for one in (sorted_, map_)
    ]
    above = replace(map_, height=2 * rows + 1)
    after = replace(target.layout, height=rows, plane=rows * target.layout.row)
    conv, name = pair.conv, pair.conv.name
    out, per_group = conv.weight.shape[:2]
    return Banded(
        name=name,
        sources=(source, *between),
        target=target,
        split=Split(
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
        pool=Window3x3(
            name=name,
            sources=(replace(between[1], layout=above),),
            target=Place(buffer=target.buffer, layout=after, planes=target.planes),
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


def pooled(
    pair: Banding,
    machine: Machine,
    source: Place,
    target: Place,
    buffer: Callable[[int], int],
) -> Pooled:
    """The step that takes maxima in registers; see ``maxima.suits``."""
    conv, (_, height, width) = pair.conv, pair.map
    out, per_group, *kernel = conv.weight.shape
    columns = maxima.columns_of_tile(machine)
    kept_row = apart(ceil(width / columns) * columns, machine.lanes)
    bands = pair.pooled[1]
    layout = Layout(channels=bands, height=out, width=width, row=kept_row, plane=out * kept_row)
    kept = Place(buffer=buffer(bands * layout.plane), layout=layout, planes=tuple(range(bands)))
    return Pooled(
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


def apiece(layout: Layout, lanes: int) -> int:
    """Elements between what one thread and another have; vectors may read behind the last plane."""
    return layout.channels * layout.plane + _SLACK_VECTORS * lanes
