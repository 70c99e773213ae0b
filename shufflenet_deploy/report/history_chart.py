"""The chart of a history: figures with intervals over time, levels, steps, what changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from itertools import pairwise
from statistics import median

from shufflenet_deploy.report import formatting
from shufflenet_deploy.report.history import History, Point
from shufflenet_deploy.report.history_text import changes_text, figure_text, step_text, title
from shufflenet_deploy.report.svg import Axis, Chart, Key, tip_of, whole

#: Pixels from the top to the lowest figure, and below it: marks of changes, the axis of time.
_PLOT, _MARKS, _AXIS = 190, 18, 26
_TOP = 6
_UNITS = 1000
#: Share of the width for the numbers of the vertical axis: five digits on a phone.
_GUTTER = 0.14
_HEADROOM = 0.12
#: More points than this have no dots of their own, but where there is something to say.
_DOTS = 150
_TIMES = 4
_TEXT = (
    "Median of each suite over time; light: its 95 % interval. Levels are drawn as lines, steps "
    "between them as dashes."
)

#: Tones of the legend with their meaning, and when each is on a chart.
_KEYS: tuple[tuple[str, str, Callable[[History], bool]], ...] = (
    ("measured", "one suite", lambda _: True),
    ("onset", "slower from here on", lambda one: any(step.is_slower for step in one.steps)),
    ("mended", "faster from here on", lambda one: any(not step.is_slower for step in one.steps)),
    ("theory", "a condition changed", lambda one: any(point.changes for point in one.points)),
    ("tainted", "tainted, not judged", lambda one: any(point.is_tainted for point in one.points)),
    ("failed", "failed", lambda one: any(not point.runs for point in one.points)),
)


def chart(history: History, name: str) -> Chart | None:
    """The chart of a history; None where nothing was measured. ``name`` is unique on the page."""
    if all(point.interval is None for point in history.points):
        return None
    plot = _Plot.of(history)

    def draw(width: int | None) -> str:
        labels = (name, title(history), _TEXT)
        return whole(_drawing(history, plot), labels, width, _PLOT + _MARKS + _AXIS)

    keys = tuple(Key(tone=tone, text=text) for tone, text, shown in _KEYS if shown(history))
    unit = formatting.unit(history.cell.metric)
    return Chart(
        name=name,
        title=f"{'Latency' if unit == 'ms' else 'Instructions'} in {unit}",
        text=_TEXT,
        keys=keys,
        draw=draw,
        height=_PLOT + _MARKS + _AXIS,
    )


@dataclass(frozen=True, kw_only=True)
class _Plot:
    """Where moments and figures are drawn: shares of the width, pixels from the top."""

    begin: float
    end: float
    figures: Axis

    @classmethod
    def of(cls, history: History) -> _Plot:
        moments = [point.started_at.timestamp() for point in history.points]
        # The medians decide; an interval that is much wider than the others is cut.
        centers = [point.center / formatting.SCALE for point in history.points if point.center]
        low, high = min(centers), max(centers)
        reach = max((1 + 2 * _HEADROOM) * (high - low), 0.05 * high)
        middle = (low + high) / 2
        return cls(
            begin=min(moments),
            end=max(moments),
            figures=Axis(
                low=max(middle - reach / 2, 0.0),
                high=middle + reach / 2,
                label=lambda value: f"{value:.6g}",
            ),
        )

    def across(self, at: datetime) -> float:
        """A share of the plot's width."""
        if self.end == self.begin:
            return 0.5
        return (at.timestamp() - self.begin) / (self.end - self.begin)

    def x(self, at: datetime) -> str:
        """A share of the drawing's width."""
        return f"{_share(self.across(at)):.2%}"

    def y(self, value: float) -> float:
        """Pixels of a raw figure."""
        axis = self.figures
        shown = min(max(value / formatting.SCALE, axis.low), axis.high)
        return _TOP + (axis.high - shown) / (axis.high - axis.low) * (_PLOT - _TOP)


def _share(across: float) -> float:
    return _GUTTER + across * (0.985 - _GUTTER)


def _drawing(history: History, plot: _Plot) -> str:
    return "".join(
        [
            _grid(plot),
            _times(plot),
            _steps(history, plot),
            _course(history, plot),
            *(_dot(history, plot, point) for point in _dotted(history)),
            *(_changed(plot, point) for point in history.points if point.changes),
        ]
    )


def _grid(plot: _Plot) -> str:
    axis = plot.figures
    return "".join(
        f'<line class="grid" x1="{_GUTTER:.2%}" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="tick" text-anchor="end" x="{_GUTTER - 0.015:.2%}" y="{y + 4:.1f}">'
        f"{escape(axis.label(value))}</text>"
        for value in axis.ticks()
        for y in (plot.y(value * formatting.SCALE),)
    )


