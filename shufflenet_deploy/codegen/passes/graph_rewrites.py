"""Rewrites of a graph before it is lowered: what one layer does is moved to where it costs less."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from shufflenet_deploy.codegen.ir.window_geometry import is_pointwise
from shufflenet_deploy.network.graph import Activation, Conv, Graph, Layer, Pool, PoolKind


def compose_activations(first: Activation, second: Activation) -> Activation | None:
    """One activation that does both, or None."""
    if Activation.NONE in {first, second}:
        return second if first is Activation.NONE else first
    if Activation.SIGMOID in {first, second}:
        return None
    return Activation.RELU if first is second is Activation.RELU else Activation.RELU6


def fold_depthwise_bias(graph: Graph) -> Graph:
    """The same graph; the bias of a depthwise convolution without activation is in the next one's.

    Only where that is pointwise: a padded one would see the bias beyond the border, too.
    """
    users = graph.only_users()
    replaced: dict[str, Layer] = {}
    for layer in graph.layers:
        following = users.get(layer.output)
        if not (
            isinstance(layer, Conv)
            and layer.depthwise
            and layer.activation is Activation.NONE
            and isinstance(following, Conv)
            and is_pointwise(following)
        ):
            continue
        out, per_group = following.weight.shape[:2]
        biases = layer.bias.astype(np.float64).reshape(following.groups, per_group)
        of_output = biases[np.arange(out) // (out // following.groups)]
        moved = (following.weight[:, :, 0, 0] * of_output).sum(axis=1)
        bias = (following.bias + moved).astype(np.float32)
        replaced[layer.name] = replace(layer, bias=np.zeros_like(layer.bias))
        replaced[following.name] = replace(following, bias=bias)
    layers = tuple(replaced.get(layer.name, layer) for layer in graph.layers)
    return replace(graph, layers=layers)


def sink_activation_below_maxpool(graph: Graph) -> Graph:
    """The same graph; what follows only in a maximum is applied to the maximum, of fewer pixels."""
    users = graph.only_users()
    replaced: dict[str, Layer] = {}
    for layer in graph.layers:
        pool = users.get(layer.output)
        if not isinstance(layer, Conv) or not isinstance(pool, Pool):
            continue
        if pool.kind is not PoolKind.MAX:
            continue
        both = compose_activations(layer.activation, pool.activation)
        if both is not None and layer.activation is not Activation.SIGMOID:
            replaced[layer.name] = replace(layer, activation=Activation.NONE)
            replaced[pool.name] = replace(pool, activation=both)
    layers = tuple(replaced.get(layer.name, layer) for layer in graph.layers)
    return replace(graph, layers=layers)
