"""Inference-time simplification: fold batch normalization, merge activations, drop dead layers.

Each rewrite looks at a producer and its only reader; the order of the layers stays as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.network.graph import (
    Activation,
    Add,
    Concat,
    Conv,
    Dense,
    Elementwise,
    Flatten,
    Graph,
    Layer,
    Pool,
)

_FUSED = (Activation.RELU, Activation.RELU6)


@dataclass(frozen=True, kw_only=True)
class ChannelAffine(Layer):
    """Batch normalisation with fixed statistics: ``x * scale + shift`` per channel, float64.

    Lives only between reading a module and ``simplify``.
    """

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Unflatten(Layer):
    """A vector ``(C,)`` viewed as a map ``(C, 1, 1)``; lives only until ``simplify``."""


def simplify(graph: Graph) -> Graph:
    """Fold normalisation into convolutions, merge activations, drop what nobody reads.

    Raises:
        ExportError: a vector is viewed as a map and no rewrite can express it.
    """
    graph = _fold(graph, _with_norm)
    graph = replace(graph, layers=tuple(_as_depthwise(layer) for layer in graph.layers))
    graph = _channel_scales_as_convolutions(graph)
    graph = _fold(graph, _with_activation)
    return _without_dead(graph)


def _fold(graph: Graph, merge: Callable[[Layer, Layer], Layer | None]) -> Graph:
    """Merge each layer into the producer of its only input, where ``merge`` knows how.

    The merged layer keeps the producer's name: it is where the weights are.
    """
    readers = Counter(name for layer in graph.layers for name in layer.inputs)
    readers.update(graph.outputs)
    kept: dict[str, Layer] = {}
    renamed: dict[str, str] = {}
    for original in graph.layers:
        layer = _reading(original, renamed)
        source = layer.inputs[0]
        producer = kept.get(source)
        merged = merge(producer, layer) if producer and readers[source] == 1 else None
        if merged is None:
            kept[layer.output] = layer
            continue
        kept[source] = merged
        renamed[layer.output] = source
        readers[source] = readers[layer.output]
    outputs = tuple(renamed.get(name, name) for name in graph.outputs)
    return replace(graph, layers=tuple(kept.values()), outputs=outputs)


def _with_norm(producer: Layer, layer: Layer) -> Layer | None:
    if not isinstance(layer, ChannelAffine) or not isinstance(producer, Conv):
        return None
    weight = producer.weight.astype(np.float64) * layer.scale[:, None, None, None]
    bias = producer.bias.astype(np.float64) * layer.scale + layer.shift
    return replace(producer, weight=weight.astype(np.float32), bias=bias.astype(np.float32))


def _with_activation(producer: Layer, layer: Layer) -> Layer | None:
    if not isinstance(layer, Elementwise) or layer.activation not in _FUSED:
        return None
    if isinstance(producer, (Conv, Dense, Pool, Add, Concat)) and (
        producer.activation is Activation.NONE
    ):
        return replace(producer, activation=layer.activation)
    return None


def _as_depthwise(layer: Layer) -> Layer:
    """A normalisation that stands alone is a depthwise 1x1 convolution."""
    if not isinstance(layer, ChannelAffine):
        return layer
    return Conv(
        name=layer.name,
        inputs=layer.inputs,
        output=layer.output,
        weight=layer.scale.astype(np.float32)[:, None, None, None],
        bias=layer.shift.astype(np.float32),
        groups=len(layer.scale),
    )


def _channel_scales_as_convolutions(graph: Graph) -> Graph:
    """Dense layers between a pooled map and a channel scale become 1x1 convolutions."""
    producers = {layer.output: layer for layer in graph.layers}
    maps: dict[str, Layer] = {}
    aliases: dict[str, str] = {}
    gates = [layer for layer in graph.layers if isinstance(layer, Unflatten)]
    for gate in gates:
        aliases[gate.output] = gate.inputs[0]
        step: Layer | None = producers.get(gate.inputs[0])
        while isinstance(step, (Dense, Elementwise)):
            maps[step.output] = _as_map(step)
            step = producers.get(step.inputs[0])
        if not isinstance(step, Flatten) or graph.shapes[step.inputs[0]][1:] != (1, 1):
            raise ExportError(f"'{gate.name}' views a vector as a map, which cannot be expressed")
        aliases[step.output] = step.inputs[0]
    layers: list[Layer] = []
    for layer in graph.layers:
        if isinstance(layer, Unflatten):
            continue
        if layer.output in maps:
            layers.append(_reading(maps[layer.output], aliases))
            continue
        if (shared := maps.keys() & {*layer.inputs}) or maps.keys() & {*graph.outputs}:
            raise ExportError(f"the vector '{min(shared or maps)}' is also viewed as a map")
        # A flatten for the gate's sake alone stays after unread.
        layers.append(_reading(layer, {gate.output: gate.inputs[0] for gate in gates}))
    shapes = {
        name: (*shape, 1, 1) if name in maps else shape for name, shape in graph.shapes.items()
    }
    return replace(graph, layers=tuple(layers), shapes=shapes)


def _as_map(layer: Dense | Elementwise) -> Layer:
    if isinstance(layer, Elementwise):
        return layer
    return Conv(
        name=layer.name,
        inputs=layer.inputs,
        output=layer.output,
        weight=layer.weight[:, :, None, None],
        bias=layer.bias,
        activation=layer.activation,
    )


def _reading(layer: Layer, renamed: dict[str, str]) -> Layer:
    return replace(layer, inputs=tuple(renamed.get(name, name) for name in layer.inputs))


def _without_dead(graph: Graph) -> Graph:
    needed = {*graph.outputs}
    alive: list[Layer] = []
    for layer in reversed(graph.layers):
        if layer.output in needed:
            alive.append(layer)
            needed.update(layer.inputs)
    shapes = {name: shape for name, shape in graph.shapes.items() if name in {graph.input, *needed}}
    return replace(graph, layers=tuple(reversed(alive)), shapes=shapes)
