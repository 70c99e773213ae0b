"""Small horizontal charts as SVG whose text never scales: x is in percent, y in pixels.

A chart is as wide as its container (phone, page) while letters and strokes keep their size, colours
come from classes, so that the page's style decides on light or dark, and every mark has a tooltip.
With a fixed ``width`` the same drawing is an image of its own, for ``plots``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

#: Heights in pixels: a group's heading, a line (label above marks), the axis below all lines.
_HEADING, _LINE, _AXIS = 30, 40, 26
_MARKS_AT = 25
_BAR_HEIGHT = 14
#: The plot leaves this share of the width free on both sides, so that no mark is cut.
_MARGIN = 0.012
#: Pixels of a chart of curves, its axis included, and what is left free above them.
CURVES_HEIGHT, _CURVES_TOP = 220, 18
#: Coordinates across a strip of samples, which is stretched to the width of its place.
_STRIP_UNITS = 1000


@dataclass(frozen=True, kw_only=True)
class Key:
    """One entry of a chart's legend: a class of the style sheet and its meaning."""

    tone: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart and the words around it; ``draw(width)`` gives the SVG, fluid when None."""

    name: str
    title: str
    text: str
    keys: tuple[Key, ...]
    draw: Callable[[int | None], str]
    height: int


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Values from ``low`` to ``high`` from left to right; ``label`` formats one.

    ``gutter`` is the share of the width that stays free on the left, for the ticks of another axis.
    """

    low: float
    high: float
    label: Callable[[float], str]
    log: bool = False
    gutter: float = 0.0

    def at(self, value: float) -> float:
        """Map a value to a position: 0 is the left end, 1 the right; values are clamped."""
        scale = math.log if self.log else float
        value = min(max(value, self.low), self.high)
        share = (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))
        return _MARGIN + self.gutter + share * (1 - 2 * _MARGIN - self.gutter)

    def ticks(self) -> list[float]:
        """Round values for the grid, at most seven."""
        return _decades(self.low, self.high) if self.log else _steps(self.low, self.high)


