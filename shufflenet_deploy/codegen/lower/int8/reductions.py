"""Lowering of reductions over any axes, and of softmax."""

from __future__ import annotations

import math

import numpy as np

from shufflenet_deploy.codegen.ir import element_ops as ir
from shufflenet_deploy.codegen.ir.epilogues import RequantizeMean
from shufflenet_deploy.codegen.ir.int8 import PixelView
from shufflenet_deploy.codegen.lower import walks
from shufflenet_deploy.codegen.lower.int8 import pooling
from shufflenet_deploy.codegen.lower.int8.axes import axis_steps
from shufflenet_deploy.codegen.lower.int8.buffer_assignment import NhwcAssigner, Target
from shufflenet_deploy.codegen.lower.int8.requantize import NoInt8CodeError, quantize_multiplier
from shufflenet_deploy.network.graph import Activation, MatMul, Reduce, ReduceKind, Softmax

_INT32_MAX = 2**31 - 1
_BYTE_MAX = 255
#: Most entries of a table of logarithms: a wider softmax, or finer steps, have more.
_MOST_THRESHOLDS = 1 << 14
_MOST_FACTOR_BITS = 38


def reduce(layer: Reduce, assigner: NhwcAssigner) -> None:
    """Lower a mean, sum or maximum over some axes."""
    source, shape = assigner.read(layer), assigner.graph.shapes[layer.inputs[0]]
    if layer.kind is ReduceKind.MEAN and len(shape) == 3 and set(layer.axes) == {1, 2}:
        pooling.global_average_pool(layer, source, assigner)
        return
    out = axis_steps(assigner.graph.shapes[layer.output])
    known = axis_steps(shape)
    kept = [axis for axis in range(len(shape)) if axis not in layer.axes]
    steps = [out[axis if layer.keep else at] for at, axis in enumerate(kept)]
    walk = walks.walk([shape[axis] for axis in kept], [known[axis] for axis in kept], steps)
    over = tuple(ir.Loop(count=shape[axis], steps=(known[axis], ir.ORIGIN)) for axis in layer.axes)
    count = math.prod(loop.count for loop in over)
    if layer.kind is ReduceKind.MAX:
        view = assigner.layout.allocate_with(layer.output, source.scale, source.zero_point)
        assigner.views[layer.output] = view
        largest: ir.Int8Reduce = ir.Reduce(
            name=layer.name,
            sources=(source,),
            target=view,
            kind=layer.kind,
            walk=walk,
            over=over,
            epilogue=None,
        )
        assigner.emit(largest)
        assigner.emit_epilogue(layer.name, Target(view=view, value=layer.output))
        return
    divisor = count if layer.kind is ReduceKind.MEAN else 1

    def reduction(view: PixelView) -> ir.Int8Reduce:
        ratio = source.scale / (view.scale * divisor)
        multiplier, shift = quantize_multiplier(layer.name, assigner.arithmetic, np.array([ratio]))
        start = round(view.zero_point / ratio) - source.zero_point * count
        if abs(start) + _BYTE_MAX * count > _INT32_MAX:
            raise assigner.unsupported(layer, f"a sum of {count} elements")
        return ir.Reduce(
            name=layer.name,
            sources=(source,),
            target=view,
            kind=layer.kind,
            walk=walk,
            over=over,
            epilogue=RequantizeMean(start=start, multiplier=multiplier, shift=shift),
        )

    op, to = assigner.with_requantize_fallback(assigner.target(layer, Activation.NONE), reduction)
    assigner.emit(op)
    assigner.emit_epilogue(layer.name, to)


def matmul(layer: MatMul, assigner: NhwcAssigner) -> None:
    """Lower the product of two computed matrices."""
    shapes = assigner.graph.shapes
    one, two = assigner.read(layer), assigner.read(layer, 1)
    a, b, y = (axis_steps(shapes[name]) for name in (*layer.inputs, layer.output))
    outer = len(a) - 2
    counts = shapes[layer.output]
    count = shapes[layer.inputs[0]][-1]
    if _BYTE_MAX**2 * count > _INT32_MAX:
        raise assigner.unsupported(layer, f"sums of {count} products")
    walk = walks.walk(counts, (*a[:-1], ir.ORIGIN), (*b[:outer], ir.ORIGIN, b[-1]), y)
    over = ir.Loop(count=count, steps=(a[-1], b[outer], ir.ORIGIN))

    def product(view: PixelView) -> ir.Int8MatMul:
        ratio = one.scale * two.scale / view.scale
        multiplier, shift = quantize_multiplier(layer.name, assigner.arithmetic, np.array([ratio]))
        return ir.MatMul(
            name=layer.name,
            sources=(one, two),
            target=view,
            walk=walk,
            over=over,
            epilogue=ir.RequantizeProduct(multiplier=multiplier, shift=shift),
        )

    op, to = assigner.with_requantize_fallback(assigner.target(layer, Activation.NONE), product)
    assigner.emit(op)
    assigner.emit_epilogue(layer.name, to)


def softmax(layer: Softmax, assigner: NhwcAssigner) -> None:
    """Lower a softmax or its logarithm along an axis."""
    source, shape = assigner.read(layer), assigner.graph.shapes[layer.inputs[0]]
    to = assigner.target(layer, Activation.NONE)
    known = axis_steps(shape)
    others = [axis for axis in range(len(shape)) if axis != layer.axis]
    steps = [known[axis] for axis in others]
    count, step = shape[layer.axis], known[layer.axis]
    scaled = np.exp(-source.scale * np.arange(256.0)) * 2.0**ir.EXPONENTIAL_BITS
    if layer.logarithm:
        exact = source.scale / to.view.scale * 2.0**ir.LOGARITHM_BITS
    else:
        exact = 2.0**ir.SHARE_BITS / to.view.scale
    op = ir.Softmax(
        name=layer.name,
        sources=(source,),
        target=to.view,
        walk=walks.walk([shape[axis] for axis in others], steps, steps),
        over=ir.Loop(count=count, steps=(step, step)),
        logarithm=layer.logarithm,
        epilogue=ir.SoftmaxTables(
            exponentials=np.rint(scaled).astype(np.int32),
            factor=min(1 << _MOST_FACTOR_BITS, round(exact)),
            thresholds=_thresholds(layer, count, to.view) if layer.logarithm else None,
        ),
    )
    assigner.emit(op)
    assigner.emit_epilogue(layer.name, to)


def _thresholds(layer: Softmax, count: int, target: PixelView) -> ir.Int64Array:
    """The least sums of exponentials whose logarithm rounds to 1, 2, ... fractions of a step."""
    fraction = target.scale / 2**ir.SUM_LOGARITHM_BITS
    entries = max(1, math.ceil(math.log(count) / fraction))
    if entries > _MOST_THRESHOLDS:
        raise NoInt8CodeError(layer.name, "a logarithm of softmax in steps so fine")
    logarithms = (np.arange(1, entries + 1) - 0.5) * fraction
    sums: ir.Int64Array = np.ceil(np.exp(logarithms) * 2.0**ir.EXPONENTIAL_BITS).astype(np.int64)
    return sums
