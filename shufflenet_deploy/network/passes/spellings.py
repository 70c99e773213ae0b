"""One spelling for what networks write in several: sums, channel gates, means as pools."""

from __future__ import annotations

import math
from dataclasses import replace

from shufflenet_deploy.network.graph import (
    Activation,
    AdaptiveAveragePool,
    Add,
    Arithmetic,
    ArithmeticKind,
    Clip,
    Flatten,
    Graph,
    Layer,
    Multiply,
    Reduce,
    ReduceKind,
    Reshape,
)
from shufflenet_deploy.network.passes.rewriting import alive, removing


def respelled(graph: Graph) -> Graph:
    """The graph with one spelling for each of these operations."""
    layers = tuple(_respelled(layer, graph.shapes) for layer in graph.layers)
    graph = _pooled_means(replace(graph, layers=layers))
    return removing(alive(graph), [one for one in graph.layers if _clips_nothing(one)])


def _respelled(layer: Layer, shapes: dict[str, tuple[int, ...]]) -> Layer:
    if isinstance(layer, Reshape) and len(layer.shape) == 1 and len(shapes[layer.inputs[0]]) == 3:
        return Flatten(name=layer.name, inputs=layer.inputs, output=layer.output)
    if isinstance(layer, Arithmetic) and layer.constant is None:
        return _simple(layer, shapes)
    return layer


def _simple(layer: Arithmetic, shapes: dict[str, tuple[int, ...]]) -> Layer:
    """A sum of equals as ``Add``, a product with a channel scale as ``Multiply``."""
    a, b = (shapes[name] for name in layer.inputs)
    fields = {"name": layer.name, "output": layer.output}
    if layer.kind is ArithmeticKind.ADD and a == b:
        return Add(inputs=layer.inputs, activation=layer.activation, **fields)
    if layer.kind is ArithmeticKind.MULTIPLY and layer.activation is Activation.NONE:
        if len(a) == 3 and b == (a[0], 1, 1) != a:
            return Multiply(inputs=layer.inputs, **fields)
        if len(b) == 3 and a == (b[0], 1, 1) != b:
            return Multiply(inputs=(layer.inputs[1], layer.inputs[0]), **fields)
    return layer


def _clips_nothing(layer: Layer) -> bool:
    return isinstance(layer, Clip) and (layer.low, layer.high) == (-math.inf, math.inf)


def _pooled_means(graph: Graph) -> Graph:
    """Means over the height and width of a map are global average pools."""
    layers: list[Layer] = []
    shapes = dict(graph.shapes)
    for layer in graph.layers:
        source = graph.shapes[layer.inputs[0]]
        mean = isinstance(layer, Reduce) and layer.kind is ReduceKind.MEAN
        if not mean or len(source) != 3 or sorted(layer.axes) != [1, 2]:  # type: ignore[attr-defined]
            layers.append(layer)
            continue
        pooled = layer.output if layer.keep else f"{layer.output}:pooled"  # type: ignore[attr-defined]
        layers.append(
            AdaptiveAveragePool(name=layer.name, inputs=layer.inputs, output=pooled, size=(1, 1))
        )
        shapes[pooled] = (source[0], 1, 1)
        if pooled != layer.output:
            name = f"{layer.name}:flatten"
            layers.append(Flatten(name=name, inputs=(pooled,), output=layer.output))
    return replace(graph, layers=tuple(layers), shapes=shapes)
