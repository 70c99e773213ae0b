"""Lowering of layers that are loops over elements: functions, arithmetic, moves, reductions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import TypeVar

import numpy as np

from shufflenet_deploy.codegen.ir import element_ops as ir
from shufflenet_deploy.codegen.ir.op import Step
from shufflenet_deploy.codegen.ir.planar import PlanarView, flat_layout, vector_layout
from shufflenet_deploy.codegen.lower import walks
from shufflenet_deploy.codegen.lower.fp import data_movement
from shufflenet_deploy.codegen.lower.fp.axes import axis_steps, in_order, is_dense
from shufflenet_deploy.codegen.lower.fp.buffer_assignment import (
    PlanarAssigner,
    joins_planes,
    split_activation,
)
from shufflenet_deploy.codegen.lower.walks import Shape
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
    MatMul,
    Pad,
    Permute,
    Power,
    Reduce,
    Reshape,
    Resize,
    Slice,
    Softmax,
    SpaceToDepth,
)
from shufflenet_deploy.network.resampling import taps

_T = TypeVar("_T")

# -- functions --------------------------------------------------------------------------------


def leaky_relu(layer: LeakyRelu, assigner: PlanarAssigner) -> None:
    """Lower a leaky ReLU, with one slope or one of each channel."""
    shape = assigner.graph.shapes[layer.inputs[0]]
    if len(layer.slope) > 1 and len(shape) not in {1, 3}:
        slope = layer.slope.reshape(-1, *[1] * (len(shape) - 1))
        _combine(layer, None, slope, assigner)
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
    _combine(layer, layer.kind, layer.constant, assigner, layer.activation, turned=layer.reverse)


def _combine(
    layer: Layer,
    kind: ArithmeticKind | None,
    constant: FloatArray | None,
    assigner: PlanarAssigner,
    activation: Activation = Activation.NONE,
    *,
    turned: bool = False,
) -> None:
    """Emit ``kind`` of a layer's inputs and a ``constant``, which is the first if ``turned``."""
    shapes = assigner.graph.shapes
    shape = shapes[layer.output]
    operands = [(axis_steps(shapes[value]), shapes[value]) for value in layer.inputs]
    constants: list[FloatArray | None] = [None] * len(operands)
    sources = [assigner.read(value) for value in layer.inputs]
    if constant is not None:
        operands.append((walks.row_major(constant.shape, walks.CHANNEL), constant.shape))
        constants.append(np.ascontiguousarray(constant, np.float32).ravel())
    for one in (operands, constants, sources) if turned else ():
        one.reverse()
    target = assigner.buffer_of(layer.output)
    own, left = split_activation(activation)
    steps = (walks.broadcast(known, of, shape) for known, of in operands)
    assigner.emit(
        ir.Arithmetic(
            name=layer.name,
            sources=tuple(sources),
            target=target,
            kind=kind,
            walk=walks.walk(shape, *steps, axis_steps(shape)),
            constants=(constants[0], constants[1]),
            epilogue=own,
        )
    )
    assigner.emit_epilogue(layer.name, target, target, left)


def matmul(layer: MatMul, assigner: PlanarAssigner) -> None:
    """Lower the product of two computed matrices: loops over (..., rows, columns), and a sum."""
    shapes = assigner.graph.shapes
    sources = tuple(assigner.read(value) for value in layer.inputs)
    a, b, y = (axis_steps(shapes[value]) for value in (*layer.inputs, layer.output))
    steps = (*a[:-1], ir.ORIGIN), (*b[:-2], ir.ORIGIN, b[-1]), y
    assigner.emit(
        ir.MatMul(
            name=layer.name,
            sources=sources,
            target=assigner.buffer_of(layer.output),
            walk=walks.walk(shapes[layer.output], *steps),
            over=ir.Loop(count=shapes[layer.inputs[0]][-1], steps=(a[-1], b[-2], ir.ORIGIN)),
            epilogue=None,
        )
    )


# -- moves ------------------------------------------------------------------------------------


def concat(layer: Concat, assigner: PlanarAssigner) -> None:
    """Lower a concatenation: of channels in place if it can be, of other axes by moves."""
    if joins_planes(layer, assigner.graph):
        data_movement.move(layer, assigner)
        return
    shapes, target = assigner.graph.shapes, assigner.buffer_of(layer.output)
    steps, begin = axis_steps(shapes[layer.output]), 0
    for value in layer.inputs:
        shape, source = shapes[value], assigner.read(value)
        starts = (ir.ORIGIN, walks.times(steps[layer.axis], begin))
        _copy(layer, assigner, source, target, (shape, axis_steps(shape), steps), starts)
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
    steps = list(axis_steps(shape))
    begin = walks.times(steps[layer.axis], layer.start)
    steps[layer.axis] = walks.times(steps[layer.axis], layer.step)
    target, loops = assigner.buffer_of(layer.output), (out, steps, axis_steps(out))
    _copy(layer, assigner, source, target, loops, (begin, ir.ORIGIN))


