"""Channel gates that are written with vectors (squeeze and excitation) become gates of maps."""

from __future__ import annotations

from dataclasses import replace

from shufflenet_deploy.network.graph import (
    Clip,
    Conv,
    Dense,
    Elementwise,
    Flatten,
    Graph,
    Layer,
    Reshape,
)
from shufflenet_deploy.network.passes.rewriting import connected, reading


def gates_as_maps(graph: Graph) -> Graph:
    """Dense layers between a pooled map and a vector viewed as a map become 1x1 convolutions."""
    producers = {layer.output: layer for layer in graph.layers}
    users = graph.users()
    maps: dict[str, Layer] = {}
    aliases: dict[str, str] = {}
    for gate in graph.layers:
        if not isinstance(gate, Reshape) or len(gate.shape) != 3 or gate.shape[1:] != (1, 1):
            continue
        chain, start = _vectors_before(gate, producers)
        inside = {*(layer.output for layer in chain), *(layer.name for layer in chain)}
        readers = [one for layer in chain for one in users[layer.output] if one is not gate]
        if start is None or inside & {*graph.outputs}:
            continue
        if graph.shapes[start.inputs[0]][1:] != (1, 1):
            continue
        if any(one.output not in inside and not _views(one, graph) for one in readers):
            continue
        for layer in chain:
            maps[layer.output] = _as_map(layer)
            for reader in users[layer.output]:
                if _views(reader, graph):
                    aliases[reader.output] = layer.output
        aliases[start.output] = start.inputs[0]
    if not maps:
        return graph
    layers = tuple(
        reading(maps[layer.output], aliases) if layer.output in maps else layer
        for layer in graph.layers
    )
    shapes = {
        name: (*shape, 1, 1) if name in maps else shape for name, shape in graph.shapes.items()
    }
    views = {name: source for name, source in aliases.items() if source in maps}
    return connected(replace(graph, layers=layers, shapes=shapes), views)


def _vectors_before(
    gate: Layer, producers: dict[str, Layer]
) -> tuple[list[Layer], Flatten | Reshape | None]:
    """Layers from a pooled map to a gate, and the view of that map as a vector, if it is one."""
    chain: list[Layer] = []
    step = producers.get(gate.inputs[0])
    while isinstance(step, (Dense, Elementwise, Clip)):
        chain.append(step)
        step = producers.get(step.inputs[0])
    return chain, step if chain and isinstance(step, (Flatten, Reshape)) else None


def _views(layer: Layer, graph: Graph) -> bool:
    """True if a layer views a vector as a map of one pixel."""
    shape = graph.shapes[layer.output]
    return isinstance(layer, Reshape) and shape == (*graph.shapes[layer.inputs[0]], 1, 1)


def _as_map(layer: Layer) -> Layer:
    if not isinstance(layer, Dense):
        return layer
    return Conv(
        name=layer.name,
        inputs=layer.inputs,
        output=layer.output,
        weight=layer.weight[:, :, None, None],
        bias=layer.bias,
        activation=layer.activation,
    )
