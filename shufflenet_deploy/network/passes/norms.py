"""Layer, group and instance norms that networks write out become one layer; constants join it.

``(x - mean) / sqrt(mean((x - mean) ** 2) + epsilon)`` has a few spellings: the square as a product
or a power, the root as a power of 0.5 or -0.5, the mean over pixels as a pool.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeGuard

import numpy as np

from shufflenet_deploy.network.graph import (
    Activation,
    AdaptiveAveragePool,
    Arithmetic,
    ArithmeticKind,
    FloatArray,
    Graph,
    Layer,
    Multiply,
    Normalize,
    Power,
    Reduce,
    ReduceKind,
)
from shufflenet_deploy.network.passes.rewriting import alive, connected

_ADD, _SUBTRACT = ArithmeticKind.ADD, ArithmeticKind.SUBTRACT
_MULTIPLY, _DIVIDE = ArithmeticKind.MULTIPLY, ArithmeticKind.DIVIDE


def normalized(graph: Graph) -> Graph:
    """The graph with its norms as layers, which take up the constants that follow them."""
    if not any(isinstance(layer, (Normalize, Power)) for layer in graph.layers):
        return graph
    return _with_constants(_recognised(graph))


def _recognised(graph: Graph) -> Graph:
    finder = _Finder(graph)
    layers = tuple(finder.norm(layer) or layer for layer in graph.layers)
    return alive(replace(graph, layers=layers))


class _Finder:
    """Looks at layers together with those that make what they read."""

    def __init__(self, graph: Graph) -> None:
        self._made = {layer.output: layer for layer in graph.layers}
        self._shapes = graph.shapes

    def norm(self, layer: Layer) -> Normalize | None:
        """The norm whose last operation is this layer, if it is one."""
        for centred, deviation in self._quotients(layer):
            difference = self._arithmetic(centred, _SUBTRACT)
            if difference is None or difference.constant is not None:
                continue
            x, mean = difference.inputs
            axes = self._mean_axes(mean, x)
            epsilon = self._epsilon(deviation, centred, axes)
            if epsilon is not None:
                ones = (1,) * len(self._shapes[x])
                return Normalize(
                    name=layer.name,
                    inputs=(x,),
                    output=layer.output,
                    axes=axes,
                    epsilon=epsilon,
                    scale=np.ones(ones, np.float32),
                    shift=np.zeros(ones, np.float32),
                )
        return None

    def _quotients(self, layer: Layer) -> list[tuple[str, Power]]:
        """Pairs of ``a`` and the power of 0.5 or -0.5 where a layer is ``a`` by a root."""
        if _is_product(layer):
            (a, b), wanted = layer.inputs, -0.5
            pairs = [(a, b), (b, a)]
        elif _computes(layer, _DIVIDE) and len(layer.inputs) > 1:
            (a, b), wanted = layer.inputs, 0.5
            pairs = [(a, b)]
        else:
            return []
        found = [(one, self._made.get(other)) for one, other in pairs]
        return [
            (one, root)
            for one, root in found
            if isinstance(root, Power) and root.exponent == wanted
        ]

    def _mean_axes(self, mean: str, of: str) -> tuple[int, ...]:
        """The axes over which a value is the mean of another; none if it is something else."""
        layer = self._made.get(mean)
        if layer is None or layer.inputs != (of,):
            return ()
        if isinstance(layer, AdaptiveAveragePool) and layer.size == (1, 1):
            return (1, 2)
        is_mean = isinstance(layer, Reduce) and layer.kind is ReduceKind.MEAN and layer.keep
        return tuple(sorted(layer.axes)) if is_mean else ()  # type: ignore[attr-defined]

    def _epsilon(self, root: Power, centred: str, axes: tuple[int, ...]) -> float | None:
        """What is added to the variance of a centred value below a root; None if it is another."""
        total = self._arithmetic(root.inputs[0], _ADD)
        if not axes or total is None or total.constant is None or total.constant.size != 1:
            return None
        variance = self._made.get(total.inputs[0])
        if variance is None or self._mean_axes(variance.output, variance.inputs[0]) != axes:
            return None
        return float(total.constant.reshape(-1)[0]) if self._squares(variance, centred) else None

    def _squares(self, variance: Layer, centred: str) -> bool:
        """True if a variance is one of squares of a centred value, or of the same difference."""
        square = self._made.get(variance.inputs[0])
        if isinstance(square, Power):
            return square.exponent == 2 and self._same(square.inputs[0], centred)
        product = square is not None and _is_product(square)
        return product and all(self._same(value, centred) for value in square.inputs)  # type: ignore[union-attr]

    def _same(self, one: str, other: str) -> bool:
        """True if two values are equal: the same, or differences of the same."""
        if one == other:
            return True
        pair = [self._arithmetic(value, _SUBTRACT) for value in (one, other)]
        first, second = pair
        return (
            first is not None
            and second is not None
            and first.constant is second.constant is None
            and first.inputs == second.inputs
        )

    def _arithmetic(self, value: str, kind: ArithmeticKind) -> Arithmetic | None:
        layer = self._made.get(value)
        return layer if layer is not None and _computes(layer, kind) else None


def _computes(layer: Layer, kind: ArithmeticKind) -> TypeGuard[Arithmetic]:
    """True if a layer is an operation of this kind, and nothing else."""
    return (
        isinstance(layer, Arithmetic) and layer.kind is kind and layer.activation is Activation.NONE
    )


def _is_product(layer: Layer) -> bool:
    """True if a layer is the product of two values."""
    return isinstance(layer, Multiply) or (_computes(layer, _MULTIPLY) and layer.constant is None)


def _with_constants(graph: Graph) -> Graph:
    """Norms that scale and shift by themselves, where a constant follows."""
    alone = graph.only_users()
    made: dict[str, Layer] = {}
    aliases: dict[str, str] = {}
    for layer in graph.layers:
        source = aliases.get(layer.inputs[0], layer.inputs[0])
        norm = made.get(source)
        if isinstance(norm, Normalize) and layer.inputs[0] in alone:
            merged = _merged(norm, layer, graph)
            if merged is not None:
                made[source] = merged
                aliases[layer.output] = source
                continue
        made[layer.output] = layer
    return alive(connected(replace(graph, layers=tuple(made.values())), aliases))


def _merged(norm: Normalize, layer: Layer, graph: Graph) -> Normalize | None:
    """A norm and arithmetic with a constant behind it as one norm; None if it is anything else."""
    if (
        not isinstance(layer, Arithmetic)
        or layer.constant is None
        or layer.activation is not Activation.NONE
        or graph.shapes[layer.output] != graph.shapes[norm.output]
    ):
        return None
    rank = len(graph.shapes[norm.output])
    constant = layer.constant.reshape((1,) * (rank - layer.constant.ndim) + layer.constant.shape)
    change = _CHANGES.get((layer.kind, layer.reverse))
    if change is None or (layer.kind is _DIVIDE and not constant.all()):
        return None
    scale, shift = change(norm.scale, norm.shift, constant)
    return replace(norm, scale=_whole(scale), shift=_whole(shift))


#: Scale and shift after an operation with a constant, by its kind and whether that is on the left.
_CHANGES: dict[tuple[ArithmeticKind, bool], Callable[..., tuple[FloatArray, FloatArray]]] = {
    (_MULTIPLY, False): lambda scale, shift, c: (scale * c, shift * c),
    (_MULTIPLY, True): lambda scale, shift, c: (scale * c, shift * c),
    (_DIVIDE, False): lambda scale, shift, c: (scale / c, shift / c),
    (_ADD, False): lambda scale, shift, c: (scale, shift + c),
    (_ADD, True): lambda scale, shift, c: (scale, shift + c),
    (_SUBTRACT, False): lambda scale, shift, c: (scale, shift - c),
    (_SUBTRACT, True): lambda scale, shift, c: (-scale, c - shift),
}


def _whole(array: FloatArray) -> FloatArray:
    return np.ascontiguousarray(array, np.float32)
