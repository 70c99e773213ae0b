"""Lowering of layers that move elements and keep them as they are: slices, pads, permutations.

The bytes keep the scale of their source, as those of a max pool do.
"""

from __future__ import annotations

import numpy as np

from shufflenet_deploy.codegen.ir import element_ops as ir
from shufflenet_deploy.codegen.ir.int8 import PixelView
from shufflenet_deploy.codegen.lower import walks
from shufflenet_deploy.codegen.lower.int8 import axes, lookup_tables
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
    known = axes.axis_steps(shape)
    strides = [
        walks.times(step, layer.step if axis == layer.axis else 1)
        for axis, step in enumerate(known)
    ]
    start = walks.times(known[layer.axis], layer.start)
    counts = assigner.graph.shapes[layer.output]
    walk = walks.walk(counts, strides, axes.axis_steps(counts), starts=(start, ir.ORIGIN))
    _copied(layer, source, walk, assigner)


def permute(layer: Permute, assigner: NhwcAssigner) -> None:
    """Lower a permutation of axes."""
    source = assigner.read(layer)
    known = axes.axis_steps(assigner.graph.shapes[layer.inputs[0]])
    counts = assigner.graph.shapes[layer.output]
    walk = walks.walk(counts, [known[axis] for axis in layer.order], axes.axis_steps(counts))
    _copied(layer, source, walk, assigner)


def depth_to_space(layer: DepthToSpace, assigner: NhwcAssigner) -> None:
    """Lower a pixel shuffle."""
    source, shapes = assigner.read_map(layer), assigner.graph.shapes
    counts, deep, wide = walks.blocks(shapes[layer.inputs[0]], shapes[layer.output], layer.block)
    _copied(layer, source, walks.walk(counts, deep, wide), assigner)


def space_to_depth(layer: SpaceToDepth, assigner: NhwcAssigner) -> None:
    """Lower a pixel unshuffle."""
    source, shapes = assigner.read_map(layer), assigner.graph.shapes
    counts, deep, wide = walks.blocks(shapes[layer.output], shapes[layer.inputs[0]], layer.block)
    _copied(layer, source, walks.walk(counts, wide, deep), assigner)


def reshape(layer: Reshape, assigner: NhwcAssigner) -> None:
    """Lower a reshape, by way of a vector where neither side is one."""
    source = assigner.views[layer.inputs[0]]
    shape = assigner.graph.shapes[layer.output]
    size = axes.size_of(shape)
    held = (source.channels, source.height, source.width)
    if held == size and not any(assigner.layout.border(layer.output, 0)[0]):
        assigner.views[layer.output] = source
        return
    if size[1:] == (1, 1):
        walk = axes.unrolled(held)
    else:
        source = source if held[1:] == (1, 1) else assigner.unrolled(layer.name, source)
        walk = walks.walk(shape, axes.flat_steps(shape), axes.axis_steps(shape))
    _copied(layer, source, walk, assigner)


def concat_copies(layer: Concat, to: Target, assigner: NhwcAssigner) -> None:
    """Copy every input of a concatenation along any axis, requantized to the whole's scale."""
    known = assigner.graph.shapes[layer.output]
    steps, at = axes.axis_steps(known), 0
    for number, value in enumerate(layer.inputs):
        counts, source = assigner.graph.shapes[value], assigner.read(layer, number)
        start = walks.times(steps[layer.axis], at)
        walk = walks.walk(counts, axes.axis_steps(counts), steps, starts=(ir.ORIGIN, start))
        assigner.emit_copy(layer.name, source, to.view, walk)
        at += counts[layer.axis]


def pad(layer: Pad, assigner: NhwcAssigner) -> None:
    """Lower a border of zeros, of another constant, or of the map's own pixels."""
    source = assigner.read_map(layer)
    top, left, bottom, right = layer.padding
    rows = ir.AxisSamples(first=walks.padded(source.height, top, bottom, layer.mode))
    columns = ir.AxisSamples(first=walks.padded(source.width, left, right, layer.mode))
    if layer.mode is PadMode.CONSTANT and layer.value:
        # The constant may be outside the source's range: the output's has both.
        to = assigner.target(layer, Activation.NONE)
        source = _requantized(layer, source, to.view, assigner)
    else:
        to = _same_scale(layer, source, assigner)
    constant = np.array([layer.value], np.float64)
    (fill,) = lookup_tables.quantized(assigner.arithmetic, constant, to.view)
    _sample(layer, source, to, (rows, columns), assigner, int(fill))


def resize(layer: Resize, assigner: NhwcAssigner) -> None:
    """Lower a resize to nearest pixels or by bilinear weights in fixed point."""
    source = assigner.read_map(layer)
    to = _same_scale(layer, source, assigner)
    found = []
    for old, new in zip((source.height, source.width), layer.size, strict=True):
        first, second, weight = taps(old, new, layer)
        fixed = np.rint(weight * 2**ir.WEIGHT_BITS).astype(np.int64)
        blend = None if layer.mode is ResizeMode.NEAREST else ir.Blend(second=second, weight=fixed)
        found.append(ir.AxisSamples(first=first, blend=blend))
    _sample(layer, source, to, (found[0], found[1]), assigner)


def _sample(
    layer: Layer,
    source: PixelView,
    to: Target,
    axes_of: tuple[ir.AxisSamples, ir.AxisSamples],
    assigner: NhwcAssigner,
    outside: int = 0,
) -> None:
    """Emit rows and columns of a map that are those of another one."""
    rows, columns = axes_of
    op = ir.Sample(
        name=layer.name,
        sources=(source,),
        target=to.view,
        rows=rows,
        columns=columns,
        outside=outside,
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
