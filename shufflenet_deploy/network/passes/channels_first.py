"""Networks that compute with channels last: permutations move behind what they do not matter to.

A ConvNeXt block permutes its map, normalises, multiplies matrices and permutes back. Here every
permutation or reshape moves behind the layers that read it, where those compute the same on what
it moves; at the end it meets its inverse, and ``rearranged`` makes one of the two. The graph stays
as it was unless it then permutes less.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from shufflenet_deploy.network.graph import (
    Add,
    Arithmetic,
    Clip,
    Conv,
    Elementwise,
    Elu,
    FloatArray,
    Graph,
    Layer,
    LeakyRelu,
    Normalize,
    Permute,
    Power,
    Reduce,
    Reshape,
    Softmax,
)
from shufflenet_deploy.network.passes.rearrangements import rearranged
from shufflenet_deploy.network.passes.rewriting import alive, renamed

Shape = tuple[int, ...]
_Mover = Permute | Reshape

_SUFFIX = ":moved"
#: In one round a permutation goes as far as the next one, with which it becomes one.
_MOST_ROUNDS = 40


def channels_first(graph: Graph) -> Graph:
    """The graph with fewer permutations, if they can move."""
    if not any(isinstance(layer, Permute) for layer in graph.layers):
        return graph
    moved = graph
    for _ in range(_MOST_ROUNDS):
        moving = _Moving(moved)
        found = moving.graph()
        if not moving.exchanges:
            break
        moved = rearranged(alive(found))
    if _permuted_elements(moved) >= _permuted_elements(graph):
        return graph
    return renamed(moved, {name: _plain(name) for name in moved.shapes})


def _plain(name: str) -> str:
    """A name without what the rounds have added to it."""
    while name.endswith(_SUFFIX):
        name = name.removesuffix(_SUFFIX)
    return name


def _permuted_elements(graph: Graph) -> int:
    return sum(
        math.prod(graph.shapes[layer.output])
        for layer in graph.layers
        if isinstance(layer, Permute)
    )


class _Moving:
    """Layer after layer, those that may change places with what moves their inputs."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._shapes = dict(graph.shapes)
        self._movers: dict[str, _Mover] = {}
        self._fresh: set[str] = set()
        self._layers: list[Layer] = []
        self.exchanges = 0

    def graph(self) -> Graph:
        """The whole graph, with permutations as late as possible."""
        for layer in self._graph.layers:
            made = self._exchanged(layer)
            self._layers += made
            last = made[-1]
            if len(made) > 1:
                self.exchanges += 1
                self._fresh.add(layer.output)
            elif layer.inputs[0] in self._fresh:
                continue  # What has just moved here and this are one afterwards.
            if isinstance(last, (Permute, Reshape)):
                self._movers[layer.output] = last
        return replace(self._graph, layers=tuple(self._layers), shapes=self._shapes)

    def _exchanged(self, layer: Layer) -> tuple[Layer, ...]:
        """The layer, or the layer on what was not moved yet and the mover behind it."""
        rule = _RULES.get(type(layer))
        movers = [self._movers.get(name) for name in layer.inputs]
        mover = movers[0]
        if rule is None or mover is None:
            return (layer,)
        before = tuple(one.inputs[0] for one in movers if one is not None)
        sources = [self._shapes[name] for name in before]
        alike = all(_motion(one) == _motion(mover) for one in movers)
        if not alike or (isinstance(mover, Reshape) and len({*sources}) > 1):
            return (layer,)
        fields = rule(layer, mover, sources[0], self._shapes[layer.inputs[0]])
        if fields is None:
            return (layer,)
        value = f"{layer.output}{_SUFFIX}"
        broadcast = tuple(map(int, np.broadcast_shapes(*sources)))
        self._shapes[value] = fields.pop("made", broadcast)
        inner = replace(layer, inputs=before, output=value, **fields)
        name = f"{layer.name}{_SUFFIX}"
        outer = replace(mover, name=name, inputs=(value,), output=layer.output)
        if isinstance(outer, Reshape):
            outer = replace(outer, shape=self._shapes[layer.output])
        return (inner, outer)


def _motion(mover: _Mover | None) -> tuple[int, ...]:
    return mover.order if isinstance(mover, Permute) else mover.shape if mover else ()


#: What changes in a layer, from itself, the mover, and the shapes before and after the mover.
_Fields = dict[str, Any] | None


def _of_elements(_: Layer, __: _Mover, ___: Shape, ____: Shape) -> _Fields:
    return {}


def _leaky_relu(layer: LeakyRelu, _: _Mover, __: Shape, ___: Shape) -> _Fields:
    return {} if layer.slope.size == 1 else None


def _arithmetic(layer: Arithmetic, mover: _Mover, _: Shape, after: Shape) -> _Fields:
    """A constant is permuted as the value is; two values have as many axes."""
    if layer.constant is None or layer.constant.size == 1:
        return {}
    if not isinstance(mover, Permute) or layer.constant.ndim > len(after):
        return None
    whole = layer.constant.reshape((1,) * (len(after) - layer.constant.ndim) + layer.constant.shape)
    if any(one not in {1, size} for one, size in zip(whole.shape, after, strict=True)):
        return None
    return {"constant": _unpermuted(whole, mover)}


def _normalize(layer: Normalize, mover: _Mover, _: Shape, __: Shape) -> _Fields:
    if not isinstance(mover, Permute) or layer.groups != 1:
        return None
    return {
        "axes": tuple(sorted(mover.order[axis] for axis in layer.axes)),
        "scale": _unpermuted(layer.scale, mover),
        "shift": _unpermuted(layer.shift, mover),
    }


def _softmax(layer: Softmax, mover: _Mover, _: Shape, __: Shape) -> _Fields:
    return {"axis": mover.order[layer.axis]} if isinstance(mover, Permute) else None


def _reduce(layer: Reduce, mover: _Mover, before: Shape, _: Shape) -> _Fields:
    if not isinstance(mover, Permute) or not layer.keep:
        return None
    axes = tuple(sorted(mover.order[axis] for axis in layer.axes))
    made = tuple(1 if axis in axes else size for axis, size in enumerate(before))
    return {"axes": axes, "made": made}


def _conv(layer: Conv, mover: _Mover, before: Shape, after: Shape) -> _Fields:
    """A pointwise convolution does not care where in its map a pixel lies."""
    pointwise = layer.weight.shape[2:] == (1, 1) and layer.stride == (1, 1)
    if not isinstance(mover, Reshape) or not pointwise or any(layer.padding):
        return None
    if len(before) != 3 or before[0] != after[0]:
        return None
    return {"made": (layer.weight.shape[0], *before[1:])}


def _unpermuted(array: FloatArray, mover: Permute) -> FloatArray:
    """An array whose axis ``order[i]`` is axis ``i`` of this one."""
    inverse = [mover.order.index(axis) for axis in range(array.ndim)]
    return np.ascontiguousarray(array.transpose(inverse))


_RULES: dict[type[Layer], Callable[..., _Fields]] = {
    Elementwise: _of_elements,
    Elu: _of_elements,
    Clip: _of_elements,
    Power: _of_elements,
    Add: _of_elements,
    LeakyRelu: _leaky_relu,
    Arithmetic: _arithmetic,
    Normalize: _normalize,
    Softmax: _softmax,
    Reduce: _reduce,
    Conv: _conv,
}
