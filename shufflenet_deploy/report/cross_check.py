"""Cross-check of our figures by TFLite's own ``benchmark_model``, in lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from shufflenet_deploy import stats
from shufflenet_deploy.records import Aggregate, Cell, CrossCheck, Run
from shufflenet_deploy.report import formatting
from shufflenet_deploy.stats.attempts import CellRuns


def summary(checks: Sequence[CrossCheck], runs: Iterable[Run]) -> str:
    """Its mean next to our mean of the same cell, and their ratio; no line is left out."""
    ours = list(runs)
    tools = dict.fromkeys(f"{one.program} ({one.program_sha256[:12]})" for one in checks)
    lines = [f"cross-check by {', '.join(tools)}: the mean of its samples next to that of ours"]
    names = [formatting.cell_name(one.cell) for one in checks]
    width = max(map(len, names))
    lines += [
        f"  {name:<{width}}  {_line(one, mean_ns(one.cell, ours))}"
        for name, one in zip(names, checks, strict=True)
    ]
    return "\n".join(lines)


def mean_ns(cell: Cell, runs: Iterable[Run]) -> float | None:
    """The median over our processes of the mean of each; None where nothing was measured.

    Not the figure of the table, which is a median: some versions of the program report no median.
    """
    found = CellRuns.of([run for run in runs if run.cell == cell])
    processes = stats.samples_of(found.kept)
    return stats.median([sum(one) / len(one) for one in processes]) if processes else None


def _line(one: CrossCheck, ours_ns: float | None) -> str:
    if one.aggregate is None:
        return f"failed: {one.failure.message if one.failure else 'no result'}"
    its = _milliseconds(one.aggregate)
    if ours_ns is None:
        return f"{its}; nothing of ours to compare with"
    ratio = one.aggregate.average_us * 1000 / ours_ns
    return f"{its}; ours {formatting.figure(ours_ns / formatting.SCALE)} ms, ratio {ratio:.2f}"


def _milliseconds(aggregate: Aggregate) -> str:
    low, high = aggregate.min_us / 1000, aggregate.max_us / 1000
    return (
        f"{formatting.figure(aggregate.average_us / 1000)} ms ({aggregate.count} runs, "
        f"{formatting.span(low, high)}, sd {formatting.figure(aggregate.std_us / 1000)})"
    )
