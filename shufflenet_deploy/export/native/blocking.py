"""How a convolution is cut into register blocks: dynamic programming over a small cost model.

A block computes ``outputs`` channels of ``vectors`` vectors of pixels. Costs are in instructions
on machines that multiply by lane and in cycles elsewhere; only their order matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from shufflenet_deploy.export.native import neon
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

    ``depth`` is the number of multiply-adds that each accumulator receives. ``jump`` and ``plane``
    are the bytes between channels of the source and of the target.
    """

    outputs: int
    vectors: int
    depth: int
    residual: bool
    jump: int
    plane: int
    pointwise: bool


def fits(machine: Machine, outputs: int, vectors: int) -> bool:
    """Whether a block's accumulators, pixels and weights fit the registers."""
    if machine.by_lane:
        if outputs * vectors > _ACCUMULATORS_BY_LANE:
            return False
        # Compilers load the next channel's pixels while this one's are in use.
        return outputs * vectors + 2 * vectors + 2 <= machine.registers
    return outputs * vectors + vectors + 1 <= machine.registers


def _cost(machine: Machine, outputs: int, vectors: int, work: Work) -> float:
    sums = outputs * vectors
    if machine.by_lane and work.pointwise:
        step = sums + neon.overhead(outputs, vectors, work.jump)
        around = neon.around(outputs, vectors, work.plane, residual=work.residual)
        return work.depth * step + around
    if machine.by_lane:
        pairs = ceil(vectors / 2)  # one instruction loads or stores two vectors
        step = sums + pairs + outputs / 8 + 1.0
        epilogue = 2 * sums + outputs * (pairs + 1.5) * (2 if work.residual else 1) + 14
        return work.depth * step + epilogue
    loads = vectors + outputs / 2
    step = max(sums, loads, _LATENCY) + 0.15 * (vectors + outputs)
    return work.depth * step + sums * (3.5 if work.residual else 2.5) + outputs + 12


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
        times, rest = divmod(work.vectors, main)
        if times > 1 and rest:
            times, rest = times - 1, rest + main
        tail_cost, tail = _cover(rest, prices)
        total = times * prices[main] + tail_cost
        if best is None or total < best[0]:
            best = (total, Blocking(outputs=parts, pixels=_runs(main, times, tail)))
    assert best is not None
    return best[1]


def _runs(main: int, times: int, tail: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    runs = [[main, times]]
    for size in tail:
        if size == runs[-1][0]:
            runs[-1][1] += 1
        else:
            runs.append([size, 1])
    return tuple((size, count) for size, count in runs)


def _partition(machine: Machine, vectors: int, work: Work) -> tuple[int, ...] | None:
    sizes = [size for size in range(1, 25) if fits(machine, size, vectors)]
    if not sizes:
        return None
    cost = {size: _cost(machine, size, vectors, work) for size in sizes if size <= work.outputs}
    return _cover(work.outputs, cost)[1]


def _cover(total: int, prices: dict[int, float]) -> tuple[float, tuple[int, ...]]:
    """The cheapest way to write ``total`` as a sum of priced sizes, largest first."""
    best = [0.0] + [float("inf")] * total
    last = [0] * (total + 1)
    for amount in range(1, total + 1):
        for size, price in prices.items():
            if size <= amount and best[amount - size] + price < best[amount]:
                best[amount] = best[amount - size] + price
                last[amount] = size
    parts = []
    rest = total
    while rest:
        parts.append(last[rest])
        rest -= last[rest]
    return best[total], tuple(sorted(parts, reverse=True))
