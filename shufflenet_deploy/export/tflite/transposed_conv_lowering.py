"""Lowering of transposed convolutions: cropping, groups and dilation by what TFLite has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from shufflenet_deploy.errors import UnsupportedError
from shufflenet_deploy.export.tflite.activations import FUSED_ACTIVATIONS
from shufflenet_deploy.export.tflite.graph_lowering import GraphLowering
from shufflenet_deploy.network.graph import Activation, ConvTranspose, FloatArray

#: More groups than this are one convolution whose weights between groups are zero: splitting and
#: joining maps of few channels costs more than multiplying by zero.
_MOST_SPLIT_GROUPS = 4


def lower_conv_transpose(lowering: GraphLowering, layer: ConvTranspose) -> None:
    """Write a transposed convolution, then cut off what its runtime cannot leave out.

    Raises:
        UnsupportedError: the result ends more than a stride after the last window.
    """
    kernel = _dilated(layer.weight, layer.dilation)
    source = layer.inputs[0]
    channels, *extents = lowering.graph.shapes[source]
    sizes = lowering.graph.shapes[layer.output][1:]
    plans = [
        _along(layer, extents[axis], sizes[axis], kernel.shape[2 + axis], axis) for axis in (0, 1)
    ]
    same = all(plan.same for plan in plans)
    wholes = sizes if same else tuple(plan.valid for plan in plans)
    starts = (0, 0) if same else (layer.cropping[0], layer.cropping[1])
    options = {
        "padding": "SAME" if same else "VALID",
        "strideH": layer.stride[0],
        "strideW": layer.stride[1],
    }
    cropped = tuple(wholes) != tuple(sizes)
    step = _Step(lowering, layer, options, tuple(wholes), cropped=cropped)
    if 1 < layer.groups <= _MOST_SPLIT_GROUPS:
        step.split(lowering.nhwc(source), kernel, channels)
    else:
        weight = _ungrouped(kernel, layer.groups)
        step.convolve(lowering.nhwc(source), weight, layer.bias, f"{layer.name}:weight")
    if cropped:
        begin, out = (0, *starts, 0), lowering.nhwc_shape_of(layer.output)
        first = lowering.constant(f"begin:{begin}", np.array(begin, np.int32))
        size = lowering.constant(f"shape:{out}", np.array(out, np.int32))
        lowering.emit(layer, "SLICE", (step.whole, first, size), {})


class _Along(NamedTuple):
    """One axis: whether TFLite's SAME crops as wanted, and how far VALID has to reach."""

    same: bool
    valid: int


def _along(layer: ConvTranspose, extent: int, size: int, kernel: int, axis: int) -> _Along:
    stride, before = layer.stride[axis], layer.cropping[axis]
    natural = (extent - 1) * stride + kernel
    total = natural - size
    same = -(-size // stride) == extent and total >= 0 and before == total // 2
    valid = max(natural, before + size)
    if before < 0 or valid >= natural + stride:
        raise UnsupportedError(
            f"'{layer.name}' has more output padding than its stride of {stride}, "
            "which TFLite cannot express"
        )
    return _Along(same=same, valid=valid)


class _Step:
    """The operations that make the whole result, ``whole``, before it is cropped."""

    def __init__(
        self,
        lowering: GraphLowering,
        layer: ConvTranspose,
        options: Mapping[str, Any],
        sizes: tuple[int, ...],
        *,
        cropped: bool,
    ) -> None:
        self._lowering, self._layer = lowering, layer
        self._options, self._sizes = options, sizes
        self._cropped = cropped
        self.whole = f"{layer.output}:whole"

    def convolve(self, source: str, weight: FloatArray, bias: FloatArray, name: str) -> None:
        """One convolution; it is the layer's own operation where nothing is cropped."""
        if self._cropped:
            self._write(source, weight, bias, name, self.whole)
        else:
            inputs = self._inputs(source, weight, bias, name)
            self._lowering.emit(self._layer, "TRANSPOSE_CONV", inputs, self._options)

    def split(self, source: str, kernel: FloatArray, channels: int) -> None:
        """One convolution per group of channels, joined again."""
        lowering, layer = self._lowering, self._layer
        height, width = lowering.graph.shapes[layer.inputs[0]][1:]
        width_of_group = channels // layer.groups
        shape: tuple[int, ...] = (1, height, width, width_of_group)
        size = lowering.constant(f"shape:{shape}", np.array(shape, np.int32))
        parts: list[str] = []
        weights = np.split(kernel, layer.groups)
        biases = np.split(layer.bias, layer.groups)
        for group, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            begin = (0, 0, 0, group * width_of_group)
            first = lowering.constant(f"begin:{begin}", np.array(begin, np.int32))
            part, made = (f"{layer.output}:{word}-{group}" for word in ("group", "part"))
            lowering.write("SLICE", (source, first, size), part, shape, {})
            self._write(part, weight, bias, f"{layer.name}:weight-{group}", made)
            parts.append(made)
        if self._cropped:
            shape = (1, *self._sizes, len(layer.bias))
            known = lowering.calibrated(layer.output)
            options = {"axis": 3}
            lowering.write(
                "CONCATENATION", tuple(parts), self.whole, shape, options, rearranges=known
            )
        else:
            lowering.emit(layer, "CONCATENATION", tuple(parts), {"axis": 3})

    def _write(
        self, source: str, weight: FloatArray, bias: FloatArray, name: str, target: str
    ) -> None:
        shape = (1, *self._sizes, len(bias))
        inputs = self._inputs(source, weight, bias, name)
        # What the layer's range does not hold is cut off, by cropping or by a ReLU. No other
        # activation can follow in integers: the range before it is unknown.
        known = self._lowering.calibrated(self._layer.output)
        real = self._layer.activation not in (Activation.NONE, *FUSED_ACTIVATIONS)
        self._lowering.write(
            "TRANSPOSE_CONV", inputs, target, shape, self._options, rearranges=known, real=real
        )

    def _inputs(
        self, source: str, weight: FloatArray, bias: FloatArray, name: str
    ) -> tuple[str, ...]:
        lowering = self._lowering
        shape = (1, *self._sizes, len(bias))
        return (
            lowering.constant(f"shape:{shape}", np.array(shape, np.int32)),
            lowering.constant(name, weight.transpose(1, 2, 3, 0)),
            source,
            lowering.constant(f"{name}:bias", bias),
        )


def _dilated(weight: FloatArray, dilation: tuple[int, int]) -> FloatArray:
    """A dilated kernel as one with zeros between its weights."""
    if dilation == (1, 1):
        return weight
    *channels, height, width = weight.shape
    sizes = ((height - 1) * dilation[0] + 1, (width - 1) * dilation[1] + 1)
    wide = np.zeros((*channels, *sizes), np.float32)
    wide[:, :, :: dilation[0], :: dilation[1]] = weight
    return wide


def _ungrouped(weight: FloatArray, groups: int) -> FloatArray:
    """Weights of one group that do the same: zero between channels of different groups."""
    if groups == 1:
        return weight
    inputs, outputs, *kernel = weight.shape
    whole = np.zeros((inputs, outputs * groups, *kernel), np.float32)
    rows, columns = inputs // groups, outputs
    for group in range(groups):
        part = slice(group * rows, (group + 1) * rows)
        whole[part, group * columns : (group + 1) * columns] = weight[part]
    return whole
