"""Ops on NHWC maps, which int8 programs alone have."""

from __future__ import annotations

from dataclasses import dataclass

from shufflenet_deploy.codegen.ir.epilogues import Requantize
from shufflenet_deploy.codegen.ir.int8 import (
    Int8Array,
    Int32Array,
    Padding,
    PixelView,
)
from shufflenet_deploy.codegen.ir.op import Op
from shufflenet_deploy.network.graph import Pair


@dataclass(frozen=True, kw_only=True)
class QuantizeInput(Op[PixelView]):
    """Quantize the caller's image: ``round(x * inverse) + zero_point``, saturated."""

    inverse: float


@dataclass(frozen=True, kw_only=True)
class DequantizeOutput(Op[PixelView]):
    """Dequantize the output, channels first."""


@dataclass(frozen=True, kw_only=True)
class FillPadding(Op[PixelView]):
    """Fill the border of the target, which is the source."""


@dataclass(frozen=True, kw_only=True)
class DepthwiseConvolution(Op[PixelView]):
    """Depthwise convolution; ``weight`` is ``(channels, kh, kw)``."""

    weight: Int8Array
    bias: Int32Array
    epilogue: Requantize
    stride: Pair
    padding: Padding
    dilation: Pair = (1, 1)

    @property
    def is_plain_3x3(self) -> bool:
        """True for windows of 3x3 with a stride of 1 or 2, which have kernels of their own."""
        plain = self.stride in {(1, 1), (2, 2)} and self.dilation == (1, 1)
        return plain and self.weight.shape[1:] == (3, 3)

    @property
    def weights(self) -> tuple[Int8Array, Int32Array]:
        """Weights and biases."""
        return self.weight, self.bias


@dataclass(frozen=True, kw_only=True)
class MaxPool(Op[PixelView]):
    """The maximum of each window."""

    kernel: Pair
    stride: Pair
    padding: Padding


@dataclass(frozen=True, kw_only=True)
class AveragePool(Op[PixelView]):
    """``(((start + sum) << left_shift) * multiplier + 2**14) >> 15``, the sum in 16 bits."""

    kernel: Pair
    stride: Pair
    padding: Padding
    start: int
    multiplier: int
    left_shift: int


@dataclass(frozen=True, kw_only=True)
class LookupTable(Op[PixelView]):
    """``table[byte]``, the byte unsigned; ``shuffle`` as in a convolution.

    A table ``(channels, 256)`` has a row for each channel.
    """

    table: Int8Array
    shuffle: int = 1
