"""How a convolution is cut into register blocks: dynamic programming over a small cost model.

A block computes ``outputs`` channels of ``vectors`` vectors of pixels. Costs are in instructions
on machines that multiply by lane and in cycles elsewhere; only their order matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.schedule import neon_register_allocation, tail
from shufflenet_deploy.codegen.schedule.partition import cheapest, with_main_tile

_MAX_ACCUMULATORS_FMA_BY_LANE = 24  # more spill in gcc and clang, whatever the arithmetic says
_FMA_LATENCY_CYCLES = 4


@dataclass(frozen=True, kw_only=True)
class RegisterBlocking:
    """The cut: ``outputs`` channels of each block in order; ``pixels`` as (vectors, times)."""

    outputs: tuple[int, ...]
    pixels: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class ConvShape:
    """What there is to cut: ``outputs`` channels of ``vectors`` vectors.

    ``depth`` is the number of multiply-adds that each accumulator receives, ``plane`` the bytes
    between channels of the target. ``floors`` says that a least value stands for the bias. There
    are ``tail`` more pixels, which the last block of pixels computes beside its vectors.
    """

    outputs: int
    vectors: int
    depth: int
    residual: bool
    plane: int
    assembly: bool
    floors: bool
    tail: int = 0


def fits_registers(machine: CpuTarget, outputs: int, vectors: int, work: ConvShape) -> bool:
    """Whether a block's accumulators, pixels and weights fit the registers."""
    if work.assembly:
        return neon_register_allocation.fits_registers(outputs, vectors, work.depth, machine.lanes)
    if machine.by_lane:
        if outputs * vectors > _MAX_ACCUMULATORS_FMA_BY_LANE:
            return False
        # Compilers load the next channel's pixels while this one's are in use.
        return outputs * vectors + 2 * vectors + 2 <= machine.registers
    return outputs * vectors + vectors + 1 <= machine.registers


def _block_cost(machine: CpuTarget, outputs: int, vectors: int, work: ConvShape) -> float:
    sums = outputs * vectors
    if work.assembly:
        return neon_register_allocation.block_instructions(
            outputs,
            vectors,
            work.depth,
            work.plane,
            machine.lanes,
            residual=work.residual,
            floors=work.floors,
            ordered=machine.ordered,
        )
    if machine.by_lane:
        pairs = ceil(vectors / 2)  # one instruction loads or stores two vectors
        step = sums + pairs + outputs / 8 + 1.0
        epilogue = 2 * sums + outputs * (pairs + 1.5) * (2 if work.residual else 1) + 14
        return work.depth * step + epilogue
    loads = vectors + outputs / 2
    step = max(sums, loads, _FMA_LATENCY_CYCLES) + 0.15 * (vectors + outputs)
    return work.depth * step + sums * (3.5 if work.residual else 2.5) + outputs + 12


def _output_blocks_with_tail(
    machine: CpuTarget, main: int, pixels: tuple[tuple[int, int], ...], work: ConvShape
) -> tuple[float, tuple[int, ...]]:
    """The price and the outputs of the best blocks for this cut of the pixels."""
    prices = {}
    for part in _block_sizes(machine, main, work):
        price = sum(times * _block_cost(machine, part, size, work) for size, times in pixels)
        prices[part] = price + _tail_cost(machine, part, pixels[-1][0], work)
    return cheapest(work.outputs, prices)


def _tail_cost(machine: CpuTarget, outputs: int, vectors: int, work: ConvShape) -> float:
    """What the tail adds to a block; registers that are lacking are loads and stores."""
    sums = tail.packed_tail_vectors(machine, outputs, work.tail)
    spread = 1 if work.tail == 1 else 2  # the repeated pixels, and the order of weights
    lacking = outputs * vectors + vectors + 1 + sums + spread - machine.registers
    step = sums * (1.0 if work.tail == 1 else 1.5) + max(0, lacking)
    return work.depth * step + outputs * (2.5 if work.residual else 1.5)


@lru_cache(maxsize=4096)
def choose_blocking(machine: CpuTarget, work: ConvShape) -> RegisterBlocking:
    """The cheapest cut of a convolution."""
    best: tuple[float, RegisterBlocking] | None = None
    for main in range(1, min(work.vectors, 12) + 1):
        parts = _output_blocks(machine, main, work)
        if parts is None:
            continue

        def price(size: int, parts: tuple[int, ...] = parts) -> float:
            return sum(_block_cost(machine, part, size, work) for part in parts)

        prices = {size: price(size) for size in range(1, main + 1)}
        total, pixels = with_main_tile(work.vectors, main, prices)
        if work.tail:
            total, parts = _output_blocks_with_tail(machine, main, pixels, work)
        if best is None or total < best[0]:
            best = (total, RegisterBlocking(outputs=parts, pixels=pixels))
    assert best is not None
    return best[1]


def _output_blocks(machine: CpuTarget, vectors: int, work: ConvShape) -> tuple[int, ...] | None:
    sizes = _block_sizes(machine, vectors, work)
    if not sizes:
        return None
    cost = {
        size: _block_cost(machine, size, vectors, work) for size in sizes if size <= work.outputs
    }
    return cheapest(work.outputs, cost)[1]


def _block_sizes(machine: CpuTarget, vectors: int, work: ConvShape) -> list[int]:
    return [size for size in range(1, 25) if fits_registers(machine, size, vectors, work)]
