"""Lowering of softmax and of reductions over any axes."""

from __future__ import annotations

import math

import numpy as np

from shufflenet_deploy.export.tflite.graph_lowering import GraphLowering
from shufflenet_deploy.network.graph import MatMul, Reduce, ReduceKind, Softmax

_CODES = {ReduceKind.MEAN: "MEAN", ReduceKind.SUM: "SUM", ReduceKind.MAX: "REDUCE_MAX"}

#: The kernel of a softmax knows no more axes, batch included.
_MOST_SOFTMAX_AXES = 4


def lower_softmax(lowering: GraphLowering, layer: Softmax) -> None:
    """Write a softmax; its axis is the last one of the tensor, as TFLite demands."""
    source = layer.inputs[0]
    rank = len(lowering.graph.shapes[source])
    others = tuple(axis for axis in range(rank) if axis != layer.axis)
    fitting = [order for order in lowering.orders(source) if order[-1] == layer.axis]
    order = fitting[0] if fitting else (*others, layer.axis)
    code, options = ("LOG_SOFTMAX", {}) if layer.logarithm else ("SOFTMAX", {"beta": 1.0})
    tensor = lowering.in_order(source, order)
    shape = lowering.shape_in(source, order)
    if len(shape) <= _MOST_SOFTMAX_AXES:
        lowering.emit(layer, code, (tensor,), options, order)
        return
    flat = (math.prod(shape[:-1]), shape[-1])
    rows, done = f"{layer.output}:rows", f"{layer.output}:softmax"
    lowering.reshape(tensor, rows, flat, rearranges=lowering.calibrated(source))
    known = lowering.calibrated(layer.output)
    lowering.write(code, (rows,), done, flat, options, rearranges=known)
    target = lowering.name_in(layer.output, order)
    lowering.reshape(done, target, shape, rearranges=known)
    lowering.place(layer.output, target, order)


def lower_matmul(lowering: GraphLowering, layer: MatMul) -> None:
    """Write the product of two computed matrices, which are the last two axes of their tensors."""
    order = tuple(range(len(lowering.graph.shapes[layer.output])))
    inputs = tuple(lowering.in_order(name, order) for name in layer.inputs)
    lowering.emit(layer, "BATCH_MATMUL", inputs, {"adjX": False, "adjY": False}, order)


def lower_reduce(lowering: GraphLowering, layer: Reduce) -> None:
    """Write a reduction, in any order of the axes."""
    source = layer.inputs[0]
    order = lowering.common_order((source,))
    places = sorted(1 + order.index(axis) for axis in layer.axes)
    rest = [axis for axis in order if layer.keep or axis not in layer.axes]
    # Axes that are left are numbered anew.
    numbers = sorted(rest)
    reduced = tuple(numbers.index(axis) for axis in rest)
    axes = lowering.constant(f"axes:{','.join(map(str, places))}", np.array(places, np.int32))
    inputs = (lowering.in_order(source, order), axes)
    lowering.emit(layer, _CODES[layer.kind], inputs, {"keepDims": layer.keep}, reduced)
