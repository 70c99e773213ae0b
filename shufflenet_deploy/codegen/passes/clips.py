"""Clips that are activations, which convolutions and sums apply to what they store."""

from __future__ import annotations

from dataclasses import replace
from math import inf

from shufflenet_deploy.network.graph import Activation, Clip, Elementwise, Graph, Layer

_ACTIVATIONS = {(0.0, inf): Activation.RELU, (0.0, 6.0): Activation.RELU6}


def clips_as_activations(graph: Graph) -> Graph:
    """Replace clips to [0, inf] and [0, 6] by the activations that they are."""
    return replace(graph, layers=tuple(map(_converted, graph.layers)))


def _converted(layer: Layer) -> Layer:
    if not isinstance(layer, Clip):
        return layer
    activation = _ACTIVATIONS.get((layer.low, layer.high))
    if activation is None:
        return layer
    return Elementwise(
        name=layer.name, inputs=layer.inputs, output=layer.output, activation=activation
    )
