"""Register blocking of int8 convolutions on NEON, by instruction count.

A block computes ``quads`` times four output channels of ``pixels`` pixels. Its cost is its number
of instructions, which is what the cores that run it issue.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from shufflenet_deploy.codegen.schedule.conv_spec import ConvSpec
from shufflenet_deploy.codegen.schedule.partition import cheapest, with_main_tile

_MAX_PIXELS = 12
_MAX_QUADS = 10


@dataclass(frozen=True, kw_only=True)
class TileCut:
    """``quads`` of each block in order; ``pixels`` as (pixels of a block, times)."""

    quads: tuple[int, ...]
    pixels: tuple[tuple[int, int], ...]


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

    def work(self, *, dot_product: bool) -> TileShape:
        """The inputs of the cost model."""
        return TileShape(
            lanes=self.lanes,
            chunks=len(self.rows) * ceil(self.run / 16),
            dot_product=dot_product,
            residual=self.epilogue.residual is not None,
        )


def fits_registers(quads: int, pixels: int, *, dot_product: bool) -> bool:
    """True if a block's accumulators, inputs and weights fit 32 registers."""
    if dot_product:
        return quads * pixels <= 24 and quads * pixels + pixels + 2 <= 32
    # The permutations of the inputs (4), a product, weights, and one spread input a pixel.
    return quads * pixels + 2 * pixels + 7 <= 32


def tile_instructions(work: TileShape, quads: int, pixels: int) -> float:
    """Instructions of a block."""
    blocks = quads * pixels
    products = work.lanes * (blocks if work.dot_product else 3 * blocks + pixels)
    loads = work.chunks * pixels + work.lanes * quads / 2
    stores = quads // 4 + quads % 4 // 2 + 1.5 * (quads % 2)
    finish = 3.5 * blocks + stores * pixels
    if work.residual:
        finish += (1.0 * blocks) + stores * pixels
    return products + loads + finish + 1.5 * quads + 8


@lru_cache(maxsize=4096)
def choose_tiles(work: TileShape, quads: int, pixels: int) -> TileCut:
    """The cheapest blocks for ``quads`` by ``pixels``."""
    best: tuple[float, TileCut] | None = None
    for main in range(1, min(pixels, _MAX_PIXELS) + 1):
        sizes = [
            size
            for size in range(1, _MAX_QUADS + 1)
            if fits_registers(size, main, dot_product=work.dot_product)
        ]
        if not sizes:
            continue
        _, parts = cheapest(quads, {size: tile_instructions(work, size, main) for size in sizes})
        costs = {
            size: sum(tile_instructions(work, part, size) for part in parts)
            for size in range(1, main + 1)
        }
        total, runs = with_main_tile(pixels, main, costs)
        if best is None or total < best[0]:
            best = (total, TileCut(quads=parts, pixels=runs))
    assert best is not None
    return best[1]
