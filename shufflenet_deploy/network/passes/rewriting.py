"""Helpers of graph rewrites: values under other names, layers taken out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from shufflenet_deploy.network.graph import Graph, Layer


def connected(graph: Graph, aliases: Mapping[str, str]) -> Graph:
    """The graph in which who reads a value reads its alias; the layers stay, for ``alive``."""
    if not aliases:
        return graph
    final = {name: _end(name, aliases) for name in aliases}
    layers = tuple(reading(layer, final) for layer in graph.layers)
    outputs = tuple(final.get(name, name) for name in graph.outputs)
    if graph.input in outputs or len(set(outputs)) < len(outputs):
        return graph  # An output needs a value of its own.
    return replace(graph, layers=layers, outputs=outputs)


def removing(graph: Graph, layers: Iterable[Layer]) -> Graph:
    """The graph without layers that pass their first input on."""
    gone = {layer.output: layer.inputs[0] for layer in layers}
    return alive(connected(graph, gone))


def renamed(graph: Graph, names: Mapping[str, str]) -> Graph:
    """The graph with other names of its values, where those are free."""
    free = {old: new for old, new in names.items() if new not in graph.shapes}
    if not free:
        return graph
    layers = tuple(
        replace(reading(layer, free), output=free.get(layer.output, layer.output))
        for layer in graph.layers
    )
    shapes = {free.get(name, name): shape for name, shape in graph.shapes.items()}
    outputs = tuple(free.get(name, name) for name in graph.outputs)
    return replace(graph, layers=layers, shapes=shapes, outputs=outputs)


def reading(layer: Layer, renamed: Mapping[str, str]) -> Layer:
    """The layer with other names of its inputs."""
    return replace(layer, inputs=tuple(renamed.get(name, name) for name in layer.inputs))


def alive(graph: Graph) -> Graph:
    """The graph without what no output needs."""
    needed = {*graph.outputs}
    kept: list[Layer] = []
    for layer in reversed(graph.layers):
        if layer.output in needed:
            kept.append(layer)
            needed.update(layer.inputs)
    shapes = {name: shape for name, shape in graph.shapes.items() if name in {graph.input, *needed}}
    return replace(graph, layers=tuple(reversed(kept)), shapes=shapes)


def _end(name: str, aliases: Mapping[str, str]) -> str:
    while name in aliases:
        name = aliases[name]
    return name
