"""How a convolution is cut into register blocks: dynamic programming over a small cost model.

A block computes ``outputs`` channels of ``vectors`` vectors of pixels. Costs are in instructions
on machines that multiply by lane and in cycles elsewhere; only their order matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from shufflenet_deploy.export.native import neon, tail
from shufflenet_deploy.export.native.covering import along, cover
from shufflenet_deploy.export.native.machine import Machine

_ACCUMULATORS_BY_LANE = 24  # more spill in gcc and clang, whatever the arithmetic says
_LATENCY = 4


@dataclass(frozen=True, kw_only=True)
class Blocking:
    """The cut: ``outputs`` channels of each block in order; ``pixels`` as (vectors, times)."""

    outputs: tuple[int, ...]
    pixels: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class Work:
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


def fits(machine: Machine, outputs: int, vectors: int, work: Work) -> bool:
    """Whether a block's accumulators, pixels and weights fit the registers."""
    if work.assembly:
        return neon.fits(outputs, vectors, machine.lanes)
    if machine.by_lane:
        if outputs * vectors > _ACCUMULATORS_BY_LANE:
            return False
        # Compilers load the next channel's pixels while this one's are in use.
        return outputs * vectors + 2 * vectors + 2 <= machine.registers
    return outputs * vectors + vectors + 1 <= machine.registers


def _cost(machine: Machine, outputs: int, vectors: int, work: Work) -> float:
    sums = outputs * vectors
    if work.assembly:
        return neon.cost(
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
    step = max(sums, loads, _LATENCY) + 0.15 * (vectors + outputs)
    return work.depth * step + sums * (3.5 if work.residual else 2.5) + outputs + 12


def _with_tail(
    machine: Machine, main: int, pixels: tuple[tuple[int, int], ...], work: Work
) -> tuple[float, tuple[int, ...]]:
    """The price and the outputs of the best blocks for this cut of the pixels."""
    prices = {}
    for part in _sizes(machine, main, work):
        price = sum(times * _cost(machine, part, size, work) for size, times in pixels)
        prices[part] = price + _tail_cost(machine, part, pixels[-1][0], work)
    return cover(work.outputs, prices)


def _tail_cost(machine: Machine, outputs: int, vectors: int, work: Work) -> float:
    """What the tail adds to a block; registers that are lacking are loads and stores."""
    sums = tail.vectors(machine, outputs, work.tail)
    spread = 1 if work.tail == 1 else 2  # the repeated pixels, and the order of weights
    lacking = outputs * vectors + vectors + 1 + sums + spread - machine.registers
    step = sums * (1.0 if work.tail == 1 else 1.5) + max(0, lacking)
    return work.depth * step + outputs * (2.5 if work.residual else 1.5)


@lru_cache(maxsize=4096)
def choose(machine: Machine, work: Work) -> Blocking:
    """The cheapest cut of a convolution."""
    best: tuple[float, Blocking] | None = None
    for main in range(1, min(work.vectors, 12) + 1):
        parts = _partition(machine, main, work)
        if parts is None:
            continue

        def price(size: int, parts: tuple[int, ...] = parts) -> float:
            return sum(_cost(machine, part, size, work) for part in parts)

        prices = {size: price(size) for size in range(1, main + 1)}
        total, pixels = along(work.vectors, main, prices)
        if work.tail:
            total, parts = _with_tail(machine, main, pixels, work)
        if best is None or total < best[0]:
            best = (total, Blocking(outputs=parts, pixels=pixels))
    assert best is not None
    return best[1]


def _partition(machine: Machine, vectors: int, work: Work) -> tuple[int, ...] | None:
    sizes = _sizes(machine, vectors, work)
    if not sizes:
        return None
    cost = {size: _cost(machine, size, vectors, work) for size in sizes if size <= work.outputs}
    return cover(work.outputs, cost)[1]


def _sizes(machine: Machine, vectors: int, work: Work) -> list[int]:
    return [size for size in range(1, 25) if fits(machine, size, vectors, work)]
