"""Channel-wise scales and shifts: batch normalisation and constants, folded where they can be."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.network.graph import (
    Activation,
    Arithmetic,
    ArithmeticKind,
    Conv,
    ConvTranspose,
    Dense,
    FloatArray,
    Graph,
    Layer,
    Normalize,
)


@dataclass(frozen=True, kw_only=True)
class ChannelAffine(Layer):
    """Batch normalisation with fixed statistics: ``x * scale + shift`` per channel, float64.

    Lives only between reading a module and ``simplify``.
    """

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]


def constants_as_affine(graph: Graph) -> Graph:
    """Arithmetic with one constant per channel, or one for all, as scales and shifts.

    On vectors only where a dense layer before them takes it up.
    """
    producers = {layer.output: layer for layer in graph.layers}
    alone = graph.only_users()
    layers: list[Layer] = []
    for layer in graph.layers:
        made = _as_affine(layer, graph.shapes)
        source = layer.inputs[0]
        dense = isinstance(producers.get(source), (Dense, ChannelAffine)) and source in alone
        if made is not None and (len(graph.shapes[layer.output]) == 3 or dense):
            layers.append(made)
            producers[made.output] = made
        else:
            layers.append(layer)
    return replace(graph, layers=tuple(layers))


def _as_affine(layer: Layer, shapes: dict[str, tuple[int, ...]]) -> ChannelAffine | None:
    shape = shapes[layer.inputs[0]]
    if (
        not isinstance(layer, Arithmetic)
        or layer.constant is None
        or layer.activation is not Activation.NONE
        or len(shape) not in {1, 3}
        or shapes[layer.output] != shape
    ):
        return None
    constant = layer.constant.astype(np.float64)
    per_channel = (shape[0], *[1] * (len(shape) - 1))
    if constant.size > 1 and constant.shape != per_channel:
        return None
    values = np.broadcast_to(constant.reshape(-1), shape[:1])
    scale_shift = _SCALES_AND_SHIFTS.get((layer.kind, layer.reverse))
    if scale_shift is None:
        return None
    if layer.kind is _DIVIDE and not values.all():
        return None
    scale, shift = scale_shift(values)
    return ChannelAffine(
        name=layer.name, inputs=layer.inputs, output=layer.output, scale=scale, shift=shift
    )


_ADD, _SUBTRACT = ArithmeticKind.ADD, ArithmeticKind.SUBTRACT
_MULTIPLY, _DIVIDE = ArithmeticKind.MULTIPLY, ArithmeticKind.DIVIDE

#: Scale and shift of an operation with a constant, by its kind and whether it is on the left.
_SCALES_AND_SHIFTS = {
    (_ADD, False): lambda c: (np.ones_like(c), c),
    (_ADD, True): lambda c: (np.ones_like(c), c),
    (_SUBTRACT, False): lambda c: (np.ones_like(c), -c),
    (_SUBTRACT, True): lambda c: (-np.ones_like(c), c),
    (_MULTIPLY, False): lambda c: (c, np.zeros_like(c)),
    (_MULTIPLY, True): lambda c: (c, np.zeros_like(c)),
    (_DIVIDE, False): lambda c: (1 / c, np.zeros_like(c)),
}


def with_affine(producer: Layer, layer: Layer) -> Layer | None:
    """A producer that scales and shifts by itself; None where it cannot."""
    if not isinstance(layer, ChannelAffine):
        return None
    if isinstance(producer, ChannelAffine):
        shift = producer.shift * layer.scale + layer.shift
        return replace(producer, scale=producer.scale * layer.scale, shift=shift)
    if isinstance(producer, Normalize):
        grid = (-1, *[1] * (producer.scale.ndim - 1))
        return replace(
            producer,
            scale=_narrow(producer.scale * layer.scale.reshape(grid)),
            shift=_narrow(producer.shift * layer.scale.reshape(grid) + layer.shift.reshape(grid)),
        )
    if not isinstance(producer, (Conv, ConvTranspose, Dense)):
        return None
    if producer.activation is not Activation.NONE:
        return None
    wide = producer.weight.astype(np.float64)
    if isinstance(producer, ConvTranspose):
        grouped = layer.scale.reshape(producer.groups, 1, -1)
        inputs, per_group = wide.shape[:2]
        weight = wide.reshape(producer.groups, -1, per_group, *wide.shape[2:])
        weight = (weight * grouped[..., None, None]).reshape(inputs, per_group, *wide.shape[2:])
    else:
        weight = wide * layer.scale.reshape(-1, *[1] * (wide.ndim - 1))
    bias = producer.bias.astype(np.float64) * layer.scale + layer.shift
    return replace(producer, weight=weight.astype(np.float32), bias=bias.astype(np.float32))


def _narrow(array: NDArray[np.float64]) -> FloatArray:
    return np.ascontiguousarray(array, np.float32)


def standing_alone(layer: Layer, shapes: dict[str, tuple[int, ...]]) -> tuple[Layer, ...]:
    """A scale and shift that nothing took up as a depthwise 1x1 convolution, or arithmetic."""
    if not isinstance(layer, ChannelAffine):
        return (layer,)
    scale, shift = layer.scale.astype(np.float32), layer.shift.astype(np.float32)
    if len(shapes[layer.output]) == 3:
        return (
            Conv(
                name=layer.name,
                inputs=layer.inputs,
                output=layer.output,
                weight=scale[:, None, None, None],
                bias=shift,
                groups=len(scale),
            ),
        )
    scaled = f"{layer.output}:scaled"
    return (
        Arithmetic(name=scaled, inputs=layer.inputs, output=scaled, kind=_MULTIPLY, constant=scale),
        Arithmetic(
            name=layer.name, inputs=(scaled,), output=layer.output, kind=_ADD, constant=shift
        ),
    )