def _steps(low: float, high: float) -> list[float]:
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _decades(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        values = [factor * 10.0**power for power in powers for factor in factors]
        inside = [value for value in values if low <= value <= high]
        if len(inside) <= 7:
            break
    return inside


@dataclass(frozen=True, kw_only=True)
class PointMark:
    """Something at ``value``: a bar from the left end, a dot, a diamond or a tick.

    ``tone`` is a class of the style sheet; ``tip`` is the tooltip.
    """

    shape: str
    value: float
    tone: str
    tip: str


@dataclass(frozen=True, kw_only=True)
class Whisker:
    """An interval, drawn as a line with end caps."""

    low: float
    high: float
    tip: str


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A part of a stacked bar, from ``low`` to ``high``."""

    low: float
    high: float
    tone: str
    tip: str


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Every sample as a point of a cloud; points keep the order of the samples from top down."""

    values: tuple[float, ...]
    tone: str


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A value that is marked over the whole height of a chart; ``tone`` and ``tip`` as of marks."""

    value: float
    tone: str
    tip: str


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Values over time as points on a line, in the order of time; ``label`` formats a point."""

    points: tuple[tuple[float, float], ...]
    tone: str
    label: Callable[[float, float], str]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart: label left, value right, marks below; ``group`` heads its lines."""

    group: str
    label: str
    value: str
    marks: tuple[PointMark | Whisker | Strip | Segment, ...]
    tone: str = ""


def chart(
    lines: Sequence[Line],
    axis: Axis,
    *,
    name: str,
    title: str,
    description: str,
    references: Sequence[Reference] = (),
    width: int | None = None,
) -> str:
    """Draw lines over one axis; the height of the drawing is ``height(lines)``.

    Args:
        lines: from top to bottom; neighbours of one group stand under its heading.
        axis: of all lines.
        name: unique on the page: letters, digits and hyphens.
        title: what a screen reader calls the chart.
        description: alternative text for screen readers.
        references: values to mark, such as "as fast as".
        width: pixels, for an image of its own; None fills the container.
    """
    body: list[str] = []
    y = 0.0
    for group, members in groupby(lines, key=lambda line: line.group):
        if group:
            body.append(f'<text class="group" x="0" y="{y + 19:g}">{escape(group)}</text>')
            y += _HEADING
        for line in members:
            body.append(_line(line, axis, y, width or _STRIP_UNITS))
            y += _LINE
    inside = f"{_grid(axis, y)}{_references(references, axis, y)}{''.join(body)}"
    return whole(inside, (name, title, description), width, height(lines))


def curves(
    series: Sequence[Curve],
    across: Axis,
    up: Axis,
    *,
    name: str,
    title: str,
    description: str,
    width: int | None = None,
) -> str:
    """Draw values over time: ``across`` is the axis of time, ``up`` that of the values.

    The height is ``CURVES_HEIGHT``; the rest is as in ``chart``.
    """
    bottom = float(CURVES_HEIGHT - _AXIS)

    def y_of(value: float) -> float:
        return bottom - (bottom - _CURVES_TOP) * up.at(value)

    levels = "".join(
        f'<line class="grid" x1="{across.gutter:.2%}" x2="100%" y1="{y_of(value):.1f}" '
        f'y2="{y_of(value):.1f}"/>'
        f'<text class="tick" x="0" y="{y_of(value) + 4:.1f}">{escape(up.label(value))}</text>'
        for value in up.ticks()
    )
    drawn = "".join(_curve(one, across, y_of, bottom, width or _STRIP_UNITS) for one in series)
    inside = f"{_grid(across, bottom)}{levels}{drawn}"
    return whole(inside, (name, title, description), width, CURVES_HEIGHT)


def _curve(
    curve: Curve, across: Axis, y_of: Callable[[float], float], bottom: float, units: int
) -> str:
    places = [(across.at(x), y_of(y)) for x, y in curve.points]
    path = "L".join(f"{share * units:.1f} {y:.1f}" for share, y in places)
    dots = "".join(
        f'<circle class="mark {curve.tone}" cx="{share:.2%}" cy="{y:.1f}" r="3.5">'
        f"{tip_of(curve.label(*point))}</circle>"
        for (share, y), point in zip(places, curve.points, strict=True)
    )
    return (
        f'<svg x="0" y="0" width="100%" height="{bottom:g}" viewBox="0 0 {units} {bottom:g}" '
        f'preserveAspectRatio="none" overflow="visible"><path class="curve {curve.tone}" '
        f'd="M{path}"/></svg>{dots}'
    )


def whole(inside: str, labels: tuple[str, str, str], width: int | None, height: int) -> str:
    """Put parts into a drawing; ``labels``: name (unique on the page), title, description."""
    name, title, description = labels
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" '
        f'width="{width or "100%"}" height="{height}" aria-labelledby="{name}-t {name}-d">'
        f'<title id="{name}-t">{escape(title)}</title>'
        f'<desc id="{name}-d">{escape(description)}</desc>{inside}</svg>'
    )


def height(lines: Sequence[Line]) -> int:
    """Pixels from the top of a chart to the bottom of its axis."""
    groups = sum(1 for group, _ in groupby(lines, key=lambda line: line.group) if group)
    return groups * _HEADING + len(lines) * _LINE + _AXIS


def _grid(axis: Axis, bottom: float) -> str:
    parts = []
    for value in axis.ticks():
        share = axis.at(value)
        anchor = "start" if share < 0.05 else "end" if share > 0.95 else "middle"
        parts.append(
            f'<line class="grid" x1="{share:.2%}" x2="{share:.2%}" y1="0" y2="{bottom:g}"/>'
            f'<text class="tick" text-anchor="{anchor}" x="{share:.2%}" y="{bottom + 16:g}">'
            f"{escape(axis.label(value))}</text>"
        )
    return "".join(parts)


def _references(references: Sequence[Reference], axis: Axis, bottom: float) -> str:
    return "".join(
        f'<line class="reference {one.tone}" x1="{axis.at(one.value):.2%}" '
        f'x2="{axis.at(one.value):.2%}" y1="0" y2="{bottom:g}">{tip_of(one.tip)}</line>'
        for one in references
    )


def _line(line: Line, axis: Axis, y: float, strip_units: int) -> str:
    marks = "".join(_mark(mark, axis, y + _MARKS_AT, strip_units) for mark in line.marks)
    return (
        f'<text class="label {line.tone}" x="0" y="{y + 12:g}">{escape(line.label)}</text>'
        f'<text class="value {line.tone}" x="100%" y="{y + 12:g}" text-anchor="end">'
        f"{escape(line.value)}</text>{marks}"
    )


def _mark(
    mark: PointMark | Whisker | Strip | Segment, axis: Axis, y: float, strip_units: int
) -> str:
    match mark:
        case Strip():
            return _strip(mark, axis, y, strip_units)
        case Segment():
            start, end = axis.at(mark.low), axis.at(mark.high)
            return (
                f'<rect class="bar {mark.tone}" x="{start:.2%}" y="{y - _BAR_HEIGHT / 2:g}" '
                f'width="{end - start:.2%}" height="{_BAR_HEIGHT}">{tip_of(mark.tip)}</rect>'
            )
        case Whisker():
            low, high = axis.at(mark.low), axis.at(mark.high)
            ends = "".join(
                f'<line class="whisker" x1="{x:.2%}" x2="{x:.2%}" y1="{y - 4:g}" y2="{y + 4:g}"/>'
                for x in (low, high)
            )
            return (
                f'<g>{tip_of(mark.tip)}<line class="whisker" x1="{low:.2%}" x2="{high:.2%}" '
                f'y1="{y:g}" y2="{y:g}"/>{ends}</g>'
            )
        case PointMark(shape="bar"):
            start = axis.at(axis.low)
            return (
                f'<rect class="bar {mark.tone}" x="{start:.2%}" y="{y - _BAR_HEIGHT / 2:g}" '
                f'width="{max(axis.at(mark.value) - start, 0.002):.2%}" height="{_BAR_HEIGHT}" '
                f'rx="2">{tip_of(mark.tip)}</rect>'
            )
        case PointMark():
            return _symbol(mark, axis.at(mark.value), y)


_SYMBOLS = {
    "dot": '<circle class="mark {tone}" r="5"/>',
    "diamond": '<path class="mark {tone}" d="M0-7.5L7.5 0L0 7.5L-7.5 0Z"/>',
    "tick": '<path class="stroke {tone}" d="M0-9V9"/>',
}


def _symbol(mark: PointMark, share: float, y: float) -> str:
    drawing = _SYMBOLS[mark.shape].format(tone=mark.tone)
    inside = f"<g>{tip_of(mark.tip)}{drawing}</g>"
    return f'<svg x="{share:.2%}" y="{y:g}" overflow="visible">{inside}</svg>'


def _strip(strip: Strip, axis: Axis, y: float, units: int) -> str:
    step = _BAR_HEIGHT / max(len(strip.values), 1)
    points = "".join(
        f"M{axis.at(value) * units:.0f} {index * step:.1f}h0"
        for index, value in enumerate(strip.values)
    )
    return (
        f'<svg x="0" y="{y - _BAR_HEIGHT / 2:g}" width="100%" height="{_BAR_HEIGHT}" '
        f'viewBox="0 0 {units} {_BAR_HEIGHT}" preserveAspectRatio="none" overflow="visible">'
        f'<path class="cloud {strip.tone}" d="{points}"/></svg>'
    )


def tip_of(text: str) -> str:
    """The tooltip of the mark that it is put into."""
    return f"<title>{escape(text)}</title>"
