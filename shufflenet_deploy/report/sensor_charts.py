"""The target's temperature and frequency while a block was measured, from its runs' conditions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shufflenet_deploy.records import Conditions, Metric
from shufflenet_deploy.report.numerals import short
from shufflenet_deploy.report.svg import CURVES_HEIGHT, Axis, Chart, Curve, Key, curves
from shufflenet_deploy.report.table_model import Block

_Pick = Callable[[Conditions], float | None]

#: The fewest samples over time that are drawn.
_MOMENTS = 3
#: Share of the width for the numbers on the left: four digits on a phone.
_GUTTER = 0.1


def temperature(block: Block, name: str) -> Chart | None:
    """The hottest sensor, before and after each process."""
    return _course(
        block,
        name,
        title="Temperature in °C",
        text="The hottest sensor of the target, before and after each process.",
        unit="°C",
        picks={"hottest sensor": lambda state: _end(max, state.temperature_c)},
    )


def frequency(block: Block, name: str) -> Chart | None:
    """The fastest and the slowest core, before and after each process."""
    return _course(
        block,
        name,
        title="CPU frequency in MHz",
        text="The fastest and the slowest core of the target, before and after each process.",
        unit="MHz",
        picks={
            "fastest core": lambda state: _end(max, state.frequency_khz, 1000),
            "slowest core": lambda state: _end(min, state.frequency_khz, 1000),
        },
    )


def _end(
    end: Callable[..., float], values: Mapping[str, float], per_unit: float = 1
) -> float | None:
    return end(values.values()) / per_unit if values else None


def _course(
    block: Block, name: str, *, title: str, text: str, unit: str, picks: Mapping[str, _Pick]
) -> Chart | None:
    if block.setting.metric is not Metric.LATENCY:
        return None  # Nothing heats up, or slows down, where instructions are counted.
    states = sorted(
        (
            state
            for _, entry in block.entries()
            for process in entry.processes
            for state in (process.before, process.after)
            if state is not None
        ),
        key=lambda state: state.at,
    )
    found: dict[tuple[tuple[float, float], ...], list[str]] = {}
    for label, pick in picks.items():
        points = tuple(
            ((state.at - states[0].at).total_seconds() / 60, value)
            for state in states
            if (value := pick(state)) is not None
        )
        if len(points) >= _MOMENTS:
            found.setdefault(points, []).append(label)
    series = [
        (label, Curve(points=points, tone=tone, label=_labeller(label, unit)))
        for (points, labels), tone in zip(found.items(), ("measured", "baseline"), strict=False)
        for label in [" and ".join(labels)]
    ]
    if not series:
        return None
    values = [value for _, curve in series for _, value in curve.points]
    low, high = min(values), max(values)
    margin = 0.15 * (high - low) or 0.05 * abs(high) or 1.0
    across = Axis(
        low=0,
        high=max(minutes for _, curve in series for minutes, _ in curve.points) or 1.0,
        label=lambda value: f"{short(value)} min",
        gutter=_GUTTER,
    )
    up = Axis(low=low - margin, high=high + margin, label=short)

    def draw(width: int | None) -> str:
        return curves(
            [curve for _, curve in series],
            across,
            up,
            name=name,
            title=title,
            description=f"{text} From {low:.0f} to {high:.0f} {unit}.",
            width=width,
        )

    return Chart(
        name=name,
        title=title,
        text=text,
        keys=tuple(Key(tone=curve.tone, text=label) for label, curve in series),
        draw=draw,
        height=CURVES_HEIGHT,
    )


def _labeller(label: str, unit: str) -> Callable[[float, float], str]:
    return lambda minutes, value: f"{label} after {minutes:.1f} min: {value:.0f} {unit}"
