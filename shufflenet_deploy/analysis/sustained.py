"""Analysis of sustained measurements: slowdown, changes of the ranking, onset of throttling.

Pure functions over ``records.Sustained``. The first minute is compared with the last (with a third
of the time each, when there is less than three minutes). A slice is treated as a
process is in ``stats``: it is represented by its median, and the bootstrap draws slices first,
samples within them second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from shufflenet_deploy import stats
from shufflenet_deploy.records import Cell, Sustained, TracePoint, TurnSamples
from shufflenet_deploy.stats import Interval
from shufflenet_deploy.stats.disturbances import throttle_reasons

WINDOW_SECS = 60.0

#: A core is throttled when it is this much below its fastest, for as many trace points in a row.
_SLOWED, _NOTES = 0.05, 2
#: Without frequencies, when this many turns in a row are that much above the first minute.
_TURNS = 3

_Samples = list[tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One turn of a model in ns, ``at_secs`` after the beginning."""

    at_secs: float
    median: float
    p10: float
    p90: float


@dataclass(frozen=True, kw_only=True)
class Course:
    """One model over the time. ``slowdown`` is last over first: above 1 it became slower."""

    cell: Cell
    first: Interval
    last: Interval
    slowdown: Interval
    moments: tuple[Moment, ...]


@dataclass(frozen=True, kw_only=True)
class SpeedupCourse:
    """A candidate's speedup over the baseline; ``change`` is last over first."""

    cell: Cell
    first: Interval
    last: Interval
    change: Interval


