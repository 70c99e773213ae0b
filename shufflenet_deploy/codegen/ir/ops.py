"""The op set: loop nests over views of buffers, the same ops for every data type.

An op says what is computed; the views of its sources and target carry the data type, and for int8
the scale and zero point. What differs with the data type is its ``epilogue``, which turns an
accumulator into a stored value: an activation in fp32 and fp16, requantization constants in int8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.codegen.ir.int8 import (
    Int8Array,
    Int32Array,
    Multipliers,
    Padding,
    PixelView,
)
from shufflenet_deploy.codegen.ir.op import Op, V_co
from shufflenet_deploy.codegen.ir.planar import PlanarView
from shufflenet_deploy.network.graph import Activation, FloatArray, Pair, PoolKind

#: How a convolution addresses its windows, and how its results are finished.
W_co = TypeVar("W_co", covariant=True)
E_co = TypeVar("E_co", covariant=True)

# -- windows ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TapOffsets:
    """Windows of stride 1 in a phase-split map: element offsets of the taps of a ``kernel``.

    A channel of the source is ``planes_per_channel`` planes.
    """

    taps: tuple[int, ...]
    planes_per_channel: int
    kernel: Pair = (1, 1)


@dataclass(frozen=True, kw_only=True)
class StridedWindow:
    """Windows over a map with a border that holds the padding."""

    stride: Pair
    padding: Padding
    dilation: Pair = (1, 1)


# -- epilogues --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Clamp:
    """``act(bias + sum)``; ``clamp_min``, if given, replaces both: ``max(clamp_min, sum)``."""

    activation: Activation
    clamp_min: FloatArray | None = None


@dataclass(frozen=True, kw_only=True)
class Requantize:
    """``multiplier`` and ``shift`` make a byte of ``bias + sum``; in float arithmetic no shift.

    With ``residual`` the second source is added, times ``residual / 2**fraction``. The outputs are
    shuffled in ``shuffle`` groups. ``float_output``: fp32 results, the sum times the multiplier.
    """

    multiplier: Multipliers
    shift: int = 0
    fraction: int = 0
    residual: int | None = None
    shuffle: int = 1
    float_output: bool = False


@dataclass(frozen=True, kw_only=True)
class RequantizeMean:
    """The requantized ``start + sum``."""

    start: int
    multiplier: Multipliers
    shift: int


@dataclass(frozen=True, kw_only=True)
class RequantizeAreas:
    """``RequantizeMean`` of each output pixel, ``(H, W)``: ranges of ``rows`` by ``columns``."""

    rows: tuple[Pair, ...]
    columns: tuple[Pair, ...]
    start: Int32Array
    multiplier: Multipliers
    shift: int


@dataclass(frozen=True, kw_only=True)
class RequantizeSum:
    """``(part(a) + part(b) + start) >> shift`` of the bytes of two sources.

    A part is ``(128 * a * multiplier + 2**14) >> 15``, with ``shift`` fraction bits.
    """

    multipliers: Pair
    start: int
    shift: int


@dataclass(frozen=True, kw_only=True)
class FactorTable:
    """Fixed-point factors that a byte, or a sum of squares, selects.

    Of ``x`` above the zero point, ``(128 * x * multiplier + 2**14) >> 15`` has ``shift`` fraction
    bits, which are rounded off after the target's zero point is added.
    """

    multipliers: NDArray[np.int16]
    shift: int


# -- ops of every data type -------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Convolution(Op[V_co], Generic[V_co, W_co, E_co]):
    """``target[o] = epilogue(bias[o] + sum of weight[o] times the window)``.

    ``weight`` is ``(out, in / groups, taps)`` in floating point, ``(out, in / groups, kh, kw)`` in
    int8. A second source is the residual, added before the activation.
    """

    weight: NDArray[Any]
    bias: NDArray[Any]
    groups: int
    window: W_co
    epilogue: E_co

    @property
    def weights(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Weights and biases."""
        return self.weight, self.bias


@dataclass(frozen=True, kw_only=True)
class GlobalAveragePool(Op[V_co], Generic[V_co, E_co]):
    """The mean of each channel."""

    epilogue: E_co


