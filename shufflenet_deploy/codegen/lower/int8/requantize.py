"""Quantized weights, biases and requantization multipliers of an op.

The zero points of source and target are folded into the bias, so that no kernel knows of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.codegen.ir.int8 import Multipliers, PixelView, Requantization
from shufflenet_deploy.codegen.ir.ops import Requantize, RequantizeMean
from shufflenet_deploy.errors import ExportError, UnsupportedError
from shufflenet_deploy.network.graph import Conv, Dense, FloatArray
from shufflenet_deploy.network.quantization.ranges import weight_scales

#: Bits after the multiplication, where the factors allow: one for all, so that kernels are few.
_SHIFT = 6
_MULTIPLIER_BITS = 31
_INT32_MAX = 2**31 - 1
#: The most and the least of the other's factor in a sum.
_MAX_RESIDUAL = 127
_MIN_RESIDUAL = 4
_MAX_BIAS = 2**30
#: Least ratio of the output's scale to that of the sums.
_SCALE_MARGIN = 1.001


class NoInt8CodeError(UnsupportedError):
    """There is no int8 code for a layer; it may still be computed in float."""

    def __init__(self, layer: str, what: str) -> None:
        super().__init__(
            f"{layer}: the native format has no int8 code for {what}: export onnx or tflite"
        )
        self.layer = layer


class ScaleTooSmallError(ExportError):
    """A layer's output scale is smaller than its accumulator's; ``times`` as large it is not."""

    def __init__(self, name: str, times: float) -> None:
        super().__init__(f"{name}: the steps of its output are too fine for int8")
        self.times = times


@dataclass(frozen=True, kw_only=True)
class QuantizedConv:
    """A quantized layer; ``weight`` is ``(out, in / groups, kh, kw)``."""

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    multiplier: Multipliers
    shift: int

    def requantize(
        self,
        *,
        fraction: int = 0,
        residual: int | None = None,
        shuffle: int = 1,
        float_output: bool = False,
    ) -> Requantize:
        """The epilogue of the layer's op."""
        return Requantize(
            multiplier=self.multiplier,
            shift=self.shift,
            fraction=fraction,
            residual=residual,
            shuffle=shuffle,
            float_output=float_output,
        )

    def shuffled(self, groups: int) -> QuantizedConv:
        """The same layer with its outputs shuffled; it must have one group."""
        order = np.arange(len(self.weight)).reshape(groups, -1).T.ravel()
        return replace(
            self,
            weight=self.weight[order],
            bias=self.bias[order],
            multiplier=self.multiplier[order],
        )


def quantize_conv(
    arithmetic: Requantization,
    layer: Conv | Dense,
    weight: FloatArray,
    source: PixelView,
    target: PixelView | None,
    *,
    other: PixelView | None = None,
    residual: int | None = None,
    fraction: int = 0,
) -> QuantizedConv:
    """Quantize weights per output channel; without a target the output is fp32.

    Raises:
        ScaleTooSmallError: the output's scale is smaller than that of the sums.
        ExportError: a bias is too large.
    """
    scales = weight_scales(weight, layer.bias, source.scale).astype(np.float64)
    zero_point = 0.0
    if target is not None:
        zero_point = float(target.zero_point)
        if residual is not None and other is not None:
            zero_point -= residual / 2**fraction * other.zero_point
        # The zero is part of the bias too, which is why a channel of tiny weights keeps less.
        least = target.scale * (abs(zero_point) + 1) / (source.scale * _MAX_BIAS)
        scales = np.maximum(scales, least)
        # A channel without weights has any scale.
        dead = np.abs(weight).reshape(len(weight), -1).max(1) == 0
        within = source.scale * scales < target.scale * 2.0**-_SHIFT
        scales = np.where(
            dead & ~within, target.scale * 2.0 ** -(_SHIFT + 1) / source.scale, scales
        )
    steps = scales.reshape(-1, *[1] * (weight.ndim - 1))
    whole = np.clip(np.round(weight / steps), -127, 127).astype(np.int8)
    sums = whole.astype(np.int64).reshape(len(whole), -1).sum(1)
    exact = layer.bias.astype(np.float64) / (scales * source.scale)
    if target is None:
        bias = np.round(exact).astype(np.int64) - source.zero_point * sums
        real_factor = (scales * source.scale).astype(np.float32)
        return QuantizedConv(
            weight=whole, bias=_as_int32(layer.name, bias), multiplier=real_factor, shift=0
        )
    ratio = scales * source.scale / target.scale
    bias = np.round(exact + zero_point / ratio).astype(np.int64) - source.zero_point * sums
    wanted = fraction if residual is not None else None
    multiplier, shift = quantize_multiplier(layer.name, arithmetic, ratio, wanted)
    return QuantizedConv(
        weight=whole, bias=_as_int32(layer.name, bias), multiplier=multiplier, shift=shift
    )