def _times(plot: _Plot) -> str:
    """A few moments below the plot, evenly spaced."""
    count = _TIMES if plot.end > plot.begin else 1
    parts = []
    for index in range(count):
        across = index / (count - 1) if count > 1 else 0.5
        at = datetime.fromtimestamp(plot.begin + across * (plot.end - plot.begin), tz=UTC)
        anchor = "end" if across == 1 else "middle" if across else "start"
        x = f"{_share(across):.2%}"
        parts.append(
            f'<line class="grid" x1="{x}" x2="{x}" y1="{_TOP}" y2="{_PLOT + _MARKS}"/>'
            f'<text class="tick" text-anchor="{anchor}" x="{x}" y="{_PLOT + _MARKS + 16}">'
            f"{_moment(plot, at)}</text>"
        )
    return "".join(parts)


def _moment(plot: _Plot, at: datetime) -> str:
    days = (plot.end - plot.begin) / 86_400
    return f"{at:%H:%M}" if days < 1 else f"{at:%d %b}" if days < 200 else f"{at:%b %Y}"


def _steps(history: History, plot: _Plot) -> str:
    return "".join(
        f'<line class="reference {"onset" if step.is_slower else "mended"}" '
        f'x1="{plot.x(step.point.started_at)}" x2="{plot.x(step.point.started_at)}" y1="{_TOP}" '
        f'y2="{_PLOT}">{tip_of(step_text(step))}</line>'
        for step in history.steps
    )


def _course(history: History, plot: _Plot) -> str:
    """The intervals, the medians and the levels, stretched to the width of the plot."""
    measured = [(point, point.interval) for point in history.points if point.interval]

    def x_of(point: Point) -> str:
        return f"{plot.across(point.started_at) * _UNITS:.1f}"

    upper = [f"{x_of(point)} {plot.y(found.high):.1f}" for point, found in measured]
    lower = [f"{x_of(point)} {plot.y(found.low):.1f}" for point, found in reversed(measured)]
    middle = [f"{x_of(point)} {plot.y(found.estimate):.1f}" for point, found in measured]
    levels = "".join(
        f'<path class="level" d="M{x_of(points[0])} {y:.1f}L{x_of(points[-1])} {y:.1f}"/>'
        for points in _levels(history)
        for y in (plot.y(median(point.center or 0.0 for point in points)),)
    )
    return (
        f'<svg x="{_share(0):.2%}" y="0" width="{_share(1) - _share(0):.2%}" height="{_PLOT}" '
        f'viewBox="0 0 {_UNITS} {_PLOT}" preserveAspectRatio="none" overflow="visible">'
        f'<path class="band measured" d="M{"L".join([*upper, *lower])}Z"/>'
        f'<path class="course measured" d="M{"L".join(middle)}"/>{levels}</svg>'
    )


def _levels(history: History) -> list[Sequence[Point]]:
    """The judged points of each level; none where there is no step."""
    if not history.steps:
        return []
    starts = [0, *(step.index for step in history.steps), len(history.points)]
    judged = {id(point) for point in history.judged}
    levels = [
        [point for point in history.points[start:end] if id(point) in judged]
        for start, end in pairwise(starts)
    ]
    return [points for points in levels if points]


def _dotted(history: History) -> Sequence[Point]:
    """The points with a mark of their own."""
    if len(history.points) <= _DOTS:
        return history.points
    starts = {step.index for step in history.steps}
    return [
        point
        for index, point in enumerate(history.points)
        if index in starts or not point.runs or point.is_tainted
    ]


def _dot(history: History, plot: _Plot, point: Point) -> str:
    x, when = plot.x(point.started_at), f"{point.started_at:%Y-%m-%d} {point.suite}"
    if point.interval is None:
        return (
            f'<svg x="{x}" y="{_PLOT}" overflow="visible"><path class="cross" '
            f'd="M-4-4L4 4M-4 4L4-4">{tip_of(f"{when}: {point.text}")}</path></svg>'
        )
    told = f"{when}: {figure_text(history, point.interval)}, {point.text}"
    tone = "tainted" if point.is_tainted else "measured"
    return (
        f'<circle class="mark {tone}" cx="{x}" cy="{plot.y(point.interval.estimate):.1f}" r="3.5">'
        f"{tip_of(told)}</circle>"
    )


def _changed(plot: _Plot, point: Point) -> str:
    x, y = plot.x(point.started_at), _PLOT + _MARKS / 2
    told = f"{point.started_at:%Y-%m-%d} {point.suite}: {changes_text(point.changes)}"
    return (
        f'<line class="stroke theory" x1="{x}" x2="{x}" y1="{y - 6:g}" y2="{y + 6:g}">'
        f"{tip_of(told)}</line>"
    )