@dataclass(frozen=True, kw_only=True)
class AdaptivePool(Op[V_co], Generic[V_co, E_co]):
    """The mean over a grid of nearly equal windows."""

    epilogue: E_co


@dataclass(frozen=True, kw_only=True)
class Add(Op[V_co], Generic[V_co, E_co]):
    """The sum of two sources."""

    epilogue: E_co


@dataclass(frozen=True, kw_only=True)
class ChannelScale(Op[V_co], Generic[V_co, E_co]):
    """The first source times the second's element of its channel, plus a residual if given."""

    epilogue: E_co


@dataclass(frozen=True, kw_only=True)
class LocalResponseNorm(Op[V_co], Generic[V_co, E_co]):
    """Local response normalization: each channel by the squares of ``size`` channels around it.

    In int8 the upper 16 bits of the float ``1 + sum of squares``, less those of 1.0, select the
    factor.
    """

    size: int
    alpha: float
    beta: float
    k: float
    epilogue: E_co


#: The shared ops in floating point and in int8.
FpConvolution = Convolution[PlanarView, TapOffsets, Clamp]
Int8Convolution = Convolution[PixelView, StridedWindow, Requantize]
FpAdd = Add[PlanarView, Activation]
Int8Add = Add[PixelView, RequantizeSum]
FpChannelScale = ChannelScale[PlanarView, Activation]
Int8ChannelScale = ChannelScale[PixelView, FactorTable]
FpLocalResponseNorm = LocalResponseNorm[PlanarView, None]
Int8LocalResponseNorm = LocalResponseNorm[PixelView, FactorTable]
FpGlobalAveragePool = GlobalAveragePool[PlanarView, None]
Int8GlobalAveragePool = GlobalAveragePool[PixelView, RequantizeMean]
FpAdaptivePool = AdaptivePool[PlanarView, None]
Int8AdaptivePool = AdaptivePool[PixelView, RequantizeAreas]

# -- ops on planar maps -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PhaseSplit(Op[PlanarView]):
    """Padding and phase split (space-to-depth): pixels sorted by (row % stride, column % stride).

    The target has ``len(phases)`` planes for each channel of the source; in them a strided
    convolution has stride 1. Pixels outside the map become ``outside``.
    """

    stride: Pair
    top: int
    left: int
    phases: tuple[Pair, ...]
    outside: float


@dataclass(frozen=True)
class WinogradTiles:
    """Outputs in ``rows`` by ``columns`` tiles of m x m pixels, of a ``kernel`` x ``kernel``
    filter.
    """

    m: int
    kernel: int
    rows: int
    columns: int

    @property
    def alpha(self) -> int:
        """Width of a tile's input: ``m + r - 1``."""
        return self.m + self.kernel - 1

    @property
    def transform_size(self) -> int:
        """Elements of a tile in the transform domain."""
        return self.alpha**2

    @property
    def count(self) -> int:
        """Number of tiles."""
        return self.rows * self.columns


@dataclass(frozen=True, kw_only=True)
class WinogradInput(Op[PlanarView]):
    """Input transform: tiles of a padded map in the transform domain.

    The target has a plane for each of ``alpha**2`` elements of each channel, element by element;
    its pixels are the tiles. ``top`` and ``left`` are rows and columns of padding.
    """

    tiles: WinogradTiles
    top: int
    left: int


@dataclass(frozen=True, kw_only=True)
class WinogradGemm(FpConvolution):
    """The products in the transform domain: a pointwise convolution with ``alpha**2`` times the
    groups.

    ``weight`` is transformed, too; ``pixels`` is the number of output pixels of the layer.
    """

    tiles: WinogradTiles
    pixels: int

    @property
    def multiply_adds(self) -> int:
        """Those of the layer, which takes fewer this way."""
        return self.parameters * self.pixels

    @property
    def parameters(self) -> int:
        """The layer's weights."""
        return self.weight.size // self.tiles.transform_size * self.tiles.kernel**2


@dataclass(frozen=True, kw_only=True)
class WinogradOutput(Op[PlanarView]):
    """Output transform: ``act(bias + pixel)``.

    A second source is the residual, added before the activation.
    """

    tiles: WinogradTiles
    bias: FloatArray
    activation: Activation

    @property
    def parameters(self) -> int:
        """Biases."""
        return self.bias.size


