"""Activation sinking: an activation before a max pool is applied after it, to fewer pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from shufflenet_deploy.codegen.ir.activations import CLAMPS
from shufflenet_deploy.codegen.passes.activations import compose_activations
from shufflenet_deploy.network.graph import (
    Activation,
    Conv,
    Elementwise,
    Elu,
    Graph,
    Layer,
    LeakyRelu,
    Pool,
    PoolKind,
)

#: Activations that never fall and are lookups in int8, not bounds of what is stored.
_RISING = frozenset({Activation.SIGMOID, Activation.HARD_SIGMOID, Activation.TANH})


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


def sink_lookup_below_maxpool(graph: Graph) -> Graph:
    """Move activations that int8 programs look up below the max pools that alone read them.

    A maximum of a function that never falls is the function of the maximum: fewer pixels are looked
    up. The pooled value before its activation is named as a part of the one before the pool.
    """
    users, shapes = graph.only_users(), dict(graph.shapes)
    moved: dict[str, Layer] = {}
    for layer in graph.layers:
        pool = users.get(layer.output)
        if _never_falls(layer) and isinstance(pool, Pool) and _is_plain_maximum(pool):
            moved[layer.name], moved[pool.name] = pool, layer
    layers: list[Layer] = []
    for layer in graph.layers:
        layers += _swapped(layer, moved, shapes)
    return replace(graph, layers=tuple(layers), shapes=shapes)


def _swapped(
    layer: Layer, moved: dict[str, Layer], shapes: dict[str, tuple[int, ...]]
) -> Iterator[Layer]:
    """The layer; nothing for an activation that has moved, and both for its pool."""
    other = moved.get(layer.name)
    if other is None:
        yield layer
    elif isinstance(layer, Pool):
        (source,) = other.inputs
        pooled = f"{source}:{layer.name}"
        shapes[pooled] = shapes[layer.output]
        del shapes[other.output]
        yield replace(layer, inputs=(source,), output=pooled)
        yield replace(other, inputs=(pooled,), output=layer.output)


def _never_falls(layer: Layer) -> bool:
    if isinstance(layer, LeakyRelu):
        return bool((layer.slope >= 0).all())
    if isinstance(layer, Elu):
        return layer.alpha >= 0
    return isinstance(layer, Elementwise) and layer.activation in _RISING


def _is_plain_maximum(pool: Pool) -> bool:
    """True for a max pool that makes a map smaller and has no activation of its own."""
    return (
        pool.kind is PoolKind.MAX
        and pool.activation is Activation.NONE
        and pool.stride[0] * pool.stride[1] > 1
    )
