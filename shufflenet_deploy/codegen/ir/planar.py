"""What the generated code will do, step by step, before any C is written.

A value lives in a buffer as planes, one per channel. A plane's rows may be longer than its picture
(``row`` > ``width``): a convolution over a padded picture then runs over all pixels as one flat
vector, and what it computes between the rows is never looked at. Whatever only moves data
(shuffle, concatenation, flattening) has no step of its own: the step before it stores there.
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
    """Planes of ``height`` rows; ``row`` and ``plane`` are distances in elements."""

    channels: int
    height: int
    width: int
    row_stride: int
    channel_stride: int

    @property
    def span(self) -> int:
        """Elements from a plane's first pixel to behind its last."""
        return (self.height - 1) * self.row_stride + self.width

    def vectors(self, lanes: int) -> int:
        """How many vectors cover a plane."""
        return ceil(self.span / lanes)


def vector_layout(length: int) -> Layout:
    """One element per channel, side by side."""
    return Layout(channels=length, height=1, width=1, row_stride=1, channel_stride=1)


def avoid_4k_aliasing(plane: int, lanes: int) -> int:
    """The next distance between planes that is no multiple of 4 KiB, which share cache sets."""
    return plane + max(lanes, 16) if plane % 1024 == 0 else plane


def planar_layout(channels: int, height: int, width: int, row: int, lanes: int) -> Layout:
    """Planes in whole vectors; see ``apart``."""
    plane = avoid_4k_aliasing(ceil(height * row / lanes) * lanes, lanes)
    return Layout(
        channels=channels, height=height, width=width, row_stride=row, channel_stride=plane
    )


@dataclass(frozen=True, kw_only=True)
class BufferView:
    """Where a value is: channel ``c`` is plane ``planes[c]`` of ``buffer``."""

    buffer: int
    layout: Layout
    planes: tuple[int, ...]

    @property
    def contiguous(self) -> bool:
        """Whether channels follow each other."""
        first = self.planes[0]
        return self.planes == tuple(range(first, first + len(self.planes)))

    @property
    def pixels(self) -> int:
        """How many a channel has."""
        return self.layout.height * self.layout.width

    def offset(self, channel: int = 0) -> int:
        """Elements from the start of the buffer to a channel."""
        return self.planes[channel] * self.layout.channel_stride


class PlanarOp(op.Op[BufferView]):
    """A step on planes of floats."""


@dataclass(frozen=True, kw_only=True)
class PhaseSplit(PlanarOp):
    """Pads a picture, and sorts its pixels by phase (row % stride, column % stride).

    The target has ``len(phases)`` planes for each channel of the source; in them a strided
    convolution is one with stride 1. Pixels outside the picture become ``outside``.
    """

    stride: Pair
    top: int
    left: int
    phases: tuple[Pair, ...]
    outside: float


@dataclass(frozen=True, kw_only=True)
class Convolution(PlanarOp):
    """``target[o] = act(bias[o] + sum weight[o, c, t] * source[c, pixel + taps[t]])``.

    ``weight`` is ``(out, in / groups, taps)``. A channel of the source is ``spread`` planes. A
    second source is a value to be added before the activation. Where there are ``floors``, they
    stand for bias and activation: ``target[o] = max(floors[o], sum)``.
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
    """A picture of outputs in squares: ``rows`` by ``columns`` of ``side`` pixels each.

    A square's windows of ``kernel`` by ``kernel`` are one of ``span`` by ``span`` pixels, of which
    as many ``frequencies`` are made.
    """

    m: int
    kernel: int
    rows: int
    columns: int

    @property
    def alpha(self) -> int:
        """How wide what a tile is computed from is."""
        return self.m + self.kernel - 1

    @property
    def transform_size(self) -> int:
        """How many numbers a tile is while it is multiplied."""
        return self.alpha**2

    @property
    def count(self) -> int:
        """How many there are."""
        return self.rows * self.columns


@dataclass(frozen=True, kw_only=True)
class WinogradInput(PlanarOp):
    """Tiles of a padded picture in frequencies, by Winograd's method.

    The target has a plane for each frequency of each channel, frequency by frequency; its pixels
    are the tiles. ``top`` and ``left`` are rows and columns of padding.
    """

    tiles: WinogradTiles
    top: int
    left: int


@dataclass(frozen=True, kw_only=True)
class WinogradGemm(Convolution):
    """A convolution in frequencies: pointwise, with as many groups for each of them as it has.

    ``weight`` is of frequencies, too; ``pixels`` is how many the layer's picture has.
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
    """The pixels of tiles in frequencies: ``act(bias + pixel)``.

    A second source is a value to be added before the activation.
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
    """Depthwise convolution or pooling 3x3 that reads the picture where it stands.

    ``weight`` is ``(channels, 9)`` for a convolution, None for a pool; ``scale`` is an average's
    factor. ``top`` and ``left`` are rows and columns of padding, 0 or 1.
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
        """Whether this is a pool of maxima."""
        return self.weight is None and self.kind is PoolKind.MAX

    @property
    def is_average(self) -> bool:
        """Whether this is a pool of averages."""
        return self.weight is None and self.kind is PoolKind.AVERAGE


@dataclass(frozen=True, kw_only=True)
class StripConvPool(PlanarOp):
    """A convolution and the maxima of its 3x3 windows with stride 2, ``rows`` of them at a time.

    ``split``, ``convolution`` and ``pool`` are those of one band; the second and the third source
    are the memory for what is between them, for each band that a thread may begin with. A plane of
    the map has the last row of the band before from ``front`` - ``row`` on. ``height`` is the whole
    map's.
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
    """A convolution with stride 2 and the maxima of its 3x3 windows with stride 2, without a map.

    ``weight`` is ``(out, in, taps)``, ``top`` and ``left`` are rows and columns of padding, and the
    map between has ``height`` rows of ``width``, on which the activation is ``inner``. Its last row
    is kept in the second source, ``kept`` numbers for each band that a thread may begin with, where
    an output has ``kept_row`` of them.
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
        """Numbers between what one band and the next keeps."""
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
    """Max or average over ``taps`` of a split picture. ``scale`` has one factor per pixel or one.

    ``scale`` is None for a maximum.
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
    """Local response normalisation across channels."""

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
    """The first source times the second's number for its channel, plus a third if there is one."""

    activation: Activation


@dataclass(frozen=True, kw_only=True)
class Copy(PlanarOp):
    """Planes elsewhere, in another order or with another row length."""

    activation: Activation = Activation.NONE


class PlanarProgram(op.Program[PlanarOp]):
    """Steps in order; buffers are in floats."""