@dataclass(frozen=True, kw_only=True)
class Onset:
    """The onset of throttling, and the evidence for it."""

    at_secs: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything about one measurement. ``overtaking``: pairs whose order surely changed.

    In such a pair the first was faster in the beginning, the second in the end, and both times the
    interval of their ratio excludes 1.
    """

    window_secs: float
    courses: tuple[Course, ...]
    speedups: tuple[SpeedupCourse, ...]
    overtaking: tuple[tuple[Cell, Cell], ...]
    throttling: Onset | None

    @property
    def fastest_first(self) -> tuple[Cell, ...]:
        """The ranking in the beginning."""
        return tuple(one.cell for one in sorted(self.courses, key=lambda one: one.first.estimate))

    @property
    def fastest_last(self) -> tuple[Cell, ...]:
        """The ranking in the end."""
        return tuple(one.cell for one in sorted(self.courses, key=lambda one: one.last.estimate))


def analyse(measured: Sustained, *, window_secs: float = WINDOW_SECS) -> Findings:
    """Compare the beginning with the end.

    Raises:
        ValueError: the measurement failed.
    """
    if not measured.slices:
        raise ValueError("a failed measurement has nothing to compare")
    window_secs = min(window_secs, measured.duration_secs / 3)
    subjects = range(len(measured.cells))
    turns = [[one for one in measured.slices if one.subject == index] for index in subjects]
    first = [_samples(_beginning(one, window_secs)) for one in turns]
    last = [_samples(_end(one, measured.slices, window_secs)) for one in turns]
    courses = tuple(
        Course(
            cell=measured.cells[index],
            first=stats.interval(first[index]),
            last=stats.interval(last[index]),
            slowdown=stats.ratio_interval(first[index], last[index]),
            moments=tuple(map(_moment, turns[index])),
        )
        for index in subjects
    )
    return Findings(
        window_secs=window_secs,
        courses=courses,
        speedups=tuple(_speedups(measured, first, last)),
        overtaking=tuple(_overtaking(measured, first, last)),
        throttling=throttling(measured),
    )


def throttling(measured: Sustained) -> Onset | None:
    """Detect the onset of throttling, by the most direct evidence available.

    That is the firmware's flags if it reports any, else the core frequencies, else the samples.
    Evidence of no throttling is believed; samples are used only if nothing else was recorded.
    """
    trace = measured.trace
    if any(point.throttled is not None for point in trace) and (found := _by_firmware(trace)):
        return found
    if any(point.frequency_khz for point in trace):
        return _by_frequency(trace)
    if any(point.throttled is not None for point in trace):
        return None
    return _by_samples(measured)


def _by_firmware(trace: Sequence[TracePoint]) -> Onset | None:
    past = (trace[0].throttled or 0) >> 16
    for point in trace:
        bits = point.throttled or 0
        reasons = throttle_reasons(bits | (bits >> 16 & ~past))
        if reasons:
            return Onset(
                at_secs=point.at_ns / 1e9, reason=f"the firmware reports {', '.join(reasons)}"
            )
    return None


def _by_frequency(trace: Sequence[TracePoint]) -> Onset | None:
    fastest: dict[str, int] = {}
    for index, point in enumerate(trace):
        for core, khz in point.frequency_khz.items():
            fastest[core] = max(khz, fastest.get(core, 0))
            limit_khz = (1 - _SLOWED) * fastest[core]
            following = [later.frequency_khz.get(core) for later in trace[index:][:_NOTES]]
            low = [value for value in following if value is not None and value < limit_khz]
            if len(low) == _NOTES:
                reason = f"core {core} fell from {fastest[core] / 1000:.0f} to {khz / 1000:.0f} MHz"
                return Onset(at_secs=point.at_ns / 1e9, reason=reason)
    return None


def _by_samples(measured: Sustained) -> Onset | None:
    """The first turn from which on every turn of every model is slower than its beginning."""
    window_secs = min(WINDOW_SECS, measured.duration_secs / 3)
    begun: float | None = None
    for index in range(len(measured.cells)):
        turns = [one for one in measured.slices if one.subject == index]
        usual = stats.center(_samples(_beginning(turns, window_secs)))
        slow = [stats.median(one.samples) > (1 + _SLOWED) * usual for one in turns]
        steady = len(slow) - next((n for n, one in enumerate(reversed(slow)) if not one), len(slow))
        if len(slow) - steady < _TURNS:
            return None
        at_secs = turns[steady].at_ns / 1e9
        begun = at_secs if begun is None else max(begun, at_secs)
    if begun is None:
        return None
    return Onset(
        at_secs=begun,
        reason="every model stays over 5 % slower (the target reports no frequencies)",
    )


def _beginning(turns: Sequence[TurnSamples], window_secs: float) -> list[TurnSamples]:
    return [one for one in turns if one.at_ns < window_secs * 1e9] or list(turns[:1])


def _end(
    turns: Sequence[TurnSamples], every: Sequence[TurnSamples], window_secs: float
) -> list[TurnSamples]:
    closing = every[-1]
    ended_ns = closing.at_ns + closing.first + sum(closing.samples)
    return [one for one in turns if one.at_ns >= ended_ns - window_secs * 1e9] or list(turns[-1:])


def _samples(turns: Sequence[TurnSamples]) -> _Samples:
    return [one.samples for one in turns]


def _moment(one: TurnSamples) -> Moment:
    digest = stats.summary(one.samples)
    return Moment(at_secs=one.at_ns / 1e9, median=digest.median, p10=digest.p10, p90=digest.p90)


def _speedups(
    measured: Sustained, first: list[_Samples], last: list[_Samples]
) -> list[SpeedupCourse]:
    models = [cell.model for cell in measured.cells]
    if measured.baseline not in models:
        return []
    base = models.index(measured.baseline)
    return [
        SpeedupCourse(
            cell=cell,
            first=stats.speedup_interval(first[base], first[index]),
            last=stats.speedup_interval(last[base], last[index]),
            change=stats.speedup_change_interval(
                (first[base], first[index]), (last[base], last[index])
            ),
        )
        for index, cell in enumerate(measured.cells)
        if index != base
    ]


def _overtaking(
    measured: Sustained, first: list[_Samples], last: list[_Samples]
) -> list[tuple[Cell, Cell]]:
    found = []
    for one, other in combinations(range(len(measured.cells)), 2):
        before = stats.ratio_interval(first[one], first[other])
        after = stats.ratio_interval(last[one], last[other])
        if before.distinguishable and after.distinguishable:
            if before.estimate > 1 > after.estimate:
                found.append((measured.cells[one], measured.cells[other]))
            elif before.estimate < 1 < after.estimate:
                found.append((measured.cells[other], measured.cells[one]))
    return found
