"""Lowering of a graph to the operations of an NHWC runtime such as LiteRT, before any file format.

Every rewrite is exact. Where there are several forms (of a shuffle, a padded average), the ``Plan``
chooses one, so that measurements can decide.

A tensor carries the name of the graph's value where it holds just that value, in NHWC; tensors
that exist only because of the lowering have a colon in their name, such as ``pool:padded``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.export.tflite.conv_lowering import lower_conv
from shufflenet_deploy.export.tflite.graph_lowering import GraphLowering
from shufflenet_deploy.export.tflite.lowering_plans import Plan, rearranged
from shufflenet_deploy.export.tflite.pool_lowering import lower_adaptive_pool, lower_pool
from shufflenet_deploy.export.tflite.program import TfliteProgram
from shufflenet_deploy.network.graph import (
    Activation,
    AdaptiveAveragePool,
    Add,
    Concat,
    Conv,
    Dense,
    Elementwise,
    Flatten,
    Graph,
    Layer,
    LocalResponseNorm,
    Multiply,
    Pool,
    Shuffle,
)
from shufflenet_deploy.network.passes.shuffle_rewrites import BlockShuffle


def lower(graph: Graph, plan: Plan) -> TfliteProgram:
    """Write a graph as NHWC operations.

    Raises:
        ExportError: a layer has no exact counterpart.
    """
    graph = rearranged(graph, plan)
    lowering = GraphLowering(graph, plan)
    if plan.planar_input:
        lowering.declare(graph.input, (1, *graph.shapes[graph.input]))
    else:
        shape = lowering.nhwc_shape_of(graph.input)
        lowering.in_nhwc[graph.input] = lowering.declare(graph.input, shape)
    for layer in graph.layers:
        _LOWERINGS[type(layer)](lowering, layer)
    output = lowering.nhwc(graph.output)
    if graph.output in lowering.element_order:
        raise AssertionError("only a fully connected layer reads a reordered vector")
    return TfliteProgram(
        name=graph.name,
        input=graph.input,
        output=output,
        operations=tuple(lowering.operations),
        tensors=lowering.tensors,
    )


def _lower_dense(lowering: GraphLowering, layer: Dense) -> None:
    order = lowering.element_order.get(layer.inputs[0])
    weight = layer.weight if order is None else layer.weight.take(order, axis=1)
    inputs = (
        lowering.nhwc(layer.inputs[0]),
        lowering.constant(f"{layer.name}:weight", weight),
        lowering.constant(f"{layer.name}:bias", layer.bias),
    )
    lowering.emit(layer, "FULLY_CONNECTED", inputs, {})


def _lower_add(lowering: GraphLowering, layer: Add) -> None:
    inputs = tuple(lowering.nhwc(name) for name in layer.inputs)
    lowering.emit(layer, "ADD", inputs, {})


def _lower_multiply(lowering: GraphLowering, layer: Multiply) -> None:
    inputs = tuple(lowering.nhwc(name) for name in layer.inputs)
    lowering.emit(layer, "MUL", inputs, {})


def _lower_concat(lowering: GraphLowering, layer: Concat) -> None:
    if layer.output in lowering.hoisted.values():
        layer = replace(layer, activation=Activation.NONE)
    inputs = tuple(lowering.nhwc(name) for name in layer.inputs)
    lowering.emit(layer, "CONCATENATION", inputs, {"axis": 3})


def _lower_shuffle(lowering: GraphLowering, layer: Shuffle) -> None:
    channels, height, width = lowering.graph.shapes[layer.output]
    split = (height * width, layer.groups, channels // layer.groups)
    lowering.reshape(lowering.nhwc(layer.inputs[0]), f"{layer.output}:split", split)
    lowering.transpose(f"{layer.output}:split", f"{layer.output}:mixed", (0, 2, 1))
    lowering.reshape(f"{layer.output}:mixed", layer.output, (1, height, width, channels))
    lowering.in_nhwc[layer.output] = layer.output


def _lower_block_shuffle(lowering: GraphLowering, layer: BlockShuffle) -> None:
    channels, height, width = lowering.graph.shapes[layer.output]
    split = (height * width, layer.groups, layer.groups, layer.block)
    lowering.reshape(lowering.nhwc(layer.inputs[0]), f"{layer.output}:split", split)
    lowering.transpose(f"{layer.output}:split", f"{layer.output}:mixed", (0, 2, 1, 3))
    lowering.reshape(f"{layer.output}:mixed", layer.output, (1, height, width, channels))
    lowering.in_nhwc[layer.output] = layer.output


def _lower_response_norm(lowering: GraphLowering, layer: LocalResponseNorm) -> None:
    if layer.size % 2 == 0:
        raise ExportError(f"'{layer.name}' normalises over an even number of channels")
    options = {
        "radius": layer.size // 2,
        "bias": layer.k,
        "alpha": layer.alpha / layer.size,
        "beta": layer.beta,
    }
    inputs = (lowering.nhwc(layer.inputs[0]),)
    lowering.emit(layer, "LOCAL_RESPONSE_NORMALIZATION", inputs, options)


def _lower_elementwise(lowering: GraphLowering, layer: Elementwise) -> None:
    lowering.activate(
        layer.activation,
        lowering.nhwc(layer.inputs[0]),
        layer.output,
        lowering.nhwc_shape_of(layer.output),
    )
    lowering.in_nhwc[layer.output] = layer.output


def _lower_flatten(lowering: GraphLowering, layer: Flatten) -> None:
    source = layer.inputs[0]
    channels, height, width = lowering.graph.shapes[source]
    size = channels * height * width
    if source in lowering.planar or height * width == 1:
        tensor = lowering.planar.get(source) or lowering.nhwc(source)
        lowering.reshape(tensor, layer.output, (1, size))
        lowering.in_nhwc[layer.output] = layer.output
    elif all(isinstance(reader, Dense) for reader in lowering.readers(layer.output)):
        # Leave the pixels as they lie; the layers that read them reorder their weights.
        lowering.reshape(lowering.nhwc(source), f"{layer.output}:nhwc", (1, size))
        lowering.in_nhwc[layer.output] = f"{layer.output}:nhwc"
        order = np.arange(size).reshape(channels, height, width).transpose(1, 2, 0)
        lowering.element_order[layer.output] = order.ravel()
    else:
        lowering.transpose(lowering.nhwc(source), f"{layer.output}:nchw", (0, 3, 1, 2))
        lowering.reshape(f"{layer.output}:nchw", layer.output, (1, size))
        lowering.in_nhwc[layer.output] = layer.output


_LOWERINGS: dict[type[Layer], Callable[[GraphLowering, Any], None]] = {
    Conv: lower_conv,
    Dense: _lower_dense,
    Pool: lower_pool,
    AdaptiveAveragePool: lower_adaptive_pool,
    Add: _lower_add,
    Multiply: _lower_multiply,
    Concat: _lower_concat,
    Shuffle: _lower_shuffle,
    BlockShuffle: _lower_block_shuffle,
    LocalResponseNorm: _lower_response_norm,
    Elementwise: _lower_elementwise,
    Flatten: _lower_flatten,
}
