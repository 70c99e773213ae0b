"""Register blocking of int8 convolutions by matrix products (SMMLA), by instruction count.

An accumulator is two pixels by two output channels. A block has ``outputs`` accumulators for each
two of its ``pixels``; where their number is odd, the last is computed as two. The inputs of two
pixels are brought into one vector by every block, or once for all blocks of a row (``packed``).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf

from shufflenet_deploy.codegen.schedule.partition import Blocking, blocking_cost, cheapest_blocking

#: Inputs of a product, and those at the end of a run that share one with as many of the next run.
INPUTS, _HALF = 8, 4
_MAX_PIXELS = 12
_MAX_PAIRS = 16
_REGISTERS = 32


@dataclass(frozen=True, kw_only=True)
class MatrixInputs:
    """The inputs of a pixel: ``rows`` runs of ``run`` bytes; pixels are ``pixel_bytes`` apart."""

    rows: int
    run: int
    pixel_bytes: int

    @property
    def shares_rests(self) -> bool:
        """True if the ends of two runs are one step."""
        return self.rows > 1 and 0 < self.run % INPUTS <= _HALF

    @property
    def steps_of_run(self) -> int:
        """Steps of a run, without an end that is shared."""
        return self.run // INPUTS if self.shares_rests else ceil(self.run / INPUTS)

    @property
    def steps(self) -> int:
        """Products per accumulator."""
        shared = ceil(self.rows / 2) if self.shares_rests else 0
        return self.rows * self.steps_of_run + shared

    @property
    def adjacent(self) -> bool:
        """True if eight inputs of two pixels follow each other, so that one load brings them."""
        return self.pixel_bytes == INPUTS

    @property
    def loads(self) -> int:
        """Instructions that load the inputs of two pixels, eight of each to a vector."""
        shared = self.rows // 2 if self.shares_rests else 0
        if self.adjacent:
            return self.rows * ceil(self.run / INPUTS) + shared
        whole, rest = divmod(self.steps_of_run, 2)
        rests = 3 * self.rows if self.shares_rests else 0
        return self.rows * (4 * whole + 3 * rest) + rests + shared

    @property
    def packing(self) -> int:
        """Instructions that load the inputs of two pixels and store them for other blocks."""
        whole, rest = divmod(self.steps_of_run, 2)
        return 5 * whole + 4 * rest + 3


@dataclass(frozen=True)
class MatrixModel:
    """The cost model: instructions of a block of ``outputs`` pairs of channels by ``pixels``."""

    inputs: MatrixInputs
    residual: bool
    packed: bool = False
    max_outputs: int = _MAX_PAIRS
    max_pixels: int = _MAX_PIXELS
    has_tail: bool = False

    def fits(self, outputs: int, pixels: int) -> bool:
        if self.packed and pixels % 2:
            return False
        twos = ceil(pixels / 2)
        inputs = twos if self.inputs.adjacent else 2 * twos
        return outputs * twos <= 24 and outputs * twos + inputs + 2 <= _REGISTERS

    def cost(self, outputs: int, pixels: int) -> float:
        if self.packed and pixels % 2:
            return inf
        steps, (twos, alone) = self.inputs.steps, divmod(pixels, 2)
        blocks = outputs * (twos + alone)
        loads = steps * outputs / 2
        loads += ceil(steps / 2) * twos if self.packed else self.inputs.loads * twos + steps * alone
        stores = outputs // 8 + outputs % 8 // 4 + outputs % 4 // 2 + outputs % 2
        sorting = ceil(outputs / 8) * pixels
        finish = 3.5 * blocks + stores * pixels + sorting
        if self.residual:
            finish += blocks + stores * pixels + sorting
        return steps * blocks + loads + finish + 1.5 * outputs + 8

    def tail_cost(self, outputs: int, pixels: int) -> float:  # noqa: ARG002 - there is no tail
        return 0.0


@dataclass(frozen=True, kw_only=True)
class MatrixBlocking:
    """The cheapest blocks, whether their inputs are ``packed`` first, and their cost."""

    cut: Blocking
    packed: bool
    cost: float


def choose_matrix_blocking(
    inputs: MatrixInputs, pairs: int, pixels: int, *, residual: bool, may_pack: bool
) -> MatrixBlocking:
    """The cheapest blocks for ``pairs`` by ``pixels``, with inputs packed if they ``may`` be."""
    model = MatrixModel(inputs, residual)
    cut = cheapest_blocking(model, pairs, pixels)
    direct = MatrixBlocking(cut=cut, packed=False, cost=blocking_cost(model, cut))
    if not may_pack:
        return direct
    model = MatrixModel(inputs, residual, packed=True)
    even = 2 * ceil(pixels / 2)
    cut = cheapest_blocking(model, pairs, even)
    cost = blocking_cost(model, cut) + inputs.packing * even / 2
    if cost >= direct.cost:
        return direct
    return MatrixBlocking(cut=_without(cut, even - pixels), packed=True, cost=cost)


def _without(cut: Blocking, pixels: int) -> Blocking:
    """The blocks without the last pixel, or with all."""
    if not pixels:
        return cut
    *before, (size, times) = cut.pixels
    whole = [(size, times - 1)] if times > 1 else []
    return Blocking(outputs=cut.outputs, pixels=(*before, *whole, (size - 1, 1)))