def permute(layer: Permute, assigner: PlanarAssigner) -> None:
    """Lower a permutation of axes."""
    value, shapes = layer.inputs[0], assigner.graph.shapes
    source, target = assigner.read(value), assigner.buffer_of(layer.output)
    steps, out = axis_steps(shapes[value]), shapes[layer.output]
    _copy(layer, assigner, source, target, (out, _picked(steps, layer.order), axis_steps(out)))


def reshape(layer: Reshape, assigner: PlanarAssigner) -> None:
    """Lower another shape: a view where both are dense, else one move or two."""
    value, shapes = layer.inputs[0], assigner.graph.shapes
    source, shape, out = assigner.read(value), shapes[value], shapes[layer.output]
    finer = walks.common_shape(shape, out)
    if is_dense(source, shape) and assigner.layout.is_flat(layer.output):
        relaid = _relaid(source, out, assigner)
        if relaid is not None:
            assigner.views[layer.output] = relaid
            assigner.aliased.add(source.buffer)
            return
    if finer is None and not is_dense(source, shape):
        flat = assigner.layout.new_buffer(flat_layout(prod(shape), assigner.cpu.lanes))
        _copy(layer, assigner, source, flat, (shape, axis_steps(shape), in_order(shape)))
        source = flat
    target = assigner.buffer_of(layer.output)
    loops = (out, in_order(out), axis_steps(out))
    if finer is not None:
        given = walks.split(axis_steps(shape), shape, finer)
        loops = (finer, given, walks.split(axis_steps(out), out, finer))
    _copy(layer, assigner, source, target, loops)


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
    shapes = assigner.graph.shapes
    source, target = assigner.read(layer.inputs[0]), assigner.buffer_of(layer.output)
    counts, in_deep, in_wide = walks.blocks(shapes[deep], shapes[wide], layer.block)
    given, made = (in_deep, in_wide) if deep == layer.inputs[0] else (in_wide, in_deep)
    _copy(layer, assigner, source, target, (counts, given, made))


def _copy(
    layer: Layer,
    assigner: PlanarAssigner,
    source: PlanarView,
    target: PlanarView,
    loops: tuple[Shape, Sequence[Step], Sequence[Step]],
    starts: tuple[Step, Step] | None = None,
) -> None:
    """Emit a copy: ``loops`` are their counts, and their steps in the source and the target."""
    walk = walks.walk(*loops, starts=starts)
    assigner.emit(
        ir.Move(name=layer.name, sources=(source,), target=target, walk=walk, epilogue=None)
    )


# -- padding and resizing ---------------------------------------------------------------------


def pad(layer: Pad, assigner: PlanarAssigner) -> None:
    """Lower a border of pixels."""
    shape = assigner.graph.shapes[layer.inputs[0]]
    top, left, bottom, right = layer.padding
    axes = [
        ir.AxisSamples(first=walks.padded(size, before, after, layer.mode))
        for size, before, after in ((shape[1], top, bottom), (shape[2], left, right))
    ]
    _sample(layer, axes, assigner, outside=layer.value)


def resize(layer: Resize, assigner: PlanarAssigner) -> None:
    """Lower a change of size."""
    shape = assigner.graph.shapes[layer.inputs[0]]
    axes = []
    for old, new in zip(shape[1:], layer.size, strict=True):
        first, second, weight = taps(old, new, layer)
        blend = ir.Blend(second=second, weight=weight) if weight.any() else None
        axes.append(ir.AxisSamples(first=first, blend=blend))
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
    shape = assigner.graph.shapes[layer.output]
    known = axis_steps(shape)
    kept = tuple(axis for axis in range(len(shape)) if axis != layer.axis)
    steps, step = _picked(known, kept), known[layer.axis]
    assigner.emit(
        ir.Softmax(
            name=layer.name,
            sources=(assigner.read(layer.inputs[0]),),
            target=assigner.buffer_of(layer.output),
            walk=walks.walk(_picked(shape, kept), steps, steps),
            over=ir.Loop(count=shape[layer.axis], steps=(step, step)),
            logarithm=layer.logarithm,
            epilogue=None,
        )
    )


def reduce(layer: Reduce, assigner: PlanarAssigner) -> None:
    """Lower a reduction over some axes."""
    shapes = assigner.graph.shapes
    shape, made = shapes[layer.inputs[0]], axis_steps(shapes[layer.output])
    known = axis_steps(shape)
    kept = tuple(axis for axis in range(len(shape)) if axis not in layer.axes)
    if layer.keep:
        made = _picked(made, kept)
    assigner.emit(
        ir.Reduce(
            name=layer.name,
            sources=(assigner.read(layer.inputs[0]),),
            target=assigner.buffer_of(layer.output),
            kind=layer.kind,
            walk=walks.walk(_picked(shape, kept), _picked(known, kept), made),
            over=tuple(
                ir.Loop(count=shape[axis], steps=(known[axis], ir.ORIGIN)) for axis in layer.axes
            ),
            epilogue=None,
        )
    )


def _picked(found: tuple[_T, ...], axes: tuple[int, ...]) -> tuple[_T, ...]:
    return tuple(found[axis] for axis in axes)
