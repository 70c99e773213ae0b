"""Ops on planar maps, which fp32 and fp16 programs alone have."""

from __future__ import annotations

from dataclasses import dataclass

from shufflenet_deploy.codegen.ir.op import Op
from shufflenet_deploy.codegen.ir.planar import PlanarView
from shufflenet_deploy.codegen.ir.shared_ops import FpConvolution
from shufflenet_deploy.network.graph import Activation, FloatArray, Pair, PoolKind


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
    """Outputs in ``rows`` by ``columns`` tiles of ``height`` x ``width`` pixels, of a ``kernel`` x
    ``kernel`` filter.
    """

    height: int
    width: int
    kernel: int
    rows: int
    columns: int

    @property
    def spans(self) -> Pair:
        """Height and width of a tile's input: ``alpha = m + r - 1`` of either side."""
        return self.height + self.kernel - 1, self.width + self.kernel - 1

    @property
    def transform_size(self) -> int:
        """Elements of a tile in the transform domain."""
        return self.spans[0] * self.spans[1]

    @property
    def count(self) -> int:
        """Number of tiles."""
        return self.rows * self.columns


@dataclass(frozen=True, kw_only=True)
class WinogradInput(Op[PlanarView]):
    """Input transform: tiles of a padded map in the transform domain.

    The target has a plane for each element of each channel, element by element, column after
    column of a tile; its pixels are the tiles. ``top`` and ``left`` are rows and columns of
    padding.
    """

    tiles: WinogradTiles
    top: int
    left: int


@dataclass(frozen=True, kw_only=True)
class WinogradGemm(FpConvolution):
    """The products in the transform domain: a pointwise convolution with as many times the groups
    as a tile has elements.

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
