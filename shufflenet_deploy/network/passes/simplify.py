"""Inference-time simplification: fold normalisation, merge activations, few spellings, no waste.

Frontends may write an operation in any way the graph can; after ``simplify`` lowerings see one way.
Each rewrite looks at a producer and its only reader; the order of the layers stays as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from shufflenet_deploy.network.graph import (
    Activation,
    Add,
    Concat,
    Conv,
    Dense,
    Elementwise,
    Graph,
    Layer,
    Pool,
)
from shufflenet_deploy.network.passes.affine import (
    ChannelAffine,
    constants_as_affine,
    standing_alone,
    with_affine,
)
from shufflenet_deploy.network.passes.borders import padded_windows
from shufflenet_deploy.network.passes.channels_first import channels_first
from shufflenet_deploy.network.passes.gates import gates_as_maps
from shufflenet_deploy.network.passes.norms import normalized
from shufflenet_deploy.network.passes.rearrangements import pieces, rearranged
from shufflenet_deploy.network.passes.recognise import recognise
from shufflenet_deploy.network.passes.rewriting import alive, reading
from shufflenet_deploy.network.passes.spellings import respelled

_FUSED = (Activation.RELU, Activation.RELU6)


def simplify(graph: Graph) -> Graph:
    """Fold normalisation into convolutions, merge activations, drop what nobody reads."""
    graph = channels_first(recognise(rearranged(pieces(graph))))
    graph = normalized(respelled(graph))
    graph = constants_as_affine(padded_windows(graph))
    graph = _folded(graph, with_affine)
    graph = _affine_alone(graph)
    graph = gates_as_maps(graph)
    graph = _folded(graph, _with_activation)
    return alive(graph)


def _folded(graph: Graph, merge: Callable[[Layer, Layer], Layer | None]) -> Graph:
    """Merge each layer into the producer of its only input, where ``merge`` knows how.

    The merged layer keeps the producer's name: it is where the weights are.
    """
    readers = Counter(name for layer in graph.layers for name in layer.inputs)
    readers.update(graph.outputs)
    kept: dict[str, Layer] = {}
    renamed: dict[str, str] = {}
    for original in graph.layers:
        layer = reading(original, renamed)
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


def _with_activation(producer: Layer, layer: Layer) -> Layer | None:
    if not isinstance(layer, Elementwise) or layer.activation not in _FUSED:
        return None
    if isinstance(producer, (Conv, Dense, Pool, Add, Concat)) and (
        producer.activation is Activation.NONE
    ):
        return replace(producer, activation=layer.activation)
    return None


def _affine_alone(graph: Graph) -> Graph:
    """Scales and shifts that no layer took up as layers of their own."""
    shapes = dict(graph.shapes)
    layers: list[Layer] = []
    for layer in graph.layers:
        if isinstance(layer, ChannelAffine):
            made = standing_alone(layer, shapes)
            shapes |= {one.output: shapes[layer.output] for one in made}
            layers += made
        else:
            layers.append(layer)
    return replace(graph, layers=tuple(layers), shapes=shapes)
