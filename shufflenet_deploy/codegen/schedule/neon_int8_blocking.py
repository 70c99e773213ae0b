"""Register blocking of int8 convolutions on NEON, by instruction count.

A block computes ``quads`` times four output channels of ``pixels`` pixels. Its cost is its number
of instructions, of whatever kind: a property of the code, not of a core. What a first cache keeps
is in the descriptions of cores.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from math import ceil

from shufflenet_deploy.codegen.schedule.conv_spec import ConvSpec
from shufflenet_deploy.codegen.schedule.neon_matrix_blocking import (
    INPUTS,
    MatrixInputs,
    choose_matrix_blocking,
)
from shufflenet_deploy.codegen.schedule.partition import Blocking, blocking_cost, cheapest_blocking
from shufflenet_deploy.cores import SMALLEST_L1_SHARE_BYTES

_MAX_PIXELS = 12
_MAX_QUADS = 10


class Product(Enum):
    """What multiplies: widening products, SDOT of four inputs, or SMMLA of two pixels by eight.

    An accumulator has ``outputs`` channels: of one pixel, or with ``MATRIX`` of two; an instruction
    adds ``inputs`` to each.
    """

    WIDENING = "smull"
    DOT = "sdot"
    MATRIX = "smmla"

    @property
    def outputs(self) -> int:
        """Output channels of an accumulator."""
        return 2 if self is Product.MATRIX else 4

    @property
    def inputs(self) -> int:
        """Input channels of an instruction."""
        return INPUTS if self is Product.MATRIX else 4


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """What a convolution multiplies by, and its blocks in accumulators by pixels.

    ``packed``: the inputs of a row are packed for matrix products before its first block.
    """

    product: Product
    cut: Blocking
    packed: bool = False


@dataclass(frozen=True, kw_only=True)
class TileShape:
    """The work of a block per pixel: ``lanes`` groups of four inputs in ``chunks`` vectors."""

    lanes: int
    chunks: int
    dot_product: bool
    residual: bool


@dataclass(frozen=True, kw_only=True)
class Epilogue:
    """Requantization of an accumulator: ``shift`` after the multiplier, and the residual.

    ``residual`` is the residual's multiplier, in units of ``2**-fraction`` of the output's scale;
    None without one. With ``float_output`` the result is the accumulator times a float.
    """

    shift: int = 0
    float_output: bool = False
    residual: int | None = None
    fraction: int = 0


@dataclass(frozen=True, kw_only=True)
class NeonConvSpec(ConvSpec):
    """A convolution as NEON tiles see it, with its epilogue."""

    epilogue: Epilogue

    @property
    def quads(self) -> int:
        """Accumulators per group and pixel."""
        return ceil(self.outputs / 4)

    @property
    def work_of_all(self) -> int:
        """Multiply-adds of the whole convolution."""
        return self.height * self.width * self.groups * self.quads * 16 * self.lanes

    @property
    def lanes(self) -> int:
        """Multiply-adds per accumulator."""
        return self.steps(Product.DOT)

    def accumulators(self, product: Product) -> int:
        """Accumulators per group and pixel, or two pixels."""
        return ceil(self.outputs / product.outputs)

    def steps(self, product: Product) -> int:
        """Multiply-adds per accumulator."""
        if product is Product.MATRIX:
            return self.matrix_inputs.steps
        return len(self.rows) * ceil(self.run / product.inputs)

    @property
    def matrix_inputs(self) -> MatrixInputs:
        """The inputs as matrix products see them."""
        return MatrixInputs(rows=len(self.rows), run=self.run, pixel_bytes=self.x_pixel)

    def tile_shape(self, *, dot_product: bool) -> TileShape:
        """The inputs of the cost model."""
        return TileShape(
            lanes=self.lanes,
            chunks=len(self.rows) * ceil(self.run / 16),
            dot_product=dot_product,
            residual=self.epilogue.residual is not None,
        )


@dataclass(frozen=True)
class _NeonInt8:
    """The cost model: instructions of a block of ``outputs`` quads by ``pixels``."""

    shape: TileShape
    max_outputs: int = _MAX_QUADS
    max_pixels: int = _MAX_PIXELS
    has_tail: bool = False

    def fits(self, outputs: int, pixels: int) -> bool:
        if self.shape.dot_product:
            return outputs * pixels <= 24 and outputs * pixels + pixels + 2 <= 32
        # The permutations of the inputs (4), a product, weights, and one spread input a pixel.
        return outputs * pixels + 2 * pixels + 7 <= 32

    def cost(self, outputs: int, pixels: int) -> float:
        shape, blocks = self.shape, outputs * pixels
        products = shape.lanes * (blocks if shape.dot_product else 3 * blocks + pixels)
        loads = shape.chunks * pixels + shape.lanes * outputs / 2
        stores = outputs // 4 + outputs % 4 // 2 + 1.5 * (outputs % 2)
        finish = 3.5 * blocks + stores * pixels
        if shape.residual:
            finish += (1.0 * blocks) + stores * pixels
        return products + loads + finish + 1.5 * outputs + 8

    def tail_cost(self, outputs: int, pixels: int) -> float:  # noqa: ARG002 - there is no tail
        return 0.0


@lru_cache(maxsize=4096)
def choose_blocking(shape: TileShape, quads: int, pixels: int) -> Blocking:
    """The cheapest blocks for ``quads`` by ``pixels``."""
    return cheapest_blocking(_NeonInt8(shape), quads, pixels)


def choose_tiling(spec: NeonConvSpec, *, dot_product: bool, matrix_product: bool) -> Tiling:
    """The cheapest blocks of a convolution by what a core can multiply with."""
    shape = spec.tile_shape(dot_product=dot_product)
    by_dots = Tiling(
        product=Product.DOT if dot_product else Product.WIDENING,
        cut=choose_blocking(shape, spec.quads, spec.width),
    )
    if not matrix_product or spec.epilogue.float_output:
        return by_dots
    pairs = spec.accumulators(Product.MATRIX)
    fits_l1 = 16 * spec.steps(Product.MATRIX) * pairs * spec.groups <= SMALLEST_L1_SHARE_BYTES
    found = choose_matrix_blocking(
        spec.matrix_inputs,
        pairs,
        spec.width,
        residual=shape.residual,
        may_pack=len(spec.rows) == 1 and (fits_l1 or spec.height == 1),
    )
    if found.cost >= blocking_cost(_NeonInt8(shape), by_dots.cut):
        return by_dots
    return Tiling(product=Product.MATRIX, cut=found.cut, packed=found.packed)
