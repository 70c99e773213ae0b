"""Register blocking of int8 convolutions by matrix products (SMMLA), by instruction count.

An accumulator is two pixels by two output channels. A block has ``outputs`` accumulators for each
two of its ``pixels``; where their number is odd, the last is computed as two.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

_MAX_PIXELS = 12
_MAX_PAIRS = 16
_REGISTERS = 32
#: Bytes between neighbouring pixels whose first eight inputs are one vector.
_ADJACENT_BYTES = 8


@dataclass(frozen=True, kw_only=True)
class MatrixTileShape:
    """The work of a block for each two pixels: ``steps`` of eight inputs.

    ``loads`` are the instructions that bring the inputs of two pixels into one vector a step,
    ``loads_alone`` those of a pixel alone.
    """

    steps: int
    loads: int
    loads_alone: int
    residual: bool


def is_adjacent(pixel_bytes: int) -> bool:
    """True if eight inputs of two pixels follow each other, so that one load brings them."""
    return pixel_bytes == _ADJACENT_BYTES


def input_loads(run: int, pixel_bytes: int) -> int:
    """Instructions that load ``run`` bytes of two pixels, eight of each to a vector."""
    if is_adjacent(pixel_bytes):
        return ceil(run / 8)
    whole, rest = divmod(ceil(run / 8), 2)
    return 4 * whole + 3 * rest


@dataclass(frozen=True)
class MatrixModel:
    """The cost model: instructions of a block of ``outputs`` pairs of channels by ``pixels``."""

    shape: MatrixTileShape
    max_outputs: int = _MAX_PAIRS
    max_pixels: int = _MAX_PIXELS
    has_tail: bool = False

    def fits(self, outputs: int, pixels: int) -> bool:
        twos = ceil(pixels / 2)
        return outputs * twos <= 24 and outputs * twos + 2 * twos + 2 <= _REGISTERS

    def cost(self, outputs: int, pixels: int) -> float:
        shape, (twos, alone) = self.shape, divmod(pixels, 2)
        blocks = outputs * (twos + alone)
        loads = shape.loads * twos + shape.loads_alone * alone + shape.steps * outputs / 2
        stores = outputs // 8 + outputs % 8 // 4 + outputs % 4 // 2 + outputs % 2
        sorting = ceil(outputs / 8) * pixels
        finish = 3.5 * blocks + stores * pixels + sorting
        if shape.residual:
            finish += blocks + stores * pixels + sorting
        return shape.steps * blocks + loads + finish + 1.5 * outputs + 8

    def tail_cost(self, outputs: int, pixels: int) -> float:  # noqa: ARG002 - there is no tail
        return 0.0
