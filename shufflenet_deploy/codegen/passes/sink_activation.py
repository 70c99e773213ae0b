"""Activation sinking: an activation before a max pool is applied after it, to fewer pixels."""

from __future__ import annotations

from dataclasses import replace

from shufflenet_deploy.codegen.ir.activations import CLAMPS
from shufflenet_deploy.codegen.passes.activations import compose_activations
from shufflenet_deploy.network.graph import Activation, Conv, Graph, Layer, Pool, PoolKind


def sink_activation_below_maxpool(graph: Graph) -> Graph:
    """Move activations of convolutions below the max pools that alone read them."""
    users = graph.only_users()
    replaced: dict[str, Layer] = {}
    for layer in graph.layers:
        pool = users.get(layer.output)
        if not isinstance(layer, Conv) or not isinstance(pool, Pool):
            continue
        if pool.kind is not PoolKind.MAX:
            continue
        both = compose_activations(layer.activation, pool.activation)
        if both is not None and layer.activation in CLAMPS:
            replaced[layer.name] = replace(layer, activation=Activation.NONE)
            replaced[pool.name] = replace(pool, activation=both)
    layers = tuple(replaced.get(layer.name, layer) for layer in graph.layers)
    return replace(graph, layers=layers)
