"""Cross-layer equalisation: channels of a tensor rescaled alike, so that one scale fits all.

int8 has one scale per activation tensor. A channel a hundred times larger than its neighbours
leaves them two levels to live in. Between two convolutions a channel can be divided by any positive
number, if the next layer's weights for it are multiplied by the same: ReLU, and a shuffle between
them, commute with that, so the network computes what it did (Nagel et al., 2019, section 4.1; the
balance between activations and weights is that of Xiao et al., 2022).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.graph import Activation, Conv, FloatArray, Graph, Layer, Shuffle
from shufflenet_deploy.network.one_thread import one_thread

#: Functions with f(s x) = s f(x) for every s > 0.
_HOMOGENEOUS = frozenset({Activation.NONE, Activation.RELU})
#: Channels are scaled by at most this; beyond it they are as good as dead.
_MOST = 1e4


@one_thread()
def equalized(graph: Graph, batches: Iterable[NDArray[Any]]) -> Graph:
    """Equalise the channels of a graph without changing its function.

    ``batches`` are preprocessed images ``(1, C, H, W)``; channel maxima are observed on them.
    """
    pairs = _pairs(graph)
    peaks = _peaks(graph, batches, {pair.first for pair in pairs})
    layers = {layer.name: layer for layer in graph.layers}
    for pair in pairs:
        first, second = layers[pair.first], layers[pair.second]
        assert isinstance(first, Conv)
        assert isinstance(second, Conv)
        scale = _scales(peaks[pair.first], second, pair.order)
        layers[first.name] = _divided(first, scale)
        layers[second.name] = _multiplied(second, scale[pair.order])
    return replace(graph, layers=tuple(layers[layer.name] for layer in graph.layers))


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """Two convolutions with nothing but shuffles between them.

    Input channel ``i`` of ``second`` is output channel ``order[i]`` of ``first``.
    """

    first: str
    second: str
    order: NDArray[np.intp]


def _pairs(graph: Graph) -> list[_Pair]:
    readers: dict[str, list[Layer]] = {}
    for layer in graph.layers:
        for name in layer.inputs:
            readers.setdefault(name, []).append(layer)
    pairs = []
    for first in graph.layers:
        if not isinstance(first, Conv) or first.activation not in _HOMOGENEOUS:
            continue
        order = np.arange(len(first.weight))
        value = first.output
        while value not in graph.outputs and len(readers.get(value, ())) == 1:
            (reader,) = readers[value]
            if isinstance(reader, Conv):
                pairs.append(_Pair(first=first.name, second=reader.name, order=order))
            if not isinstance(reader, Shuffle):
                break
            order = order.reshape(reader.groups, -1).T.ravel()
            value = reader.output
    return pairs


def _peaks(
    graph: Graph, batches: Iterable[NDArray[Any]], wanted: set[str]
) -> dict[str, NDArray[np.float64]]:
    """The largest magnitude of every channel of the layers ``wanted``."""
    makers = {layer.output: layer.name for layer in graph.layers if layer.name in wanted}
    peaks: dict[str, NDArray[np.float64]] = {}
    for batch in batches:
        for value, computed in interpreter.execute(graph, batch):
            if value in makers:
                peak = computed.abs().amax((0, 2, 3)).double().numpy()
                name = makers[value]
                peaks[name] = np.maximum(peaks[name], peak) if name in peaks else peak
    return peaks


def _scales(
    peaks: NDArray[np.float64], second: Conv, order: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Divisor of each output channel of the first layer; about 1 on average.

    A depthwise layer has a scale of its own for every channel's weights, so its input can be
    equalized completely for free. Otherwise uneven weights are the cost, and both sides share it.
    """
    if second.depthwise:
        scale = peaks.copy()
    else:
        inputs = second.weight.shape[1]
        by_group = second.weight.reshape(second.groups, -1, inputs, *second.weight.shape[2:])
        largest = np.abs(by_group).max((1, 3, 4)).ravel()
        weights = np.empty(len(peaks))
        weights[order] = largest
        scale = np.sqrt(peaks / np.where(weights > 0, weights, 1.0))
    alive = scale > 0
    if not alive.any():
        return np.ones(len(peaks))
    middle = np.exp(np.log(scale[alive]).mean())
    result: NDArray[np.float64] = np.clip(np.where(alive, scale / middle, 1.0), 1 / _MOST, _MOST)
    return result


def _divided(layer: Conv, scale: NDArray[np.float64]) -> Conv:
    weight = layer.weight / scale.reshape(-1, 1, 1, 1)
    return replace(layer, weight=_single(weight), bias=_single(layer.bias / scale))


def _multiplied(layer: Conv, scale: NDArray[np.float64]) -> Conv:
    """Every output channel's weights times the scale of the input channel that they read."""
    per_group = scale.reshape(layer.groups, -1)
    group_of = np.arange(len(layer.weight)) // (len(layer.weight) // layer.groups)
    return replace(layer, weight=_single(layer.weight * per_group[group_of][:, :, None, None]))


def _single(values: NDArray[Any]) -> FloatArray:
    return np.ascontiguousarray(values, dtype=np.float32)
