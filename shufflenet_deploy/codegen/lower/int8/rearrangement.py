"""Lowering of layers that move elements and keep them as they are: slices, pads, permutations.

The bytes keep the scale of their source, as those of a max pool do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shufflenet_deploy.codegen.ir import elements as ir
from shufflenet_deploy.codegen.ir.int8 import PixelView
from shufflenet_deploy.codegen.lower.int8 import lookup_tables, walks
from shufflenet_deploy.codegen.lower.int8.buffer_assignment import NhwcAssigner, Target
from shufflenet_deploy.network.graph import (
    Activation,
    Concat,
    DepthToSpace,
    Layer,
    Pad,
    PadMode,
    Permute,
    Reshape,
    Resize,
    ResizeMode,
    Slice,
    SpaceToDepth,
)
from shufflenet_deploy.network.resampling import taps


def sliced(layer: Slice, assigner: NhwcAssigner) -> None:
    """Lower a slice: neighbouring channels are a view, all others are copied."""
    source, shape = assigner.read(layer), assigner.graph.shapes[layer.inputs[0]]
    if assigner.layout.is_part(layer):
        channels = layer.stop - layer.start
        assigner.views[layer.output] = source.part(layer.start, channels)
        return
    known = walks.axis_steps(shape)
    strides = [
        walks.times(step, layer.step if axis == layer.axis else 1)
        for axis, step in enumerate(known)
    ]
    start = walks.times(known[layer.axis], layer.start)
    counts = assigner.graph.shapes[layer.output]
    walk = walks.walk(counts, strides, walks.axis_steps(counts), starts=(start, walks.ORIGIN))
    _copied(layer, source, walk, assigner)


def permute(layer: Permute, assigner: NhwcAssigner) -> None:
    """Lower a permutation of axes."""
    source = assigner.read(layer)
    known = walks.axis_steps(assigner.graph.shapes[layer.inputs[0]])
    counts = assigner.graph.shapes[layer.output]
    walk = walks.walk(counts, [known[axis] for axis in layer.order], walks.axis_steps(counts))
    _copied(layer, source, walk, assigner)


def depth_to_space(layer: DepthToSpace, assigner: NhwcAssigner) -> None:
    """Lower a pixel shuffle."""
    source = assigner.read_map(layer)
    counts, blocked, plain = _blocks(layer.inputs[0], layer.output, layer.block, assigner)
    _copied(layer, source, walks.walk(counts, blocked, plain), assigner)


def space_to_depth(layer: SpaceToDepth, assigner: NhwcAssigner) -> None:
    """Lower a pixel unshuffle."""
    source = assigner.read_map(layer)
    counts, blocked, plain = _blocks(layer.output, layer.inputs[0], layer.block, assigner)
    _copied(layer, source, walks.walk(counts, plain, blocked), assigner)


def _blocks(
    deep: str, wide: str, block: int, assigner: NhwcAssigner
) -> tuple[Sequence[int], list[ir.Step], list[ir.Step]]:
    """Counts of the loops of a pixel shuffle, and their steps in its deep and wide maps."""
    channels = assigner.graph.shapes[wide][0]
    _, height, width = assigner.graph.shapes[deep]
    counts = (channels, block, block, height, width)
    blocked = [(block**2, 0, 0), (block, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    plain = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, block, 0), (0, 0, block)]
    return counts, blocked, plain


def reshape(layer: Reshape, assigner: NhwcAssigner) -> None:
    """Lower a reshape, by way of a vector where neither side is one."""
    source = assigner.views[layer.inputs[0]]
    shape = assigner.graph.shapes[layer.output]
    size = walks.size_of(shape)
    held = (source.channels, source.height, source.width)
    if held == size and not any(assigner.layout.border(layer.output, 0)[0]):
        assigner.views[layer.output] = source
        return
    if size[1:] == (1, 1):
        walk = walks.unrolled(held)
    else:
        source = source if held[1:] == (1, 1) else assigner.unrolled(layer.name, source)
        walk = walks.walk(shape, walks.flat_steps(shape), walks.axis_steps(shape))
    _copied(layer, source, walk, assigner)


def concat_copies(layer: Concat, to: Target, assigner: NhwcAssigner) -> None:
    """Copy every input of a concatenation along any axis, requantized to the whole's scale."""
    known = assigner.graph.shapes[layer.output]
    steps, at = walks.axis_steps(known), 0
    for number, value in enumerate(layer.inputs):
        counts, source = assigner.graph.shapes[value], assigner.read(layer, number)
        start = walks.times(steps[layer.axis], at)
        walk = walks.walk(counts, walks.axis_steps(counts), steps, starts=(walks.ORIGIN, start))
        assigner.emit_copy(layer.name, source, to.view, walk)
        at += counts[layer.axis]