@dataclass(frozen=True, kw_only=True)
class Direct3x3(Op[PlanarView]):
    """Depthwise convolution or pooling 3x3 that reads the map in place.

    ``weight`` is ``(channels, 9)`` for a convolution, None for a pool; ``scale`` is the factor of
    an average. ``top`` and ``left`` are rows and columns of padding, 0 or 1.
    """

    stride: int
    top: int
    left: int
    weight: FloatArray | None = None
    bias: FloatArray | None = None
    kind: PoolKind = PoolKind.AVERAGE
    scale: float = 1.0
    activation: Activation = Activation.NONE

    @property
    def weights(self) -> tuple[FloatArray, ...]:
        """Weights and biases."""
        return () if self.weight is None or self.bias is None else (self.weight, self.bias)

    @property
    def is_maximum(self) -> bool:
        """True for a max pool."""
        return self.weight is None and self.kind is PoolKind.MAX

    @property
    def is_average(self) -> bool:
        """True for an average pool."""
        return self.weight is None and self.kind is PoolKind.AVERAGE


@dataclass(frozen=True, kw_only=True)
class StripConvPool(Op[PlanarView]):
    """A convolution and its 3x3 stride-2 max pool, strip-mined ``rows`` output rows at a time.

    ``phase_split``, ``convolution`` and ``pool`` are those of one strip; the second and third
    sources are the scratch between them, for each strip that a thread may begin with. A plane of
    the scratch has the last row of the strip before from ``carried_row_offset`` - ``row_stride``
    on. ``height`` is that of the whole map.
    """

    split: PhaseSplit
    convolution: FpConvolution
    pool: Direct3x3
    rows: int
    height: int
    carried_row_offset: int

    @property
    def weights(self) -> tuple[FloatArray, FloatArray]:
        """Weights and biases."""
        return self.convolution.weights

    @property
    def multiply_adds(self) -> int:
        """Those of the whole map."""
        return self.convolution.weight.size * self.height * self.convolution.target.layout.width


@dataclass(frozen=True, kw_only=True)
class FusedConvPool(Op[PlanarView]):
    """A stride-2 convolution and its 3x3 stride-2 max pool, without a feature map between them.

    ``weight`` is ``(out, in, taps)``, ``top`` and ``left`` are rows and columns of padding; the map
    between would have ``height`` rows of ``width`` with the activation ``inner``. Its last row is
    carried in the second source: ``carried_elements`` for each strip that a thread may begin with.
    """

    weight: FloatArray
    bias: FloatArray
    kernel: Pair
    top: int
    left: int
    height: int
    width: int
    inner: Activation
    activation: Activation
    carried_row_stride: int

    @property
    def carried_elements(self) -> int:
        """Elements carried from one output row to the next."""
        return len(self.weight) * self.carried_row_stride

    @property
    def weights(self) -> tuple[FloatArray, FloatArray]:
        """Weights and biases."""
        return self.weight, self.bias

    @property
    def multiply_adds(self) -> int:
        """Those of the whole map."""
        return self.weight.size * self.height * self.width


@dataclass(frozen=True, kw_only=True)
class Pool(Op[PlanarView]):
    """Max or average over ``taps`` of a phase-split map.

    ``scale`` has one factor per pixel or a single one; None for a max pool.
    """

    kind: PoolKind
    taps: tuple[int, ...]
    planes_per_channel: int
    scale: FloatArray | None
    activation: Activation


@dataclass(frozen=True, kw_only=True)
class FullyConnected(Op[PlanarView]):
    """``target = act(weight @ source + bias)`` over vectors."""

    weight: FloatArray
    bias: FloatArray
    activation: Activation

    @property
    def weights(self) -> tuple[FloatArray, FloatArray]:
        """Weights and biases."""
        return self.weight, self.bias


@dataclass(frozen=True, kw_only=True)
class Copy(Op[PlanarView]):
    """A copy of planes, in another order or with another row stride."""

    activation: Activation = Activation.NONE


# -- ops on NHWC maps -------------------------------------------------------------------------


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
