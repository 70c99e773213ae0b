"""Histories in words: lines for a terminal with a sparkline, and one JSON document."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

from shufflenet_deploy.records import Metric
from shufflenet_deploy.report import formatting, numerals
from shufflenet_deploy.report.history import ConditionChange, History, Point, Step
from shufflenet_deploy.stats import Interval, change_points

#: The newest suites, which are listed with their intervals.
NEWEST = 8
_BARS = "▁▂▃▄▅▆▇█"
_GAP = " "
#: Marks below the sparkline; the first that is true of a column is shown.
SLOWER, FASTER, CHANGED, FAILED, TAINTED = "▲", "▼", "·", "×", "!"
_DATE = "%Y-%m-%d"


def title(history: History) -> str:
    """The cell and its host in one line."""
    cell = history.cell.cell
    options = ", ".join(f"{name}={value}" for name, value in sorted(cell.options.items()))
    parts = [
        cell.model + (f" [{options}]" if options else ""),
        str(cell.resolution),
        cell.precision.value,
        cell.runtime,
        formatting.threads(cell.threads),
    ]
    counted = ", instructions" if history.cell.metric is Metric.INSTRUCTIONS else ""
    return f"{' · '.join(parts)} on {history.cell.host}{counted}"


def terminal(histories: Sequence[History], *, width: int = 80) -> str:
    """The histories as text; the newest points are listed where there is only one.

    Args:
        histories: what to show.
        width: columns of the terminal.
    """
    blocks = [_block(one, width, listed=len(histories) == 1) for one in histories]
    return (
        "".join(f"{_wrapped(line, width)}\n" for block in blocks for line in [*block, ""])
        + f"{_wrapped(legend(histories), width)}\n"
    )


def _wrapped(line: str, width: int) -> str:
    """A line broken between words; what is aligned keeps its spaces."""
    if len(line) <= width:
        return line
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.fill(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False,
        drop_whitespace=True, replace_whitespace=False,
    )  # fmt: skip


def legend(histories: Sequence[History]) -> str:
    """What the marks and the steps mean."""
    marks = {
        f"{SLOWER} slower, {FASTER} faster from here on": any(one.steps for one in histories),
        f"{CHANGED} a condition changed": any(p.changes for one in histories for p in one.points),
        f"{TAINTED} tainted, not judged": any(
            p.is_tainted for one in histories for p in one.points
        ),
        f"{FAILED} failed": any(not p.runs for one in histories for p in one.points),
    }
    parts = [text for text, shown in marks.items() if shown]
    return "; ".join([*parts, meaning(histories)])


def meaning(histories: Sequence[History]) -> str:
    """The test that a step has passed."""
    if all(one.cell.metric is Metric.INSTRUCTIONS for one in histories):
        return "instructions have no noise: every change by 0.1 % is a step"
    rate = numerals.short(100 * histories[0].false_alarms)
    return f"where nothing changed, a step is told in at most {rate} % of histories"


def summary(history: History) -> str:
    """How many suites there are, from when to when, and how many of them are not judged."""
    points = history.points
    first, last = points[0].started_at, points[-1].started_at
    parts = [f"{_count(len(points), 'suite')}, {first:{_DATE}} to {last:{_DATE}}"]
    parts += [f"{history.earlier} earlier (--last)"] if history.earlier else []
    tainted = sum(1 for point in points if point.runs and point.is_tainted)
    failed = sum(1 for point in points if not point.runs)
    parts += [f"{tainted} tainted"] if tainted else []
    parts += [f"{failed} failed"] if failed else []
    if history.is_too_short:
        needed = change_points.least_values(history.false_alarms)
        parts.append(f"too few for steps: {needed} that are judged are needed")
    elif not history.steps:
        parts.append("no step")
    return ", ".join(parts)


def step_text(step: Step) -> str:
    """One step: when, by how much, and what else changed there."""
    when = f"{step.point.started_at:{_DATE}} {step.point.suite}"
    return f"{when}: {change_text(step)}; {changes_text(step.changes) or 'same conditions'}"


def change_text(step: Step) -> str:
    """By how much the figure changed, with its 95 % interval."""
    words = "slower" if step.is_slower else "faster"
    ratio = step.change if step.is_slower else step.change.inverse
    ends = f"{_ratio(ratio.low)} to {_ratio(ratio.high)}"
    return f"{words} by {_ratio(ratio.estimate)} ({ends})"


def changes_text(changes: Iterable[ConditionChange]) -> str:
    """Conditions that changed, on one line."""
    return ", ".join(change.text for change in changes)


def figure_text(history: History, interval: Interval) -> str:
    """A figure with its unit and interval."""
    low, high = interval.low / formatting.SCALE, interval.high / formatting.SCALE
    middle = formatting.figure(interval.estimate / formatting.SCALE)
    return f"{middle} {formatting.unit(history.cell.metric)} ({formatting.span(low, high)})"


def as_json(histories: Sequence[History]) -> dict[str, Any]:
    """The document of ``history --json``."""
    return {
        "false_alarms": histories[0].false_alarms if histories else None,
        "slower": sum(1 for one in histories if one.slowdown is not None),
        "histories": [_history_json(one) for one in histories],
    }


# --- the terminal --------------------------------------------------------------------------------


def _block(history: History, width: int, *, listed: bool) -> list[str]:
    lines = [title(history), f"  {summary(history)}", *_sparkline(history, max(10, width - 4))]
    lines += [f"  {_sign(step)} {step_text(step)}" for step in history.steps]
    if listed:
        lines += ["", *_newest(history)]
    return lines


def _sign(step: Step) -> str:
    return SLOWER if step.is_slower else FASTER


def _sparkline(history: History, width: int) -> list[str]:
    """Bars of the figures, each the median of its suites, and a line of marks below."""
    centers = [point.center for point in history.points if point.center is not None]
    if not centers:
        return []
    low, high = min(centers), max(centers)
    columns = _columns(len(history.points), width)
    bars = "".join(_bar(history.points[start:end], low, high) for start, end in columns)
    marks = "".join(_mark(history, start, end) for start, end in columns)
    unit = formatting.unit(history.cell.metric)
    ends = formatting.span(low / formatting.SCALE, high / formatting.SCALE)
    return [f"  {bars}", *([f"  {marks}".rstrip()] if marks.strip() else []), f"  {ends} {unit}"]


def _columns(count: int, width: int) -> list[tuple[int, int]]:
    """Ranges of points, one for each column."""
    shown = min(count, width)
    edges = [index * count // shown for index in range(shown + 1)]
    return list(pairwise(edges))


def _bar(points: Sequence[Point], low: float, high: float) -> str:
    centers = [point.center for point in points if point.center is not None]
    if not centers:
        return _GAP
    share = (median(centers) - low) / (high - low) if high > low else 0.0
    return _BARS[min(int(share * len(_BARS)), len(_BARS) - 1)]


def _mark(history: History, start: int, end: int) -> str:
    for step in history.steps:
        if start <= step.index < end:
            return _sign(step)
    points = history.points[start:end]
    marks = {
        FAILED: any(not point.runs for point in points),
        TAINTED: any(point.is_tainted for point in points),
        CHANGED: any(point.changes for point in points),
    }
    return next((mark for mark, shown in marks.items() if shown), " ")


def _newest(history: History) -> list[str]:
    points = history.points[-NEWEST:]
    width = max(len(point.suite) for point in points)
    return [
        f"  {point.started_at:{_DATE}}  {point.suite:<{width}}  {_told(history, point)}"
        for point in points
    ]


def _told(history: History, point: Point) -> str:
    if point.interval is None:
        return point.text
    told = figure_text(history, point.interval)
    if point.state != "stable":
        told = f"{formatting.SIGNS[point.state]}{told} {point.text}"
    return told + (f"; {changes_text(point.changes)}" if point.changes else "")


def _ratio(value: float) -> str:
    """A ratio close to 1 as a change in percent, a large one as a factor."""
    return f"{value:.2f}×" if value >= 2 else f"{100 * (value - 1):.1f} %"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


# --- JSON ----------------------------------------------------------------------------------------


def _history_json(history: History) -> dict[str, Any]:
    return {
        "host": history.cell.host,
        "metric": history.cell.metric.value,
        "unit": history.cell.metric.unit,
        "cell": history.cell.cell.model_dump(mode="json"),
        "judged": len(history.judged),
        "earlier": history.earlier,
        "last_step": _direction(history.steps[-1]) if history.steps else None,
        "steps": [_step_json(step) for step in history.steps],
        "points": [_point_json(point) for point in history.points],
    }


def _direction(step: Step) -> str:
    return "slower" if step.is_slower else "faster"


def _step_json(step: Step) -> dict[str, Any]:
    return {
        "suite": step.point.suite,
        "started_at": step.point.started_at.isoformat(),
        "direction": _direction(step),
        "ratio": step.change.estimate,
        "low": step.change.low,
        "high": step.change.high,
        "changes": _changes_json(step.changes),
    }


def _point_json(point: Point) -> dict[str, Any]:
    interval = point.interval
    return {
        "suite": point.suite,
        "started_at": point.started_at.isoformat(),
        "median": interval.estimate if interval else None,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "processes": len(point.runs),
        "verdict": point.state,
        "text": point.text,
        "changes": _changes_json(point.changes),
    }


def _changes_json(changes: Iterable[ConditionChange]) -> list[dict[str, str]]:
    return [
        {"condition": one.condition, "before": one.before, "after": one.after} for one in changes
    ]
