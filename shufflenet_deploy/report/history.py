"""The history of a cell: its figure in every suite, the steps in it, and what changed meanwhile.

A point is what one suite says of the cell: ``attempts`` decides which of its runs count, as in a
table. Tainted figures are shown and not judged, as in ``compare``; failed suites have no figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from shufflenet_deploy import stats
from shufflenet_deploy.journal import Journal, MeasuredCell
from shufflenet_deploy.records import Failure, Metric, Run
from shufflenet_deploy.report.run_conditions import changes, conditions_of
from shufflenet_deploy.stats import Interval, Stability, change_points
from shufflenet_deploy.stats.attempts import CellRuns

#: The intervals of many points: 1000 resamples settle their ends to about 3 % of the width.
_RESAMPLES = 1000
_LEVEL_RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class ConditionChange:
    """A condition that is not what it was at the point before."""

    condition: str
    before: str
    after: str

    @property
    def text(self) -> str:
        """``kernel 6.6.31 → 6.6.40``."""
        return f"{self.condition} {self.before} → {self.after}"


@dataclass(frozen=True, kw_only=True)
class Point:
    """A cell in one suite; ``changes`` are since the last suite that measured it."""

    suite: str
    started_at: datetime
    runs: tuple[Run, ...]
    failed: tuple[Run, ...]
    changes: tuple[ConditionChange, ...] = ()

    @cached_property
    def center(self) -> float | None:
        """The figure in ns or instructions; None where nothing was measured."""
        return stats.center(stats.samples_of(self.runs)) if self.runs else None

    @cached_property
    def interval(self) -> Interval | None:
        """The figure with its 95 % interval."""
        if not self.runs:
            return None
        return stats.interval(stats.samples_of(self.runs), resamples=_RESAMPLES)

    @cached_property
    def stability(self) -> Stability:
        """How far the figure can be trusted."""
        return stats.stability(self.runs)

    @cached_property
    def is_tainted(self) -> bool:
        """Whether something else was measured too."""
        return stats.is_tainted(self.runs)

    @property
    def state(self) -> str:
        """Stable, noisy, tainted or failed."""
        return self.stability.verdict.value if self.runs else "failed"

    @property
    def text(self) -> str:
        """The state with its reasons."""
        if self.runs:
            return self.stability.text
        messages = [run.outcome.message for run in self.failed if isinstance(run.outcome, Failure)]
        return f"failed: {messages[-1]}" if messages else "failed"


@dataclass(frozen=True, kw_only=True)
class Step:
    """A new level that begins at a point.

    Attributes:
        point: the first of the new level.
        index: its place among the points of the history.
        change: median of the level over that of the level before, with its 95 % interval; above 1
            is slower.
        changes: conditions that changed since the last judged point before.
    """

    point: Point
    index: int
    change: Interval
    changes: tuple[ConditionChange, ...]

    @property
    def is_slower(self) -> bool:
        """Whether the figure grew."""
        return self.change.estimate > 1


@dataclass(frozen=True, kw_only=True)
class History:
    """Points of a cell, oldest first, and the steps among those that are judged.

    ``earlier`` suites measured it, too, and are not among the points.
    """

    cell: MeasuredCell
    points: tuple[Point, ...]
    steps: tuple[Step, ...]
    false_alarms: float
    earlier: int = 0

    @property
    def judged(self) -> tuple[Point, ...]:
        """The points that a step may be found among."""
        return tuple(point for point in self.points if point.runs and not point.is_tainted)

    @property
    def slowdown(self) -> Step | None:
        """The last step, where that is a slowdown."""
        last = self.steps[-1] if self.steps else None
        return last if last is not None and last.is_slower else None

    @property
    def is_too_short(self) -> bool:
        """Whether there are too few points for a step to be found at all."""
        exact = self.cell.metric is Metric.INSTRUCTIONS
        return not exact and len(self.judged) < change_points.least_values(self.false_alarms)


def history(
    cell: MeasuredCell, runs: Sequence[Run], *, false_alarms: float = 0.01, earlier: int = 0
) -> History:
    """The history of a cell.

    Args:
        cell: which.
        runs: the attempts at it, in the order they were made; see ``Journal.runs_of``.
        false_alarms: probability of a step where nothing changed; see ``stats.change_points``.
        earlier: how many suites attempted it before those of ``runs``.
    """
    points = _points(runs)
    judged = [index for index, point in enumerate(points) if point.runs and not point.is_tainted]
    centers = [points[index].center or 0.0 for index in judged]
    if cell.metric is Metric.INSTRUCTIONS:
        places = change_points.exact_steps(centers)
    else:
        places = change_points.steps(centers, false_alarms=false_alarms)
    return History(
        cell=cell,
        points=tuple(points),
        steps=tuple(_steps(points, judged, centers, places)),
        false_alarms=false_alarms,
        earlier=earlier,
    )


def histories(
    journal: Journal,
    cells: Iterable[MeasuredCell],
    *,
    since: datetime | None = None,
    last: int | None = None,
    false_alarms: float = 0.01,
) -> list[History]:
    """The histories of some cells, without those that nothing was measured of since then.

    Of each cell at most the ``last`` suites are read.
    """
    found = []
    for cell in cells:
        runs = journal.runs_of(cell, since=since, suites=last)
        read = len({run.suite for run in runs})
        earlier = journal.suites_of(cell, since=since) - read if read == last else 0
        found.append(history(cell, runs, false_alarms=false_alarms, earlier=earlier))
    return [one for one in found if one.points]


def _points(runs: Sequence[Run]) -> list[Point]:
    suites: dict[str, list[Run]] = {}
    for run in runs:
        suites.setdefault(run.suite, []).append(run)
    ordered = sorted(suites.items(), key=lambda one: min(run.started_at for run in one[1]))
    points: list[Point] = []
    known: dict[str, str] | None = None
    for suite, attempts in ordered:
        found = CellRuns.of(attempts)
        changed: tuple[ConditionChange, ...] = ()
        if found.kept:
            now = conditions_of(found.kept)
            changed = _changes(known, now) if known is not None else ()
            known = now
        points.append(
            Point(
                suite=suite,
                started_at=min(run.started_at for run in attempts),
                runs=found.kept,
                failed=found.failed,
                changes=changed,
            )
        )
    return points


def _changes(before: dict[str, str], after: dict[str, str]) -> tuple[ConditionChange, ...]:
    return tuple(
        ConditionChange(condition=name, before=old, after=new)
        for name, old, new in changes(before, after)
    )


def _steps(
    points: Sequence[Point], judged: Sequence[int], centers: Sequence[float], places: Sequence[int]
) -> Iterable[Step]:
    for number, place in enumerate(places):
        start = places[number - 1] if number else 0
        end = places[number + 1] if number + 1 < len(places) else len(judged)
        before, after = points[judged[place - 1]], points[judged[place]]
        yield Step(
            point=after,
            index=judged[place],
            change=stats.ratio_interval(
                [centers[start:place]], [centers[place:end]], resamples=_LEVEL_RESAMPLES
            ),
            changes=_changes(conditions_of(before.runs), conditions_of(after.runs)),
        )
