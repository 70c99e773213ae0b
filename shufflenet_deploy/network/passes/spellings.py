"""One spelling for what networks write in several: activations of arithmetic, means as pools."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from shufflenet_deploy.network.graph import (
    Activation,
    AdaptiveAveragePool,
    Add,
    Arithmetic,
    ArithmeticKind,
    Clip,
    Elementwise,
    Flatten,
    FloatArray,
    Graph,
    Layer,
    Multiply,
    Reduce,
    ReduceKind,
    Reshape,
)
from shufflenet_deploy.network.passes.rewriting import alive, removing

_Producers = dict[str, Layer]

#: Relative error of constants such as 1/6 that were rounded to fp32 or written in decimals.
_TOLERANCE = 1e-4


def respelled(graph: Graph) -> Graph:
    """The graph with one spelling for each of these operations."""
    known: _Producers = {}
    layers: list[Layer] = []
    for original in graph.layers:
        layer = _respelled(original, known, graph.shapes)
        known[layer.output] = layer
        layers.append(layer)
    graph = _pooled_means(replace(graph, layers=tuple(layers)))
    return removing(alive(graph), [one for one in graph.layers if _clips_nothing(one)])


def _respelled(layer: Layer, known: _Producers, shapes: dict[str, tuple[int, ...]]) -> Layer:
    if isinstance(layer, Clip):
        return _of_one_shape(_clip_spelt(layer, known), layer, shapes)
    if isinstance(layer, Reshape) and len(layer.shape) == 1 and len(shapes[layer.inputs[0]]) == 3:
        return Flatten(name=layer.name, inputs=layer.inputs, output=layer.output)
    if isinstance(layer, (Arithmetic, Multiply)):
        simple = _simple(layer, shapes)
        return _of_one_shape(_product_spelt(simple, known), simple, shapes)
    return layer


def _of_one_shape(made: Layer, layer: Layer, shapes: dict[str, tuple[int, ...]]) -> Layer:
    """An activation instead of a layer, unless a constant has broadcast its operand."""
    return made if shapes[made.inputs[0]] == shapes[made.output] else layer


def _simple(layer: Arithmetic | Multiply, shapes: dict[str, tuple[int, ...]]) -> Layer:
    """A sum of equals as ``Add``, a product with a channel scale as ``Multiply``."""
    if isinstance(layer, Multiply) or layer.constant is not None:
        return layer
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


def _clip_spelt(layer: Clip, known: _Producers) -> Layer:
    ends = (layer.low, layer.high)
    if ends in _RELUS:
        return _activation(layer, layer.inputs[0], _RELUS[ends])
    if ends == (0.0, 1.0):
        # clip(x / 6 + 1 / 2, 0, 1)
        shifted = _with_constant(layer.inputs[0], known, ArithmeticKind.ADD, 0.5)
        x = shifted and _sixth_of(shifted, known)
        if x:
            return _activation(layer, x, Activation.HARD_SIGMOID)
    return layer


def _product_spelt(layer: Layer, known: _Producers) -> Layer:
    """Activations that are products; any other layer is returned as it is."""
    sixth = _operand_of_sixth(layer)
    if sixth:
        x = _shifted_relu6(sixth, known)
        if x:
            return _activation(layer, x, Activation.HARD_SIGMOID)
        inner = known.get(sixth)
        for x, gate in _orders(inner):
            if _shifted_relu6(gate, known) == x:
                return _activation(layer, x, Activation.HARD_SWISH)
    for x, gate in _orders(layer):
        made = known.get(gate)
        if isinstance(made, Elementwise) and made.inputs[0] == x and made.activation in _GATED:
            return _activation(layer, x, _GATED[made.activation])
        if _sixth_gate(gate, known) == x:
            return _activation(layer, x, Activation.HARD_SWISH)
    return layer


def _sixth_gate(gate: str, known: _Producers) -> str:
    """``x`` where a value is relu6(x + 3) / 6 that has not become a hard sigmoid."""
    made = known.get(gate)
    sixth = _operand_of_sixth(made) if made is not None else ""
    return _shifted_relu6(sixth, known) if sixth else ""


def _orders(layer: Layer | None) -> list[tuple[str, str]]:
    if isinstance(layer, Multiply) or (
        isinstance(layer, Arithmetic)
        and layer.kind is ArithmeticKind.MULTIPLY
        and layer.constant is None
        and layer.activation is Activation.NONE
    ):
        a, b = layer.inputs
        return [(a, b), (b, a)]
    return []


def _shifted_relu6(value: str, known: _Producers) -> str:
    """``x`` where a value is relu6(x + 3); "" otherwise."""
    layer = known.get(value)
    if isinstance(layer, Elementwise) and layer.activation is Activation.RELU6:
        return _with_constant(layer.inputs[0], known, ArithmeticKind.ADD, 3.0)
    return ""


def _sixth_of(value: str, known: _Producers) -> str:
    layer = known.get(value)
    return _operand_of_sixth(layer) if layer is not None else ""


def _operand_of_sixth(layer: Layer) -> str:
    """``x`` where a layer is x / 6; "" otherwise."""
    if not isinstance(layer, Arithmetic) or layer.activation is not Activation.NONE:
        return ""
    if layer.kind is ArithmeticKind.MULTIPLY and _is(layer.constant, 1 / 6):
        return layer.inputs[0]
    if layer.kind is ArithmeticKind.DIVIDE and not layer.reverse and _is(layer.constant, 6.0):
        return layer.inputs[0]
    return ""


def _with_constant(value: str, known: _Producers, kind: ArithmeticKind, constant: float) -> str:
    """The operand where a value is computed of it and a constant; "" otherwise."""
    layer = known.get(value)
    if not isinstance(layer, Arithmetic) or layer.activation is not Activation.NONE:
        return ""
    return layer.inputs[0] if layer.kind is kind and _is(layer.constant, constant) else ""


def _is(constant: FloatArray | None, wanted: float) -> bool:
    return constant is not None and bool(np.allclose(constant, wanted, rtol=_TOLERANCE, atol=0))


def _activation(layer: Layer, x: str, activation: Activation) -> Elementwise:
    return Elementwise(name=layer.name, inputs=(x,), output=layer.output, activation=activation)


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


_RELUS = {(0.0, math.inf): Activation.RELU, (0.0, 6.0): Activation.RELU6}

#: What a value times this function of itself is.
_GATED = {
    Activation.SIGMOID: Activation.SILU,
    Activation.HARD_SIGMOID: Activation.HARD_SWISH,
}