def pad(layer: Pad, assigner: NhwcAssigner) -> None:
    """Lower a border of zeros, of another constant, or of the map's own pixels."""
    source = assigner.read_map(layer)
    top, left, bottom, right = layer.padding
    rows = _outside(source.height, top, bottom, layer.mode)
    columns = _outside(source.width, left, right, layer.mode)
    if layer.mode is PadMode.CONSTANT and layer.value:
        # The constant may be outside the source's range: the output's has both.
        to = assigner.target(layer, Activation.NONE)
        source = _requantized(layer, source, to.view, assigner)
    else:
        to = _same_scale(layer, source, assigner)
    constant = np.array([layer.value], np.float64)
    (fill,) = lookup_tables.quantized(assigner.arithmetic, constant, to.view)
    _gather(layer, source, to, rows, columns, assigner, int(fill))


def resize(layer: Resize, assigner: NhwcAssigner) -> None:
    """Lower a resize to nearest pixels or by bilinear weights in fixed point."""
    source = assigner.read_map(layer)
    to = _same_scale(layer, source, assigner)
    ends = [
        taps(old, new, layer)
        for old, new in zip((source.height, source.width), layer.size, strict=True)
    ]
    if layer.mode is ResizeMode.NEAREST:
        rows, columns = ([int(at) for at in first] for first, _, _ in ends)
        _gather(layer, source, to, rows, columns, assigner)
        return
    weights = [
        ir.Taps(
            first=tuple(map(int, first)),
            second=tuple(map(int, second)),
            weight=tuple(int(part) for part in np.rint(weight * 2**ir.WEIGHT_BITS)),
        )
        for first, second, weight in ends
    ]
    op = ir.ResizeBilinear(
        name=layer.name, sources=(source,), target=to.view, rows=weights[0], columns=weights[1]
    )
    assigner.emit(op)
    assigner.emit_epilogue(layer.name, to)


def _outside(length: int, before: int, after: int, mode: PadMode) -> list[int]:
    """The old row or column of each new one; -1 is the constant."""
    at = np.arange(-before, length + after)
    if mode is PadMode.CONSTANT:
        return [int(one) if 0 <= one < length else -1 for one in at]
    if mode is PadMode.REPLICATE:
        return [int(one) for one in np.clip(at, 0, length - 1)]
    return [int(one) for one in (length - 1) - np.abs((length - 1) - np.abs(at))]


def _gather(
    layer: Layer,
    source: PixelView,
    to: Target,
    rows: Sequence[int],
    columns: Sequence[int],
    assigner: NhwcAssigner,
    fill: int = 0,
) -> None:
    op = ir.GatherPixels(
        name=layer.name,
        sources=(source,),
        target=to.view,
        rows=tuple(rows),
        columns=tuple(columns),
        fill=fill,
    )
    assigner.emit(op)
    assigner.emit_epilogue(layer.name, to)


def _same_scale(layer: Layer, source: PixelView, assigner: NhwcAssigner) -> Target:
    """The target of a layer that keeps the scale of its input."""
    view = assigner.layout.allocate_with(layer.output, source.scale, source.zero_point)
    assigner.views[layer.output] = view
    return Target(view=view, value=layer.output)


def _requantized(
    layer: Layer, source: PixelView, target: PixelView, assigner: NhwcAssigner
) -> PixelView:
    """A copy of a value in the scale of a target."""
    size = (source.channels, source.height, source.width)
    view = assigner.layout.new_buffer(size, target.scale, target.zero_point)
    assigner.emit_lookup_table(layer.name, source, view)
    return view


def _copied(layer: Layer, source: PixelView, walk: ir.Walk, assigner: NhwcAssigner) -> None:
    """Emit a copy to the layer's output, which keeps the source's scale."""
    to = _same_scale(layer, source, assigner)
    assigner.emit_copy(layer.name, source, to.view, walk)
    assigner.emit_epilogue(layer.name, to)
