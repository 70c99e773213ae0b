"""The partition solver after every register blocking: dynamic programming over a cost model.

A convolution is cut into blocks of output channels by pixels. Each instruction set has a
``CostModel``; ``cheapest_blocking`` finds the cut of least total cost for any of them, and
``cheapest_blocking_by_outputs`` where each block of outputs may cut the pixels in its own way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Blocking:
    """The blocks: ``outputs`` of each block in order; ``pixels`` as runs of (size, times).

    Units are those of the cost model: channels or quads of channels, vectors or single pixels.
    """

    outputs: tuple[int, ...]
    pixels: tuple[tuple[int, int], ...]


class CostModel(Protocol):
    """Feasibility and cost of a block of ``outputs`` by ``pixels`` on one instruction set."""

    @property
    def max_outputs(self) -> int:
        """Most outputs in a block."""

    @property
    def max_pixels(self) -> int:
        """Most pixels in a block."""

    @property
    def has_tail(self) -> bool:
        """True if the last block of pixels computes a tail as well."""

    def fits(self, outputs: int, pixels: int) -> bool:
        """True if the block's accumulators and operands fit the registers."""

    def cost(self, outputs: int, pixels: int) -> float:
        """Cost of the block; only the order of costs matters."""

    def tail_cost(self, outputs: int, pixels: int) -> float:
        """Cost that the tail adds to a block."""


def cheapest_blocking(model: CostModel, outputs: int, pixels: int) -> Blocking:
    """The cut of ``outputs`` by ``pixels`` of least cost: one main size of pixel blocks, then rest.

    For each main size, outputs are partitioned for it, then pixels given those outputs; a tail has
    the outputs partitioned once more, for the pixel blocks as they are.
    """
    best: tuple[float, Blocking] | None = None
    for main in range(1, min(pixels, model.max_pixels) + 1):
        sizes = [size for size in range(1, model.max_outputs + 1) if model.fits(size, main)]
        if not sizes:
            continue
        _, parts = cheapest(outputs, {size: model.cost(size, main) for size in sizes})
        costs = {size: sum(model.cost(part, size) for part in parts) for size in range(1, main + 1)}
        total, runs = with_main_tile(pixels, main, costs)
        if model.has_tail:
            with_tail = {
                size: sum(times * model.cost(size, run) for run, times in runs)
                + model.tail_cost(size, runs[-1][0])
                for size in sizes
            }
            total, parts = cheapest(outputs, with_tail)
        if best is None or total < best[0]:
            best = (total, Blocking(outputs=parts, pixels=runs))
    assert best is not None
    return best[1]


def blocking_cost(model: CostModel, cut: Blocking) -> float:
    """The total cost of blocks without a tail."""
    return sum(
        times * model.cost(outputs, size) for outputs in cut.outputs for size, times in cut.pixels
    )


def cheapest_blocking_by_outputs(
    model: CostModel, outputs: int, pixels: int
) -> tuple[tuple[int, int], ...]:
    """The cut of least cost as (outputs, main size of pixel blocks) for each block of outputs.

    Outputs are partitioned by the cost of a block of one pixel. What is left of the pixels after
    the blocks of the main size is one smaller block.
    """
    most = range(1, min(outputs, model.max_outputs) + 1)
    _, parts = cheapest(outputs, {size: model.cost(size, 1) for size in most})
    return tuple((size, _main_pixels(model, size, pixels)) for size in parts)


def _main_pixels(model: CostModel, outputs: int, pixels: int) -> int:
    """The main size of pixel blocks; the smallest of those that cost the same."""

    def cost(main: int) -> float:
        sizes = {size: model.cost(outputs, size) for size in range(1, main + 1)}
        return with_main_tile(pixels, main, sizes)[0]

    mains = range(1, min(pixels, model.max_pixels) + 1)
    return min((main for main in mains if main == 1 or model.fits(outputs, main)), key=cost)


def with_main_tile(
    total: int, main: int, costs: dict[int, float]
) -> tuple[float, tuple[tuple[int, int], ...]]:
    """Partition ``total`` into ``main`` tiles and the cheapest rest: cost, runs (size, times)."""
    times, rest = divmod(total, main)
    if times > 1 and rest:
        times, rest = times - 1, rest + main
    cost, tail = cheapest(rest, costs)
    runs = [[main, times]]
    for size in tail:
        if size == runs[-1][0]:
            runs[-1][1] += 1
        else:
            runs.append([size, 1])
    return times * costs[main] + cost, tuple((size, count) for size, count in runs)


def cheapest(total: int, costs: dict[int, float]) -> tuple[float, tuple[int, ...]]:
    """The cheapest partition of ``total`` into sizes of given cost, largest first."""
    best = [0.0] + [float("inf")] * total
    last = [0] * (total + 1)
    for amount in range(1, total + 1):
        for size, cost in costs.items():
            if size <= amount and best[amount - size] + cost < best[amount]:
                best[amount] = best[amount - size] + cost
                last[amount] = size
    parts = []
    rest = total
    while rest:
        parts.append(last[rest])
        rest -= last[rest]
    return best[total], tuple(sorted(parts, reverse=True))


def even_sizes(total: int, count: int) -> list[int]:
    """``total`` in ``count`` nearly equal sizes, largest first."""
    return [total // count + (at < total % count) for at in range(count)]
