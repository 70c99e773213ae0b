"""A sustained measurement for readers: a summary for the terminal, charts over time for a page."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from shufflenet_deploy.analysis.sustained import Course, Findings, Moment, SpeedupCourse, analyse
from shufflenet_deploy.records import Cell, Sustained
from shufflenet_deploy.report import formatting
from shufflenet_deploy.report.numerals import short
from shufflenet_deploy.report.page_part import Part
from shufflenet_deploy.report.svg import Axis, Chart, Key
from shufflenet_deploy.stats import Interval

#: Heights in pixels: a panel with its label above it, the time axis below all of them.
_LABEL, _PLOT, _GAP, _AXIS = 18, 56, 14, 26
_UNITS = 1000
#: Share of the width for the numbers of the vertical axes: five digits on a phone.
_GUTTER = 0.12
#: A panel's grid keeps this share of its height above and below the values.
_HEADROOM = 0.1

_MEASURED = Key(tone="measured", text="median of a turn; light: 10th to 90th percentile")
_BASELINE, _TRACE = "the same of the baseline", "frequency and temperature of the target"
_ONSET = Key(tone="onset", text="throttling begins")

Points = Sequence[tuple[float, float]]


def heading(measured: Sustained) -> str:
    """The setting of the models that took turns, and the duration."""
    cell = measured.cells[0]
    threads = formatting.threads(cell.threads)
    runtime = " ".join(filter(None, (cell.runtime, measured.runtime_version)))
    return (
        f"sustained for {duration(measured.duration_secs)}: {runtime} · {cell.precision.value} · "
        f"{cell.resolution} · {threads} · {measured.target.host}"
    )


def summary(measured: Sustained) -> str:
    """All findings, in lines for a terminal."""
    if measured.failure is not None:
        return f"{heading(measured)}\n  failed: {measured.failure.message}"
    found = analyse(measured)
    window = f"{found.window_secs:.0f} s"
    lines = [f"{heading(measured)}, the first {window} against the last {window}"]
    width = max(len(one.cell.model) for one in found.courses)
    lines += [f"  {one.cell.model:<{width}}  {_course(one)}" for one in found.courses]
    lines += [f"  {one.cell.model:<{width}}  {_speedup(one)}" for one in found.speedups]
    lines.append(f"  ranking: {ranking(found)}")
    lines.append(f"  throttling: {_throttling(found)}")
    return "\n".join(lines)


def ranking(found: Findings) -> str:
    """The ranking of the models at the beginning against that at the end."""
    if found.overtaking:
        pairs = (f"{winner.model} overtakes {loser.model}" for loser, winner in found.overtaking)
        return f"changes: {', '.join(pairs)}"
    if found.fastest_first == found.fastest_last:
        return f"holds: {' < '.join(map(_name, found.fastest_first))}"
    return "not distinguishable: the order differs within the intervals only"


def duration(secs: float) -> str:
    """``10 min`` or ``90 s``."""
    return f"{short(secs / 60)} min" if secs >= 60 and secs % 60 == 0 else f"{short(secs)} s"


def _course(one: Course) -> str:
    return f"{_ends(one)}, {_change(one.slowdown, 'slower', 'faster')}"


def _ends(one: Course) -> str:
    first, last = one.first.estimate / formatting.SCALE, one.last.estimate / formatting.SCALE
    return f"{formatting.figure(first)} -> {formatting.figure(last)} ms"


def _speedup(one: SpeedupCourse) -> str:
    first, last = one.first, one.last
    return (
        f"speedup {formatting.ratio(first.estimate)} ({formatting.span(first.low, first.high)}) -> "
        f"{formatting.ratio(last.estimate)} ({formatting.span(last.low, last.high)}), "
        f"{_change(one.change, 'higher', 'lower')}"
    )


def _change(ratio: Interval, more: str, less: str) -> str:
    """A factor as a change in percent with its interval."""
    if not ratio.distinguishable:
        return f"no distinguishable change ({ratio.low - 1:+.1%} to {ratio.high - 1:+.1%})"
    word = more if ratio.estimate > 1 else less
    return f"{abs(ratio.estimate - 1):.1%} {word} ({ratio.low - 1:+.1%} to {ratio.high - 1:+.1%})"


def _throttling(found: Findings) -> str:
    if found.throttling is None:
        return "none seen"
    return f"began after {found.throttling.at_secs:.0f} s: {found.throttling.reason}"


def _name(cell: Cell) -> str:
    return cell.model


def part(measured: Sustained, prefix: str) -> Part:
    """A sustained measurement as a section of the page; ``prefix`` makes its names unique there."""
    first, _, rest = summary(measured).partition("\n")
    lines = tuple((line.strip(),) for line in rest.splitlines())
    drawn = charts(measured, prefix)
    label = f"sustained {duration(measured.duration_secs)} · {_setting(measured)}"
    return Part(title=first, label=label, charts=drawn, header=("What was found",), rows=lines)


def _setting(measured: Sustained) -> str:
    cell = measured.cells[0]
    return f"{cell.runtime} · {cell.precision.value} · {formatting.threads(cell.threads)}"


# --- the chart -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Panel:
    """One line over time with its own scale; ``band`` is drawn below it."""

    label: str
    value: str
    tone: str
    points: Points
    band: Sequence[tuple[float, float, float]] = ()


def charts(measured: Sustained, prefix: str) -> tuple[Chart, ...]:
    """Latency of each model over time, above frequency and temperature; none after a failure."""
    if not measured.slices:
        return ()
    found = analyse(measured)
    panels = [*_models(measured, found), *_trace(measured)]
    end_secs = max(point[0] for panel in panels for point in panel.points) or 1.0
    onset = found.throttling.at_secs if found.throttling else None
    text = (
        f"Models take turns of one second for {duration(measured.duration_secs)}; each scale is "
        f"its own. Ranking {ranking(found)}. Throttling: {_throttling(found)}."
    )
    slug = re.sub(r"[^A-Za-z0-9]+", "-", _setting(measured).replace(" thread", "thread"))
    name = f"{prefix}-{slug}-sustained"
    keys = [_MEASURED]
    grey = [_BASELINE] if any(one.cell.model == measured.baseline for one in found.courses) else []
    grey += [_TRACE] if len(panels) > len(found.courses) else []
    keys += [Key(tone="baseline", text="; ".join(grey))] if grey else []
    keys += [_ONSET] if onset is not None else []
    height = len(panels) * (_LABEL + _PLOT + _GAP) + _AXIS

    def draw(width: int | None) -> str:
        return _drawing(panels, end_secs, onset, name=name, text=text, width=width, height=height)

    return (
        Chart(
            name=name,
            title=f"Latency over {duration(measured.duration_secs)}",
            text=text,
            keys=tuple(keys),
            draw=draw,
            height=height,
        ),
    )


def _models(measured: Sustained, found: Findings) -> list[_Panel]:
    return [
        _Panel(
            label=f"{one.cell.model}, ms",
            value=_ends(one),
            tone="baseline" if one.cell.model == measured.baseline else "measured",
            points=[(moment.at_secs, moment.median / formatting.SCALE) for moment in one.moments],
            band=[_band(moment) for moment in one.moments],
        )
        for one in found.courses
    ]


def _band(moment: Moment) -> tuple[float, float, float]:
    return moment.at_secs, moment.p10 / formatting.SCALE, moment.p90 / formatting.SCALE


def _trace(measured: Sustained) -> list[_Panel]:
    """The fastest core and the hottest sensor, where the target reports them."""
    frequency = [
        (point.at_ns / 1e9, max(point.frequency_khz.values()) / 1000)
        for point in measured.trace
        if point.frequency_khz
    ]
    heat = [
        (point.at_ns / 1e9, max(point.temperature_c.values()))
        for point in measured.trace
        if point.temperature_c
    ]
    panels = []
    for label, points in (("fastest core, MHz", frequency), ("hottest sensor, °C", heat)):
        if points:
            value = f"{points[0][1]:.0f} -> {points[-1][1]:.0f}"
            panels.append(_Panel(label=label, value=value, tone="baseline", points=points))
    return panels


def _drawing(
    panels: Sequence[_Panel],
    end_secs: float,
    onset_secs: float | None,
    *,
    name: str,
    text: str,
    width: int | None,
    height: int,
) -> str:
    body, y = [], 0.0
    bottom = height - _AXIS
    for secs in Axis(low=0, high=end_secs, label=_tick).ticks():
        share = _across(secs / end_secs)
        anchor = "end" if share > 0.95 else "middle"
        body.append(
            f'<line class="grid" x1="{share:.2%}" x2="{share:.2%}" y1="0" y2="{bottom}"/>'
            f'<text class="tick" text-anchor="{anchor}" x="{share:.2%}" y="{bottom + 16}">'
            f"{_tick(secs)} s</text>"
        )
    if onset_secs is not None:
        share = _across(min(onset_secs / end_secs, 1.0))
        body.append(
            f'<line class="reference onset" x1="{share:.2%}" x2="{share:.2%}" y1="0" y2="{bottom}">'
            f"<title>throttling begins</title></line>"
        )
    for panel in panels:
        body.append(_panel(panel, y, end_secs))
        y += _LABEL + _PLOT + _GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" '
        f'width="{width or "100%"}" height="{height}" aria-labelledby="{name}-t {name}-d">'
        f'<title id="{name}-t">Latency over time</title><desc id="{name}-d">{escape(text)}</desc>'
        f"{''.join(body)}</svg>"
    )


def _panel(panel: _Panel, y: float, end_secs: float) -> str:
    values = [value for _, value in panel.points]
    values += [value for _, low, high in panel.band for value in (low, high)]
    low, high = min(values), max(values)
    # A level line stands in the middle, not at an edge that would look like a limit.
    reach = max((1 + 2 * _HEADROOM) * (high - low), 0.02 * abs(high), 1e-9)
    axis = Axis(low=(low + high - reach) / 2, high=(low + high + reach) / 2, label=_tick)
    low, high = axis.low, axis.high

    def x_of(secs: float) -> str:
        return f"{min(secs / end_secs, 1.0) * _UNITS:.1f}"

    def y_of(value: float) -> str:
        return f"{(high - value) / (high - low) * _PLOT:.1f}"

    return (
        f'<text class="label" x="0" y="{y + 12:g}">{escape(panel.label)}</text>'
        f'<text class="value" x="100%" y="{y + 12:g}" text-anchor="end">{escape(panel.value)}'
        f"</text>{_levels(axis, y + _LABEL)}"
        f'<svg x="{_GUTTER:.2%}" y="{y + _LABEL:g}" width="{1 - _GUTTER:.2%}" height="{_PLOT}" '
        f'viewBox="0 0 {_UNITS} {_PLOT}" preserveAspectRatio="none" overflow="visible">'
        f"{_band_path(panel, x_of, y_of)}"
        f'<path class="course {panel.tone}" d="{_path(panel.points, x_of, y_of)}"/></svg>'
    )


def _levels(axis: Axis, top: float) -> str:
    """Lines of the grid with their values left of them: the lowest, the highest, one between."""
    ticks = axis.ticks()
    chosen = dict.fromkeys((ticks[0], ticks[len(ticks) // 2], ticks[-1])) if ticks else ()

    def y_of(value: float) -> float:
        return top + (axis.high - value) / (axis.high - axis.low) * _PLOT

    return "".join(
        f'<line class="grid" x1="{_GUTTER:.2%}" x2="100%" y1="{y_of(value):.1f}" '
        f'y2="{y_of(value):.1f}"/><text class="tick" x="{_GUTTER - 0.015:.2%}" '
        f'text-anchor="end" y="{y_of(value) + 4:.1f}">{escape(axis.label(value))}</text>'
        for value in chosen
    )


def _tick(value: float) -> str:
    return f"{value:.6g}"


def _across(share: float) -> float:
    """Map a share of the time to the width right of the vertical axes."""
    return _GUTTER + share * (1 - _GUTTER)


def _path(points: Points, x_of: Callable[[float], str], y_of: Callable[[float], str]) -> str:
    return "M" + "L".join(f"{x_of(at)} {y_of(value)}" for at, value in points)


def _band_path(panel: _Panel, x_of: Callable[[float], str], y_of: Callable[[float], str]) -> str:
    if not panel.band:
        return ""
    upper = [(at, high) for at, _, high in panel.band]
    lower = [(at, low) for at, low, _ in reversed(panel.band)]
    return f'<path class="band {panel.tone}" d="{_path([*upper, *lower], x_of, y_of)}Z"/>'
