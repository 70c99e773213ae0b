"""Histories as one HTML file: no network, no script; what became slower comes first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shufflenet_deploy.report import formatting, history_text
from shufflenet_deploy.report.history import History, Point
from shufflenet_deploy.report.history_chart import chart
from shufflenet_deploy.report.html import render_page
from shufflenet_deploy.report.svg import Chart

#: The newest suites of each cell that are listed; ``history --json`` has all.
_LISTED = 250


@dataclass(frozen=True, kw_only=True)
class _Section:
    """A history and its rendered parts, for the template; ``id`` is its anchor."""

    id: str
    history: History
    title: str
    summary: str
    chart: Chart | None
    newest: str
    tone: str
    last: str
    steps: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, ...], ...]


def html(histories: Sequence[History]) -> str:
    """The page of some histories; those that became slower come first."""
    ordered = sorted(histories, key=lambda one: one.slowdown is None)
    sections = tuple(_section(one, f"h{number}") for number, one in enumerate(ordered, start=1))
    return render_page(
        "history.html.j2",
        sections=sections,
        headline=_headline(histories),
        meaning=history_text.meaning(histories),
        listed=_LISTED,
    )


def charts(histories: Sequence[History]) -> list[tuple[str, Chart]]:
    """The charts with the titles of their cells, for image files."""
    found = [
        (history_text.title(one), chart(one, f"history-{number}"))
        for number, one in enumerate(histories, start=1)
    ]
    return [(title, drawn) for title, drawn in found if drawn is not None]


def _section(history: History, name: str) -> _Section:
    last = history.steps[-1] if history.steps else None
    newest = next((point for point in reversed(history.points) if point.interval), None)
    tone = "" if last is None else "bad" if last.is_slower else "good"
    return _Section(
        id=name,
        history=history,
        title=history_text.title(history),
        summary=history_text.summary(history),
        chart=chart(history, f"{name}-chart"),
        newest=history_text.figure_text(history, newest.interval)
        if newest is not None and newest.interval is not None
        else "failed",
        tone=tone,
        last=history_text.change_text(last) if last is not None else "no step",
        steps=tuple(
            ("bad" if step.is_slower else "good", history_text.step_text(step))
            for step in history.steps
        ),
        rows=tuple(_row(history, point) for point in reversed(history.points[-_LISTED:])),
    )


def _row(history: History, point: Point) -> tuple[str, ...]:
    interval = point.interval
    return (
        f"{point.started_at:%Y-%m-%d %H:%M}",
        point.suite,
        history_text.figure_text(history, interval) if interval else formatting.ABSENT,
        point.text,
        history_text.changes_text(point.changes) or formatting.ABSENT,
    )


def _headline(histories: Sequence[History]) -> str:
    slower = sum(1 for one in histories if one.slowdown is not None)
    cells = "1 cell" if len(histories) == 1 else f"{len(histories)} cells"
    if not slower:
        return f"No slowdown in {cells}"
    return f"{slower} of {cells} became slower"
