"""Lowering of layers that are loops over elements: functions, arithmetic, moves, reductions."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from shufflenet_deploy.codegen.ir import map_ops as ir
from shufflenet_deploy.codegen.ir.planar import PlanarView, flat_layout, vector_layout
from shufflenet_deploy.codegen.lower.fp import data_movement
from shufflenet_deploy.codegen.lower.fp.buffer_assignment import (
    PlanarAssigner,
    joins_planes,
    split_activation,
)
from shufflenet_deploy.codegen.lower.fp.strides import (
    Shape,
    broadcast,
    common_shape,
    is_dense,
    row_major,
    split_strides,
    strides_of,
)
from shufflenet_deploy.network.graph import (
    Activation,
    Arithmetic,
    ArithmeticKind,
    Clip,
    Concat,
    DepthToSpace,
    Elu,
    FloatArray,
    Layer,
    LeakyRelu,
    Pad,
    PadMode,
    Permute,
    Power,
    Reduce,
    Reshape,
    Resize,
    Slice,
    Softmax,
    SpaceToDepth,
)
from shufflenet_deploy.network.resampling import Indices, taps

# -- functions --------------------------------------------------------------------------------


def leaky_relu(layer: LeakyRelu, assigner: PlanarAssigner) -> None:
    """Lower a leaky ReLU, with one slope or one of each channel."""
    shape = assigner.graph.shapes[layer.inputs[0]]
    if len(layer.slope) > 1 and len(shape) not in {1, 3}:
        slope = layer.slope.reshape(-1, *[1] * (len(shape) - 1))
        _combine(layer, None, _constant(slope, shape), assigner)
    else:
        _apply(layer, ir.FunctionKind.LEAKY_RELU, layer.slope.reshape(-1, 1), assigner)


def elu(layer: Elu, assigner: PlanarAssigner) -> None:
    """Lower an ELU."""
    _apply(layer, ir.FunctionKind.ELU, np.array([[layer.alpha]], np.float32), assigner)


def clip(layer: Clip, assigner: PlanarAssigner) -> None:
    """Lower a clip; a bound that is infinite is the largest number there is."""
    largest = np.finfo(np.float16 if assigner.cpu.is_fp16 else np.float32).max
    bounds = np.clip([[layer.low, layer.high]], -largest, largest).astype(np.float32)
    _apply(layer, ir.FunctionKind.CLIP, bounds, assigner)


def power(layer: Power, assigner: PlanarAssigner) -> None:
    """Lower a power; those of 0.5 and -0.5 are roots."""
    function = _ROOTS.get(layer.exponent)
    if function is not None:
        _apply(layer, function, None, assigner)
    else:
        exponent = np.array([[layer.exponent]], np.float32)
        _apply(layer, ir.FunctionKind.POWER, exponent, assigner)


_ROOTS = {0.5: ir.FunctionKind.SQUARE_ROOT, -0.5: ir.FunctionKind.RECIPROCAL_ROOT}


def _apply(
    layer: Layer, function: ir.FunctionKind, parameters: FloatArray | None, assigner: PlanarAssigner
) -> None:
    source = assigner.read(layer.inputs[0])
    target, activation = assigner.target(layer.output, Activation.NONE)
    assigner.emit(
        ir.Apply(
            name=layer.name,
            sources=(source,),
            target=target,
            function=function,
            numbers=parameters,
        )
    )
    assigner.emit_epilogue(layer.name, target, target, activation)


# -- arithmetic -------------------------------------------------------------------------------


def arithmetic(layer: Arithmetic, assigner: PlanarAssigner) -> None:
    """Lower an operation of two values, or of a value and a constant."""
    shape = assigner.graph.shapes[layer.output]
    if layer.constant is None:
        other = _operand(layer.inputs[1], shape, assigner)
    else:
        other = _constant(layer.constant, shape)
    _combine(layer, layer.kind, other, assigner, activation=layer.activation, turned=layer.reverse)


def _combine(
    layer: Layer,
    kind: ArithmeticKind | None,
    other: ir.Operand,
    assigner: PlanarAssigner,
    *,
    activation: Activation = Activation.NONE,
    turned: bool = False,
) -> None:
    """Emit ``kind`` of a layer's first input and ``other``, in the other order if ``turned``."""
    shape = assigner.graph.shapes[layer.output]
    one = _operand(layer.inputs[0], shape, assigner)
    target = assigner.buffer_of(layer.output)
    own, left = split_activation(activation)
    views = [operand.view for operand in (one, other) if operand.view]
    assigner.emit(
        ir.Arithmetic(
            name=layer.name,
            sources=tuple(views),
            target=target,
            kind=kind,
            extents=shape,
            operands=(other, one) if turned else (one, other),
            target_strides=strides_of(target, shape),
            activation=own,
        )
    )
    assigner.emit_epilogue(layer.name, target, target, left)


def _operand(value: str, to: Shape, assigner: PlanarAssigner) -> ir.Operand:
    """A value, broadcast to a shape."""
    view, shape = assigner.read(value), assigner.graph.shapes[value]
    strides = broadcast(strides_of(view, shape), shape, to)
    return ir.Operand(strides=strides, offset=view.offset(), view=view)


