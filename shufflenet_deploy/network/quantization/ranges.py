"""Ranges of activations, and the scales, zero points and bias corrections that follow from them.

Activations are asymmetric per tensor, weights symmetric per output channel, biases int32: the
rules of TFLite's and XNNPACK's int8 kernels. Independent of any file format.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.network.graph import Conv, ConvTranspose, Dense, FloatArray, Graph, Layer

Span = tuple[float, float]

#: Values that a byte can hold.
LEVELS = 256
_MAX_BIAS = 2**30
_LEAST_SPAN = 1e-9


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """Calibrated activations of one graph, by the name of the value.

    ``spans`` are (lowest, highest); ``means`` are those along the first axis, such as of channels.
    """

    method: str
    pictures: int
    spans: Mapping[str, Span]
    means: Mapping[str, FloatArray]


def activation_scale(span: Span) -> tuple[float, int]:
    """Scale and zero point of an asymmetric int8 activation; zero is always exact."""
    low, high = min(span[0], 0.0), max(span[1], 0.0)
    constant = high - low < _LEAST_SPAN
    scale = 1.0 / LEVELS if constant else float(np.float32((high - low) / (LEVELS - 1)))
    zero_point = round(-128 - low / scale)
    return scale, min(127, max(-128, zero_point))


def weight_scales(weight: FloatArray, bias: FloatArray, input_scale: float) -> NDArray[np.float32]:
    """Scales per output channel (axis 0), so large that the bias fits int32 as well."""
    largest = np.abs(weight.reshape(len(weight), -1)).max(1)
    least = np.abs(bias) / (input_scale * _MAX_BIAS)
    scales = np.maximum(largest / 127, least)
    return np.where(scales == 0, 1.0, scales).astype(np.float32)


def with_parts(ranges: Ranges, graph: Graph) -> Ranges:
    """The ranges of a graph in which a rewrite has made values out of calibrated ones.

    A part of a value carries its name and a suffix after a colon, and has its range.
    """
    spans = dict(ranges.spans)
    for value in graph.shapes:
        whole = value.rpartition(":")[0]
        if value not in spans and whole in spans:
            spans[value] = spans[whole]
    return replace(ranges, spans=spans)


def corrected(graph: Graph, ranges: Ranges, float_values: Collection[str] = ()) -> Graph:
    """Bias correction: move the mean error of rounded weights into the biases.

    The layers that make ``float_values`` are not rounded and stay as they are.

    For a layer y = Wx + b the error is (Q(W) - W) x; its mean over the calibration images
    follows from the mean of x per channel (Nagel et al., 2019, section 4.2).
    """
    layers = (
        layer if layer.output in float_values else _corrected(layer, ranges)
        for layer in graph.layers
    )
    return replace(graph, layers=tuple(layers))


def _corrected(layer: Layer, ranges: Ranges) -> Layer:
    if not isinstance(layer, (Conv, ConvTranspose, Dense)):
        return layer
    source = layer.inputs[0]
    weight = output_channels_first(layer)
    scales = weight_scales(weight, layer.bias, activation_scale(ranges.spans[source])[0])
    steps = scales.reshape(-1, *[1] * (weight.ndim - 1))
    error = np.round(weight / steps) * steps - weight
    mean = ranges.means[source].astype(np.float64)
    if isinstance(layer, Dense):
        shift = error @ mean
    else:
        per_group = len(mean) // layer.groups
        group_of = np.arange(len(scales)) // (len(scales) // layer.groups)
        inputs = mean.reshape(layer.groups, per_group)[group_of]
        shift = (error.sum((2, 3)) * inputs).sum(1)
    if isinstance(layer, ConvTranspose):
        # Each output pixel is made of one tap in as many as there are phases.
        shift = shift / (layer.stride[0] * layer.stride[1])
    return replace(layer, bias=(layer.bias - shift).astype(np.float32))


def output_channels_first(layer: Conv | ConvTranspose | Dense) -> FloatArray:
    """The weights of a layer with its output channels as the first axis."""
    if not isinstance(layer, ConvTranspose):
        return layer.weight
    inputs, per_group, *kernel = layer.weight.shape
    grouped = layer.weight.reshape(layer.groups, inputs // layer.groups, per_group, *kernel)
    return grouped.swapaxes(1, 2).reshape(-1, inputs // layer.groups, *kernel)