def _as_int32(name: str, values: NDArray[np.int64]) -> NDArray[np.int32]:
    if np.abs(values).max(initial=0) > _INT32_MAX:
        raise ExportError(f"{name}: its bias is too large for int8")
    return values.astype(np.int32)


def quantize_multiplier(
    name: str, arithmetic: Requantization, multiplier: NDArray[np.float64], shift: int | None = None
) -> tuple[Multipliers, int]:
    """Real multipliers as fixed-point integers and the shift after them (or as floats).

    With ``shift`` given, a scaled accumulator keeps that many fraction bits.
    """
    if arithmetic is Requantization.FLOAT:
        return (multiplier * 2.0 ** (shift or 0)).astype(np.float32), shift or 0
    largest = float(multiplier.max())
    headroom = math.floor(-math.log2(largest)) if largest > 0 else _SHIFT
    if headroom < (shift or 0):
        raise ScaleTooSmallError(name, largest * _SCALE_MARGIN)
    if shift is None:
        shift = min(_SHIFT, headroom)
    whole = np.round(multiplier * 2.0 ** (_MULTIPLIER_BITS + shift))
    return np.minimum(whole, _INT32_MAX).astype(np.int32), shift


@dataclass(frozen=True, kw_only=True)
class ResidualScale:
    """The scale of a fused sum: the residual's is ``number / 2**shift`` times ``scale``."""

    scale: float
    number: int
    shift: int


def residual_scale(
    layer: Conv, source: PixelView, other: PixelView, scale: float
) -> ResidualScale | None:
    """The least scale, from ``scale`` on, of which the residual's is an integer of fractions.

    There are as many fraction bits as the layer's multipliers allow; None if they are too few to
    represent the residual's scale well.
    """
    steps = weight_scales(layer.weight, layer.bias, source.scale)
    largest = float(steps.max()) * source.scale / scale
    shift = max(1, min(_SHIFT, math.floor(-math.log2(largest))))
    number = min(_MAX_RESIDUAL, int(2**shift * other.scale / scale))
    if number < _MIN_RESIDUAL:
        return None
    return ResidualScale(scale=other.scale * 2**shift / number, number=number, shift=shift)


def average_constants(
    arithmetic: Requantization, source: PixelView, target: PixelView, pixels: int
) -> tuple[int, int, int] | None:
    """Start, multiplier and left shift of an average over windows of ``pixels``.

    None if sums do not fit 16 bits.
    """
    ratio = source.scale / (target.scale * pixels)
    up = max(0, math.floor(math.log2(ratio)) + 1)
    multiplier = min(2**15 - 1, round(ratio * 2.0 ** (15 - up)))
    start = round(target.zero_point / ratio) - source.zero_point * pixels
    sums = (start + arithmetic.lowest * pixels, start + arithmetic.highest * pixels)
    if max(abs(start), *(abs(one) for one in sums)) << up > 2**15 - 1:
        return None
    return start, multiplier, up


def mean_constants(
    name: str, arithmetic: Requantization, source: PixelView, target: PixelView
) -> RequantizeMean:
    """The epilogue of a mean over all pixels.

    Raises:
        ScaleTooSmallError: the output's scale is smaller than that of a sum.
    """
    pixels = source.height * source.width
    ratio = np.array([source.scale / (target.scale * pixels)])
    start = round(target.zero_point / float(ratio[0])) - source.zero_point * pixels
    multiplier, shift = quantize_multiplier(name, arithmetic, ratio)
    return RequantizeMean(start=start, multiplier=multiplier, shift=shift)
