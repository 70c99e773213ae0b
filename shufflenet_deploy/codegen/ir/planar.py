"""Planar (channels first) fp32 and fp16 programs.

A value is planes, one per channel. A plane's rows may be longer than its map (``row_stride`` >
``width``): a convolution over a padded map then runs over all pixels as one flat vector, and what
it computes between the rows is ignored. Shuffle, concatenation and flattening have no op of their
own: the op before them stores in place.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from shufflenet_deploy.codegen.ir import op
from shufflenet_deploy.network.graph import Activation, FloatArray, Pair, PoolKind

#: The buffer that is the caller's input picture, and the one that is the caller's output.
INPUT, OUTPUT = -1, -2


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Planes of ``height`` rows; ``row_stride`` and ``channel_stride`` are in elements."""

    channels: int
    height: int
    width: int
    row_stride: int
    channel_stride: int

    @property
    def span(self) -> int:
        """Elements from a plane's first pixel to the end of its last."""
        return (self.height - 1) * self.row_stride + self.width

    def vectors(self, lanes: int) -> int:
        """Vectors that cover a plane."""
        return ceil(self.span / lanes)


def vector_layout(length: int) -> Layout:
    """One element per channel, contiguous."""
    return Layout(channels=length, height=1, width=1, row_stride=1, channel_stride=1)


def avoid_4k_aliasing(plane: int, lanes: int) -> int:
    """The next channel stride that is no multiple of 4 KiB, whose planes share cache sets."""
    return plane + max(lanes, 16) if plane % 1024 == 0 else plane


def planar_layout(channels: int, height: int, width: int, row: int, lanes: int) -> Layout:
    """Planes in whole vectors; see ``avoid_4k_aliasing``."""
    plane = avoid_4k_aliasing(ceil(height * row / lanes) * lanes, lanes)
    return Layout(
        channels=channels, height=height, width=width, row_stride=row, channel_stride=plane
    )


@dataclass(frozen=True, kw_only=True)
class BufferView:
    """A value in memory: channel ``c`` is plane ``planes[c]`` of ``buffer``."""

    buffer: int
    layout: Layout
    planes: tuple[int, ...]

    @property
    def contiguous(self) -> bool:
        """True if channels are consecutive planes."""
        first = self.planes[0]
        return self.planes == tuple(range(first, first + len(self.planes)))

    @property
    def pixels(self) -> int:
        """Pixels per channel."""
        return self.layout.height * self.layout.width

    def offset(self, channel: int = 0) -> int:
        """Elements from the start of the buffer to a channel."""
        return self.planes[channel] * self.layout.channel_stride


class PlanarOp(op.Op[BufferView]):
    """An op on planar views."""


@dataclass(frozen=True, kw_only=True)
class PhaseSplit(PlanarOp):
    """Padding and phase split (space-to-depth): pixels sorted by (row % stride, column % stride).

    The target has ``len(phases)`` planes for each channel of the source; in them a strided
    convolution has stride 1. Pixels outside the map become ``outside``.
    """

    stride: Pair
    top: int
    left: int
    phases: tuple[Pair, ...]
    outside: float


@dataclass(frozen=True, kw_only=True)
class Convolution(PlanarOp):
    """``target[o] = act(bias[o] + sum weight[o, c, t] * source[c, pixel + taps[t]])``.

    ``weight`` is ``(out, in / groups, taps)``. A channel of the source is ``planes_per_channel``
    planes. A second source is the residual, added before the activation. ``clamp_min``, if given,
    replaces bias and activation: ``target[o] = max(clamp_min[o], sum)``.
    """

    weight: FloatArray
    bias: FloatArray
    groups: int
    taps: tuple[int, ...]
    planes_per_channel: int
    activation: Activation
    kernel: Pair = (1, 1)
    clamp_min: FloatArray | None = None

    @property
    def weights(self) -> tuple[FloatArray, FloatArray]:
        """As ``steps.Step`` says."""
        return self.weight, self.bias


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
class WinogradInput(PlanarOp):
    """Input transform: tiles of a padded map in the transform domain.

    The target has a plane for each of ``alpha**2`` elements of each channel, element by element;
    its pixels are the tiles. ``top`` and ``left`` are rows and columns of padding.
    """

    tiles: WinogradTiles
    top: int
    left: int


@dataclass(frozen=True, kw_only=True)
class WinogradGemm(Convolution):
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
class WinogradOutput(PlanarOp):
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
class Direct3x3(PlanarOp):
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
        """As ``steps.Step`` says."""
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
class StripConvPool(PlanarOp):
    """A convolution and its 3x3 stride-2 max pool, strip-mined ``rows`` output rows at a time.

    ``phase_split``, ``convolution`` and ``pool`` are those of one strip; the second and third
    sources are the scratch between them, for each strip that a thread may begin with. A plane of
    the scratch has the last row of the strip before from ``carried_row_offset`` - ``row_stride``
    on. ``height`` is that of the whole map.
    """

    split: PhaseSplit
    convolution: Convolution
    pool: Direct3x3
    rows: int
    height: int
    carried_row_offset: int

    @property
    def weights(self) -> tuple[FloatArray, FloatArray]:
        """As ``steps.Step`` says."""
        return self.convolution.weights

    @property
    def multiply_adds(self) -> int:
        """As ``steps.Step`` says: those of the whole map."""
        return self.convolution.weight.size * self.height * self.convolution.target.layout.width


@dataclass(frozen=True, kw_only=True)
class FusedConvPool(PlanarOp):
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
        """As ``steps.Step`` says."""
        return self.weight, self.bias

    @property
    def multiply_adds(self) -> int:
        """As ``steps.Step`` says: those of the whole map."""
        return self.weight.size * self.height * self.width


@dataclass(frozen=True, kw_only=True)
class Pool(PlanarOp):
    """Max or average over ``taps`` of a phase-split map.

    ``scale`` has one factor per pixel or a single one; None for a max pool.
    """

    kind: PoolKind
    taps: tuple[int, ...]
    planes_per_channel: int
    scale: FloatArray | None
    activation: Activation


@dataclass(frozen=True, kw_only=True)
class GlobalAveragePool(PlanarOp):
    """The mean of each plane."""


@dataclass(frozen=True, kw_only=True)
class AdaptivePool(PlanarOp):
    """The mean over a grid of nearly equal windows."""


@dataclass(frozen=True, kw_only=True)
class FullyConnected(PlanarOp):
    """``target = act(weight @ source + bias)`` over vectors."""

    weight: FloatArray
    bias: FloatArray
    activation: Activation

    @property
    def weights(self) -> tuple[FloatArray, FloatArray]:
        """As ``steps.Step`` says."""
        return self.weight, self.bias


@dataclass(frozen=True, kw_only=True)
class LocalResponseNorm(PlanarOp):
    """Local response normalization across channels."""

    size: int
    alpha: float
    beta: float
    k: float


@dataclass(frozen=True, kw_only=True)
class Add(PlanarOp):
    """The sum of two sources."""

    activation: Activation


@dataclass(frozen=True, kw_only=True)
class ChannelScale(PlanarOp):
    """The first source times the second's element of its channel, plus a residual if given."""

    activation: Activation


@dataclass(frozen=True, kw_only=True)
class Copy(PlanarOp):
    """A copy of planes, in another order or with another row stride."""

    activation: Activation = Activation.NONE


class PlanarProgram(op.Program[PlanarOp]):
    """Planar ops in order; buffers are in elements."""
