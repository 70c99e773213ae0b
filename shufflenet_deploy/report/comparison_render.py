"""Renderings of a comparison: for a terminal, and as Markdown for a pull request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from io import StringIO

from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from shufflenet_deploy.records import Metric
from shufflenet_deploy.report import formatting, numerals
from shufflenet_deploy.report.comparison import (
    CellChange,
    ChangeStatus,
    ComparedFigure,
    SuiteComparison,
)
from shufflenet_deploy.report.markdown import escape
from shufflenet_deploy.report.run_conditions import ConditionDifference

_STYLES = {
    ChangeStatus.FASTER: "green",
    ChangeStatus.SLOWER: "yellow",
    ChangeStatus.SAME: "dim",
    ChangeStatus.REGRESSION: "bold red",
    ChangeStatus.TAINTED: "bold yellow",
    ChangeStatus.FAILED: "bold red",
    ChangeStatus.MISSING: "dim",
}


def terminal(comparison: SuiteComparison, *, width: int | None = None, color: bool = False) -> str:
    """The comparison as text.

    Args:
        comparison: what to show.
        width: columns of the terminal; None takes the terminal's, else 80.
        color: whether ANSI colours may be used; ``NO_COLOR`` in the environment still wins.
    """
    stream = StringIO()
    console = Console(
        file=stream, width=width, force_terminal=color, highlight=False, emoji=False, markup=False
    )
    for line in _sides(comparison):
        console.print(Text(line))
    grid = Grid(box=box.HORIZONTALS, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    grid.add_column("cell", overflow="fold")
    for name in ("control", "treatment"):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("ratio", justify="right", no_wrap=True)
    grid.add_column("verdict", overflow="fold")
    for change in _shared(comparison):
        ratio, interval = _ratio(change)
        shown = Text(ratio, style="bold")
        if interval:
            shown.append(f"\n{interval}", style="not bold")
        grid.add_row(
            Text(change.title),
            Text(_figure(change.control, change.metric)),
            Text(_figure(change.treatment, change.metric)),
            shown,
            Text(change.verdict.value, style=_STYLES[change.verdict]),
        )
    console.print(grid)
    for line in _remarks(comparison):
        console.print(Text(line, style="yellow"))
    for line in (*_unshared(comparison), *_conditions(comparison.differences)):
        console.print(Text(line))
    console.print(Text(_reading(comparison), style="dim"))
    console.print(Text(summary(comparison), style="bold"))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def markdown(comparison: SuiteComparison) -> str:
    """The comparison as GitHub's Markdown, its result first."""
    lines = [
        f"**{escape(summary(comparison))}**",
        "",
        *(f"{escape(line)}  " for line in _sides(comparison)),
        "",
        "| Cell | Control | Treatment | Ratio | Verdict |",
        "| :-- | --: | --: | --: | :-- |",
    ]
    for change in _shared(comparison):
        ratio, interval = _ratio(change)
        verdict = escape(change.verdict.value)
        cells = (
            escape(change.title),
            escape(_figure(change.control, change.metric)),
            escape(_figure(change.treatment, change.metric)),
            f"**{ratio}** ({interval})" if interval else ratio,
            f"**{verdict}**" if change in comparison.regressions else verdict,
        )
        lines.append(f"| {' | '.join(cells)} |")
    listed = (
        _remarks(comparison),
        [*_unshared(comparison), *_conditions(comparison.differences)],
    )
    for part in listed:
        lines += ["", *(f"- {escape(line)}" for line in part)] if part else []
    lines += ["", escape(_reading(comparison))]
    return "\n".join(lines) + "\n"


def summary(comparison: SuiteComparison) -> str:
    """Cell counts by status, worst first."""
    counts = Counter(change.verdict for change in comparison.changes)
    worst_first = (
        ChangeStatus.FAILED,
        ChangeStatus.REGRESSION,
        ChangeStatus.TAINTED,
        ChangeStatus.SLOWER,
        ChangeStatus.FASTER,
        ChangeStatus.SAME,
        ChangeStatus.MISSING,
    )
    cells = "cell" if len(comparison.changes) == 1 else "cells"
    counted = ", ".join(
        f"{counts[verdict]} {verdict.value}"
        + ("s" if verdict is ChangeStatus.REGRESSION and counts[verdict] > 1 else "")
        for verdict in worst_first
        if counts[verdict]
    )
    return f"{len(comparison.changes)} {cells}: {counted}"


def _shared(comparison: SuiteComparison) -> list[CellChange]:
    return [change for change in comparison.changes if change.verdict is not ChangeStatus.MISSING]


def _remarks(comparison: SuiteComparison) -> list[str]:
    return [
        f"{change.title}: {remark}" for change in _shared(comparison) for remark in change.remarks
    ]


def _unshared(comparison: SuiteComparison) -> list[str]:
    """The cells that cannot be compared, one line per reason."""
    found: dict[str, list[str]] = {}
    for change in comparison.changes:
        if change.verdict is ChangeStatus.MISSING:
            reason = next((one for one in change.remarks if one.endswith("not measured")), "")
            found.setdefault(reason or change.remarks[0], []).append(change.title)
    return [f"{reason}: {', '.join(titles)}" for reason, titles in found.items()]


def _sides(comparison: SuiteComparison) -> list[str]:
    return [
        f"{word:<9}  {side.suite} on {side.host}, {side.runs} runs"
        for word, side in (("control", comparison.control), ("treatment", comparison.treatment))
    ]


def _figure(figure: ComparedFigure | None, metric: Metric) -> str:
    if figure is None:
        return formatting.ABSENT
    sign = formatting.SIGNS[figure.stability.partition(":")[0]]
    return f"{sign}{formatting.figure(figure.median / formatting.SCALE)} {formatting.unit(metric)}"


def _ratio(change: CellChange) -> tuple[str, str]:
    """The ratio with its interval, to a tenth of a percent."""
    if change.ratio is None or change.low is None or change.high is None:
        return formatting.ABSENT, ""
    return f"{change.ratio:.3f}", f"{change.low:.3f}–{change.high:.3f}"


def _conditions(differences: Sequence[ConditionDifference]) -> list[str]:
    """One line per condition; one that differs in another way in every cell names an example."""
    lines = []
    for name in dict.fromkeys(one.condition for one in differences):
        alike = [one for one in differences if one.condition == name]
        first, cells = alike[0], sum(one.cells for one in alike)
        example = "" if len(alike) == 1 else ", such as"
        lines.append(
            f"differs in {cells} cell{'s' if cells > 1 else ''}: {name}{example} "
            f"{first.control} → {first.treatment}"
        )
    return lines or ["no condition that was recorded differs"]


def _reading(comparison: SuiteComparison) -> str:
    return (
        "Ratio: the treatment's cost over the control's, below 1 is faster, with its 95 % "
        "confidence interval; regression: certainly slower, and by "
        f"{numerals.short(100 * comparison.threshold)} % or more, where not only the conditions "
        "differ; tainted: something else was measured too, so no verdict. The two were not "
        "measured in the same rounds."
    )
