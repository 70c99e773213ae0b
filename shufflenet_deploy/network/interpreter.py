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
    Arithmetic,
    ArithmeticKind,
    Clip,
    Concat,
    Conv,
    ConvTranspose,
    Dense,
    DepthToSpace,
    Elementwise,
    Elu,
    Flatten,
    FloatArray,
    Graph,
    Layer,
    LeakyRelu,
    LocalResponseNorm,
    Multiply,
    Normalize,
    Pad,
    PadMode,
    Permute,
    Pool,
    PoolKind,
    Power,
    Reduce,
    ReduceKind,
    Reshape,
    Resize,
    Shuffle,
    Slice,
    Softmax,
    SpaceToDepth,
)
from shufflenet_deploy.network.resampling import taps


def activations(graph: Graph, image: NDArray[Any]) -> dict[str, FloatArray]:
    """Every value of the graph for one image ``(C, H, W)`` or ``(1, C, H, W)``.

    Keys are value names, the input's first; arrays have the shapes of ``graph.shapes``.

    Raises:
        UsageError: the image is not of the graph's input shape.
    """
    batch = image if image.ndim == 4 else image[None]
    return {name: value[0].numpy() for name, value in execute(graph, batch)}


def outputs(graph: Graph, batch: NDArray[Any]) -> FloatArray:
    """The graph's first output for a batch ``(N, C, H, W)``: ``(N, *shapes[graph.output])``.

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
    """One layer on tensors with their batch first."""
    value = _LAYERS[type(layer)](layer, *inputs)
    return activate(value, getattr(layer, "activation", Activation.NONE))


def _conv(layer: Conv, x: torch.Tensor) -> torch.Tensor:
    weight, bias = torch.from_numpy(layer.weight), torch.from_numpy(layer.bias)
    return functional.conv2d(
        _padded(x, layer.padding, 0.0),
        weight,
        bias,
        layer.stride,
        groups=layer.groups,
        dilation=layer.dilation,
    )


def _conv_transpose(layer: ConvTranspose, x: torch.Tensor) -> torch.Tensor:
    weight, bias = torch.from_numpy(layer.weight), torch.from_numpy(layer.bias)
    whole = functional.conv_transpose2d(
        x, weight, None, layer.stride, groups=layer.groups, dilation=layer.dilation
    )
    top, left, bottom, right = layer.cropping
    cropped = functional.pad(whole, (-left, -right, -top, -bottom))
    return cropped + bias[:, None, None]


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


def _arithmetic(layer: Arithmetic, *values: torch.Tensor) -> torch.Tensor:
    constant = () if layer.constant is None else (torch.from_numpy(layer.constant)[None],)
    return combine(layer, *values, *constant)


def combine(layer: Arithmetic, *values: torch.Tensor) -> torch.Tensor:
    """The operands of an operation, batch first and a constant last, aligned and combined."""
    operands = values[::-1] if layer.reverse and layer.constant is not None else values
    rank = max(one.ndim for one in operands)
    aligned = (one.reshape(-1, *[1] * (rank - one.ndim), *one.shape[1:]) for one in operands)
    return _ARITHMETIC[layer.kind](*aligned)


def _concat(layer: Concat, *parts: torch.Tensor) -> torch.Tensor:
    return torch.cat(parts, 1 + layer.axis)


def _slice(layer: Slice, x: torch.Tensor) -> torch.Tensor:
    index = [slice(None)] * x.ndim
    index[1 + layer.axis] = slice(layer.start, layer.stop, layer.step)
    return x[tuple(index)]


def _pad(layer: Pad, x: torch.Tensor) -> torch.Tensor:
    top, left, bottom, right = layer.padding
    if layer.mode is PadMode.CONSTANT:
        return functional.pad(x, (left, right, top, bottom), value=layer.value)
    return functional.pad(x, (left, right, top, bottom), mode=str(layer.mode))


def _resize(layer: Resize, x: torch.Tensor) -> torch.Tensor:
    for axis in (0, 1):
        first, second, weight = taps(x.shape[2 + axis], layer.size[axis], layer)
        shape = (-1, 1) if axis == 0 else (-1,)
        share = torch.from_numpy(weight).reshape(shape)
        low, high = (x.index_select(2 + axis, torch.from_numpy(at)) for at in (first, second))
        x = low if not weight.any() else low * (1 - share) + high * share
    return x


def _depth_to_space(layer: DepthToSpace, x: torch.Tensor) -> torch.Tensor:
    return functional.pixel_shuffle(x, layer.block)


def _space_to_depth(layer: SpaceToDepth, x: torch.Tensor) -> torch.Tensor:
    return functional.pixel_unshuffle(x, layer.block)


def _leaky_relu(layer: LeakyRelu, x: torch.Tensor) -> torch.Tensor:
    return functional.prelu(x, torch.from_numpy(layer.slope))


def _elu(layer: Elu, x: torch.Tensor) -> torch.Tensor:
    return functional.elu(x, layer.alpha)


def _clip(layer: Clip, x: torch.Tensor) -> torch.Tensor:
    return torch.clamp(x, layer.low, layer.high)


def _softmax(layer: Softmax, x: torch.Tensor) -> torch.Tensor:
    function = torch.log_softmax if layer.logarithm else torch.softmax
    return function(x, 1 + layer.axis)


def _reduce(layer: Reduce, x: torch.Tensor) -> torch.Tensor:
    axes = tuple(1 + axis for axis in layer.axes)
    return _REDUCTIONS[layer.kind](x, axes, layer.keep)


def _reshape(layer: Reshape, x: torch.Tensor) -> torch.Tensor:
    return x.reshape(-1, *layer.shape)


def _permute(layer: Permute, x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, *(1 + axis for axis in layer.order))


def _shuffle(layer: Shuffle, x: torch.Tensor) -> torch.Tensor:
    split = x.reshape(x.shape[0], layer.groups, -1, *x.shape[2:])
    return split.transpose(1, 2).flatten(1, 2)


def _response_norm(layer: LocalResponseNorm, x: torch.Tensor) -> torch.Tensor:
    return functional.local_response_norm(x, layer.size, layer.alpha, layer.beta, layer.k)


def _normalize(layer: Normalize, x: torch.Tensor) -> torch.Tensor:
    scale, shift = (torch.from_numpy(one) for one in (layer.scale, layer.shift))
    return normalize(layer, x, scale, shift)


def normalize(
    layer: Normalize, x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor
) -> torch.Tensor:
    """A layer, group or instance norm with these arrays as its scale and shift."""
    grid, axes = x, [1 + axis for axis in layer.axes]
    if layer.groups > 1:
        grid, axes = x.reshape(x.shape[0], layer.groups, -1), [2]
    variance, mean = torch.var_mean(grid, axes, correction=0, keepdim=True)
    normal = (grid - mean) / torch.sqrt(variance + layer.epsilon)
    return normal.reshape(x.shape) * scale + shift


def _power(layer: Power, x: torch.Tensor) -> torch.Tensor:
    if layer.exponent == 0.5:
        return torch.sqrt(x)
    return torch.rsqrt(x) if layer.exponent == -0.5 else torch.pow(x, layer.exponent)


def _same(_: Elementwise, x: torch.Tensor) -> torch.Tensor:
    return x


def _flatten(_: Flatten, x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1)


_LAYERS: dict[type[Layer], Callable[..., torch.Tensor]] = {
    Conv: _conv,
    ConvTranspose: _conv_transpose,
    Dense: _dense,
    Pool: _pool,
    AdaptiveAveragePool: _adaptive,
    Add: _add,
    Multiply: _multiply,
    Arithmetic: _arithmetic,
    Concat: _concat,
    Slice: _slice,
    Pad: _pad,
    Resize: _resize,
    DepthToSpace: _depth_to_space,
    SpaceToDepth: _space_to_depth,
    Shuffle: _shuffle,
    LocalResponseNorm: _response_norm,
    Normalize: _normalize,
    Power: _power,
    Elementwise: _same,
    LeakyRelu: _leaky_relu,
    Elu: _elu,
    Clip: _clip,
    Softmax: _softmax,
    Reduce: _reduce,
    Reshape: _reshape,
    Permute: _permute,
    Flatten: _flatten,
}


_ARITHMETIC: dict[ArithmeticKind, Callable[..., torch.Tensor]] = {
    ArithmeticKind.ADD: torch.add,
    ArithmeticKind.SUBTRACT: torch.sub,
    ArithmeticKind.MULTIPLY: torch.mul,
    ArithmeticKind.DIVIDE: torch.div,
    ArithmeticKind.MAXIMUM: torch.maximum,
    ArithmeticKind.MINIMUM: torch.minimum,
}

_REDUCTIONS: dict[ReduceKind, Callable[..., torch.Tensor]] = {
    ReduceKind.MEAN: torch.mean,
    ReduceKind.SUM: torch.sum,
    ReduceKind.MAX: torch.amax,
}

_ACTIVATIONS: dict[Activation, Callable[[torch.Tensor], torch.Tensor]] = {
    Activation.NONE: lambda x: x,
    Activation.RELU: torch.relu,
    Activation.RELU6: functional.relu6,
    Activation.SIGMOID: torch.sigmoid,
    Activation.HARD_SIGMOID: functional.hardsigmoid,
    Activation.TANH: torch.tanh,
    Activation.HARD_SWISH: functional.hardswish,
    Activation.SILU: functional.silu,
    Activation.GELU: functional.gelu,
    Activation.GELU_TANH: lambda x: functional.gelu(x, approximate="tanh"),
    Activation.MISH: functional.mish,
}


def activate(x: torch.Tensor, activation: Activation) -> torch.Tensor:
    """The element-wise function at the end of a layer."""
    return _ACTIVATIONS[activation](x)
