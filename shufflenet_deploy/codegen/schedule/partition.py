"""Partitioning a length into sizes of given cost: the solver behind every register blocking."""

from __future__ import annotations


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
