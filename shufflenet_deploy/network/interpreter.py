"""Reference interpreter of graphs in fp32, through torch: every lowering is held to it.

It also yields each intermediate value, from which calibration takes ranges and a failed comparison
names the first diverging layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.network.graph import (
    Activation,
    AdaptiveAveragePool,
    Add,
    Concat,
    Conv,
    Dense,
    Elementwise,
    Flatten,
    FloatArray,
    Graph,
    Layer,
    LocalResponseNorm,
    Multiply,
    Pool,
    PoolKind,
    Shuffle,
)


def activations(graph: Graph, image: NDArray[Any]) -> dict[str, FloatArray]:
    """Every value of the graph for one image ``(C, H, W)`` or ``(1, C, H, W)``.

    Keys are value names, the input's first; arrays have the shapes of ``graph.shapes``.

    Raises:
        UsageError: the image is not of the graph's input shape.
    """
    batch = image if image.ndim == 4 else image[None]
    return {name: value[0].numpy() for name, value in execute(graph, batch)}


def outputs(graph: Graph, batch: NDArray[Any]) -> FloatArray:
    """The graph's output for a batch ``(N, C, H, W)``: ``(N, *graph.shapes[graph.output])``.

    Raises:
        UsageError: the images are not of the graph's input shape.
    """
    result: FloatArray = next(
        value.numpy() for name, value in execute(graph, batch) if name == graph.output
    )
    return result


def execute(graph: Graph, batch: NDArray[Any]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield ``(value name, (N, ...) tensor)`` in order, forgetting what nobody reads any more.

    Raises:
        UsageError: the images are not of the graph's input shape.
    """
    if batch.shape[1:] != graph.shapes[graph.input]:
        raise UsageError(
            f"{graph.name} takes images of shape {graph.shapes[graph.input]}, not {batch.shape[1:]}"
        )
    last_reader = {name: layer.name for layer in graph.layers for name in layer.inputs}
    image = torch.from_numpy(np.ascontiguousarray(batch, dtype=np.float32))
    known = {graph.input: image}
    yield graph.input, image
    for layer in graph.layers:
        with torch.inference_mode():
            value = compute(layer, [known[name] for name in layer.inputs])
        yield layer.output, value
        known[layer.output] = value
        for name in {name for name in layer.inputs if last_reader[name] == layer.name}:
            del known[name]


def compute(layer: Layer, inputs: list[torch.Tensor]) -> torch.Tensor:
    """One layer on tensors ``(N, C, H, W)`` or ``(N, F)``."""
    value = _LAYERS[type(layer)](layer, *inputs)
    return _activate(value, getattr(layer, "activation", Activation.NONE))


def _conv(layer: Conv, x: torch.Tensor) -> torch.Tensor:
    weight, bias = torch.from_numpy(layer.weight), torch.from_numpy(layer.bias)
    return functional.conv2d(
        _padded(x, layer.padding, 0.0), weight, bias, layer.stride, groups=layer.groups
    )


def _dense(layer: Dense, x: torch.Tensor) -> torch.Tensor:
    return functional.linear(x, torch.from_numpy(layer.weight), torch.from_numpy(layer.bias))


def _pool(layer: Pool, x: torch.Tensor) -> torch.Tensor:
    if layer.kind is PoolKind.MAX:
        return functional.max_pool2d(
            _padded(x, layer.padding, -torch.inf), layer.kernel, layer.stride
        )
    mean = functional.avg_pool2d(_padded(x, layer.padding, 0.0), layer.kernel, layer.stride)
    if layer.count_padding or not any(layer.padding):
        return mean
    inside = _padded(torch.ones_like(x[:1, :1]), layer.padding, 0.0)
    return mean / functional.avg_pool2d(inside, layer.kernel, layer.stride)


def _padded(x: torch.Tensor, padding: tuple[int, int, int, int], value: float) -> torch.Tensor:
    top, left, bottom, right = padding
    return functional.pad(x, (left, right, top, bottom), value=value) if any(padding) else x


def _adaptive(layer: AdaptiveAveragePool, x: torch.Tensor) -> torch.Tensor:
    return functional.adaptive_avg_pool2d(x, layer.size)


def _add(_: Add, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a + b


def _multiply(_: Multiply, a: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    return a * gate


def _concat(_: Concat, *parts: torch.Tensor) -> torch.Tensor:
    return torch.cat(parts, 1)


def _shuffle(layer: Shuffle, x: torch.Tensor) -> torch.Tensor:
    split = x.reshape(x.shape[0], layer.groups, -1, *x.shape[2:])
    return split.transpose(1, 2).flatten(1, 2)


def _response_norm(layer: LocalResponseNorm, x: torch.Tensor) -> torch.Tensor:
    return functional.local_response_norm(x, layer.size, layer.alpha, layer.beta, layer.k)


def _same(_: Elementwise, x: torch.Tensor) -> torch.Tensor:
    return x


def _flatten(_: Flatten, x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1)


_LAYERS: dict[type[Layer], Callable[..., torch.Tensor]] = {
    Conv: _conv,
    Dense: _dense,
    Pool: _pool,
    AdaptiveAveragePool: _adaptive,
    Add: _add,
    Multiply: _multiply,
    Concat: _concat,
    Shuffle: _shuffle,
    LocalResponseNorm: _response_norm,
    Elementwise: _same,
    Flatten: _flatten,
}


def _activate(x: torch.Tensor, activation: Activation) -> torch.Tensor:
    functions: dict[Activation, Callable[[torch.Tensor], torch.Tensor]] = {
        Activation.RELU: torch.relu,
        Activation.RELU6: functional.relu6,
        Activation.SIGMOID: torch.sigmoid,
        Activation.HARD_SIGMOID: functional.hardsigmoid,
    }
    return functions[activation](x) if activation in functions else x