def _constant(constant: FloatArray, to: Shape) -> ir.Operand:
    """A constant, broadcast to a shape."""
    strides = broadcast(row_major(constant.shape), constant.shape, to)
    return ir.Operand(strides=strides, constant=np.ascontiguousarray(constant, np.float32).ravel())


# -- moves ------------------------------------------------------------------------------------


def concat(layer: Concat, assigner: PlanarAssigner) -> None:
    """Lower a concatenation: of channels in place if it can be, of other axes by moves."""
    if joins_planes(layer, assigner.graph):
        data_movement.move(layer, assigner)
        return
    shapes, target = assigner.graph.shapes, assigner.buffer_of(layer.output)
    steps, begin = strides_of(target, shapes[layer.output]), 0
    for value in layer.inputs:
        shape, source = shapes[value], assigner.read(value)
        _move(
            layer,
            assigner,
            (source, strides_of(source, shape), 0),
            (target, steps, begin * steps[layer.axis]),
            shape,
        )
        begin += shape[layer.axis]
    assigner.emit_epilogue(layer.name, target, target, layer.activation)


def slice_(layer: Slice, assigner: PlanarAssigner) -> None:
    """Lower a slice: consecutive channels are a view, all others are copied."""
    value, shapes = layer.inputs[0], assigner.graph.shapes
    source, shape, out = assigner.read(value), shapes[value], shapes[layer.output]
    if layer.axis == 0 and layer.step == 1 and len(shape) in {1, 3}:
        layout = replace(source.layout, channels=out[0])
        planes = source.planes[layer.start : layer.start + out[0]]
        assigner.views[layer.output] = replace(source, layout=layout, planes=planes)
        assigner.aliased.add(source.buffer)
        return
    target, steps = assigner.buffer_of(layer.output), list(strides_of(source, shape))
    begin = layer.start * steps[layer.axis]
    steps[layer.axis] *= layer.step
    to = (target, strides_of(target, out), 0)
    _move(layer, assigner, (source, tuple(steps), begin), to, out)


def permute(layer: Permute, assigner: PlanarAssigner) -> None:
    """Lower a permutation of axes."""
    value, shapes = layer.inputs[0], assigner.graph.shapes
    source, target = assigner.read(value), assigner.buffer_of(layer.output)
    steps, out = strides_of(source, shapes[value]), shapes[layer.output]
    turned = tuple(steps[axis] for axis in layer.order)
    _move(layer, assigner, (source, turned, 0), (target, strides_of(target, out), 0), out)


def reshape(layer: Reshape, assigner: PlanarAssigner) -> None:
    """Lower another shape: a view where both are dense, else one move or two."""
    value, shapes = layer.inputs[0], assigner.graph.shapes
    source, shape, out = assigner.read(value), shapes[value], shapes[layer.output]
    finer = common_shape(shape, out)
    if is_dense(source, shape) and assigner.layout.is_flat(layer.output):
        relaid = _relaid(source, out, assigner)
        if relaid is not None:
            assigner.views[layer.output] = relaid
            assigner.aliased.add(source.buffer)
            return
    if finer is None and not is_dense(source, shape):
        flat = assigner.layout.new_buffer(flat_layout(prod(shape), assigner.cpu.lanes))
        begun = (source, strides_of(source, shape), 0)
        _move(layer, assigner, begun, (flat, row_major(shape), 0), shape)
        source = flat
    target = assigner.buffer_of(layer.output)
    to = strides_of(target, out)
    if finer is None:
        _move(layer, assigner, (source, row_major(out), 0), (target, to, 0), out)
    else:
        given = split_strides(strides_of(source, shape), shape, finer)
        _move(
            layer,
            assigner,
            (source, given, 0),
            (target, split_strides(to, out, finer), 0),
            finer,
        )


def _relaid(view: PlanarView, shape: Shape, assigner: PlanarAssigner) -> PlanarView | None:
    """Dense elements as a vector or in order; None if no plane in order begins with them."""
    size, begin = prod(shape), view.offset()
    if len(shape) in {1, 3}:
        planes = tuple(range(begin, begin + size))
        return replace(view, layout=vector_layout(size), planes=planes)
    layout = flat_layout(size, assigner.cpu.lanes)
    first, rest = divmod(begin, layout.channel_stride)
    return None if rest else replace(view, layout=layout, planes=(first,))


def depth_to_space(layer: DepthToSpace, assigner: PlanarAssigner) -> None:
    """Lower a pixel shuffle."""
    _between_depth_and_space(layer, assigner, deep=layer.inputs[0], wide=layer.output)


def space_to_depth(layer: SpaceToDepth, assigner: PlanarAssigner) -> None:
    """Lower a pixel unshuffle."""
    _between_depth_and_space(layer, assigner, deep=layer.output, wide=layer.inputs[0])


