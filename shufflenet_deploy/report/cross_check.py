"""Cross-check of our figures by TFLite's own ``benchmark_model``, in lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from shufflenet_deploy import stats
from shufflenet_deploy.records import Aggregate, CrossCheck, Run
from shufflenet_deploy.report import formatting
from shufflenet_deploy.stats.attempts import CellRuns


def summary(checks: Sequence[CrossCheck], runs: Iterable[Run]) -> str:
    """Its mean next to our mean of the same cell, and their ratio; no line is left out."""
    ours = list(runs)
    tools = ", ".join(dict.fromkeys(f"{one.program} ({one.program_sha256[:12]})" for one in checks))
    lines = [f"cross-check by {tools}: the mean of its samples next to that of ours"]
    cells = formatting.place_names((one.target.host, one.cell) for one in checks)
    width = max(map(len, cells.values()))
    for one in checks:
        name = cells[one.target.host, one.cell]
        lines.append(f"  {name:<{width}}  {_line(one, mean_ns(one, ours))}")
    return "\n".join(lines)


def mean_ns(check: CrossCheck, runs: Iterable[Run]) -> float | None:
    """The median over our processes, of its cell on its host, of the mean of each.

    None where nothing was measured.

    Not the figure of the table, which is a median: some versions of the program report no median.
    """
    place = (check.target.host, check.cell)
    found = CellRuns.of([run for run in runs if (run.target.host, run.cell) == place])
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
