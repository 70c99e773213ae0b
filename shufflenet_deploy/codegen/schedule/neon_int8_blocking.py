"""Register blocking of int8 convolutions on NEON, by instruction count.

A block computes ``quads`` times four output channels of ``pixels`` pixels. Its cost is its number
of instructions, which is what the cores that run it issue.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from shufflenet_deploy.codegen.schedule.conv_spec import ConvSpec
from shufflenet_deploy.codegen.schedule.partition import Blocking, cheapest_blocking

_MAX_PIXELS = 12
_MAX_QUADS = 10


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
        return len(self.rows) * ceil(self.run / 4)

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