def _between_depth_and_space(
    layer: DepthToSpace | SpaceToDepth, assigner: PlanarAssigner, *, deep: str, wide: str
) -> None:
    """Move between channels and blocks: axes are (channel, row and column of a block, block)."""
    block, shapes = layer.block, assigner.graph.shapes
    source, target = assigner.read(layer.inputs[0]), assigner.buffer_of(layer.output)
    views = {layer.inputs[0]: source, layer.output: target}
    channel, row, column = strides_of(views[deep], shapes[deep])
    by_depth = (channel * block**2, row, channel * block, column, channel)
    channel, row, column = strides_of(views[wide], shapes[wide])
    by_space = (channel, row * block, row, column * block, column)
    channels, _, _ = shapes[wide]
    _, height, width = shapes[deep]
    extents = (channels, height, block, width, block)
    given, made = (by_depth, by_space) if deep == layer.inputs[0] else (by_space, by_depth)
    _move(layer, assigner, (source, given, 0), (target, made, 0), extents)


def _move(
    layer: Layer,
    assigner: PlanarAssigner,
    source: tuple[PlanarView, ir.Strides, int],
    target: tuple[PlanarView, ir.Strides, int],
    extents: Shape,
) -> None:
    """Emit a move; each side is a view, strides, and where it begins in the view."""
    assigner.emit(
        ir.Move(
            name=layer.name,
            sources=(source[0],),
            target=target[0],
            extents=extents,
            source_strides=source[1],
            target_strides=target[1],
            source_offset=source[2],
            target_offset=target[2],
        )
    )


# -- padding and resizing ---------------------------------------------------------------------


def pad(layer: Pad, assigner: PlanarAssigner) -> None:
    """Lower a border of pixels."""
    shape = assigner.graph.shapes[layer.inputs[0]]
    top, left, bottom, right = layer.padding
    axes = [
        ir.AxisSamples(first=_padded(size, before, after, layer.mode))
        for size, before, after in ((shape[1], top, bottom), (shape[2], left, right))
    ]
    _sample(layer, axes, assigner, outside=layer.value)


def _padded(size: int, before: int, after: int, mode: PadMode) -> Indices:
    """The old pixel of each new one along an axis; -1 is outside."""
    at = np.arange(-before, size + after)
    if mode is PadMode.CONSTANT:
        return np.where((at >= 0) & (at < size), at, -1)
    if mode is PadMode.REPLICATE:
        return np.clip(at, 0, size - 1)
    mirrored: Indices = (size - 1) - np.abs((size - 1) - np.abs(at))
    return mirrored


def resize(layer: Resize, assigner: PlanarAssigner) -> None:
    """Lower a change of size."""
    shape = assigner.graph.shapes[layer.inputs[0]]
    axes = []
    for old, new in zip(shape[1:], layer.size, strict=True):
        first, second, weight = taps(old, new, layer)
        blends = bool(weight.any())
        axes.append(
            ir.AxisSamples(
                first=first,
                second=second if blends else None,
                weight=weight if blends else None,
            )
        )
    _sample(layer, axes, assigner)


def _sample(
    layer: Pad | Resize,
    axes: list[ir.AxisSamples],
    assigner: PlanarAssigner,
    outside: float = 0.0,
) -> None:
    source = assigner.read(layer.inputs[0])
    target, activation = assigner.target(layer.output, Activation.NONE)
    assigner.emit(
        ir.Sample(
            name=layer.name,
            sources=(source,),
            target=target,
            rows=axes[0],
            columns=axes[1],
            outside=outside,
        )
    )
    assigner.emit_epilogue(layer.name, target, target, activation)


# -- reductions -------------------------------------------------------------------------------


def softmax(layer: Softmax, assigner: PlanarAssigner) -> None:
    """Lower a softmax along an axis."""
    value, shape = layer.inputs[0], assigner.graph.shapes[layer.output]
    source, target = assigner.read(value), assigner.buffer_of(layer.output)
    given, made = strides_of(source, shape), strides_of(target, shape)
    order = (*(axis for axis in range(len(shape)) if axis != layer.axis), layer.axis)
    assigner.emit(
        ir.Softmax(
            name=layer.name,
            sources=(source,),
            target=target,
            extents=_picked(shape, order),
            source_strides=_picked(given, order),
            target_strides=_picked(made, order),
            logarithm=layer.logarithm,
        )
    )


def reduce(layer: Reduce, assigner: PlanarAssigner) -> None:
    """Lower a reduction over some axes."""
    value, shapes = layer.inputs[0], assigner.graph.shapes
    source, shape = assigner.read(value), shapes[value]
    target, out = assigner.buffer_of(layer.output), shapes[layer.output]
    given, made = strides_of(source, shape), strides_of(target, out)
    kept = tuple(axis for axis in range(len(shape)) if axis not in layer.axes)
    if layer.keep:
        made = _picked(made, kept)
    order = (*kept, *layer.axes)
    assigner.emit(
        ir.Reduce(
            name=layer.name,
            sources=(source,),
            target=target,
            kind=layer.kind,
            extents=_picked(shape, order),
            reduced=len(layer.axes),
            source_strides=_picked(given, order),
            target_strides=made,
        )
    )


def _picked(numbers: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(numbers[axis] for axis in axes)
