"""Comparison of two suites cell by cell: ratios of treatment to control, regressions, conditions.

Cells are the same when model, options, runtime, format, precision, resolution, threads and metric
are; everything else that differs between the two suites is a condition, and is named. A ratio is
the treatment's cost over the control's, so that 1.05 is "5 % slower", with its 95 % interval from
the raw samples. The two suites were not measured in the same rounds: the interval covers sampling
error, not a change of the machine between the two days.

So a difference is attributed to the model only where nothing else explains it. A cell that was
tainted on either side (see ``stats.stability``) is not classified, and the same file with the same
runtime under other conditions is no regression: the conditions differ (see ``run_conditions``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Self

from shufflenet_deploy import stats
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import (
    Failure,
    Format,
    Measurement,
    Metric,
    Precision,
    Record,
    ResolutionText,
    Run,
)
from shufflenet_deploy.report.run_conditions import ConditionDifference, confounders, differences
from shufflenet_deploy.stats.attempts import CellRuns

#: Version of the JSON form of ``Comparison``.
SCHEMA_VERSION = 1


class ChangeStatus(StrEnum):
    """The result of comparing one cell, as a change from control to treatment."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "not distinguishable"
    REGRESSION = "regression"
    TAINTED = "not judged (tainted)"
    FAILED = "failed"
    MISSING = "not in both"


class ComparedFigure(Record):
    """One side of one cell, in ``Metric.unit``: the median of its processes' medians."""

    median: float
    low: float
    high: float
    processes: int
    samples: int
    stability: str


class CellChange(Record):
    """One cell on both sides. ``ratio`` is treatment over control: below 1 is faster.

    ``remarks`` are caveats, such as too few processes.
    """

    model: str
    options: dict[str, str]
    runtime: str
    format: Format
    precision: Precision
    resolution: ResolutionText
    threads: int
    metric: Metric
    control: ComparedFigure | None
    treatment: ComparedFigure | None
    ratio: float | None
    low: float | None
    high: float | None
    verdict: ChangeStatus
    remarks: tuple[str, ...]

    @property
    def title(self) -> str:
        """The cell in one line."""
        options = ", ".join(f"{name}={value}" for name, value in sorted(self.options.items()))
        parts = [
            self.model + (f" [{options}]" if options else ""),
            str(self.resolution),
            self.precision.value,
            self.runtime,
            f"{self.threads} threads" if self.threads > 1 else "",
        ]
        return " ".join(filter(None, parts))


class ComparedSuite(Record):
    """The origin of the runs of one side."""

    name: str
    suite: str
    host: str
    runs: int


class SuiteComparison(Record):
    """Every cell of either side, and the conditions that differ."""

    schema_version: int = SCHEMA_VERSION
    control: ComparedSuite
    treatment: ComparedSuite
    threshold: float
    changes: tuple[CellChange, ...]
    differences: tuple[ConditionDifference, ...]

    @property
    def tainted(self) -> tuple[CellChange, ...]:
        """Cells on both sides that are tainted on one, and so not classified."""
        return tuple(change for change in self.changes if change.verdict is ChangeStatus.TAINTED)

    @property
    def regressions(self) -> tuple[CellChange, ...]:
        """Cells that are slower by the threshold or more, and those that now fail."""
        bad = (ChangeStatus.REGRESSION, ChangeStatus.FAILED)
        return tuple(change for change in self.changes if change.verdict in bad)

    @classmethod
    def of(
        cls,
        control: Sequence[Run],
        treatment: Sequence[Run],
        *,
        names: tuple[str, str] = ("control", "treatment"),
        threshold: float = 0.05,
    ) -> Self:
        """Compare two suites.

        Args:
            control: runs of one suite with all attempts, in the order they were made.
            treatment: those of the other.
            names: their names in messages.
            threshold: a cell that is certainly slower is a regression from this share on.

        Raises:
            UsageError: a side holds no runs or several suites, or no cell is on both.
        """
        sides = [_side(runs, name) for runs, name in zip((control, treatment), names, strict=True)]
        before, after = _cells(control, treatment), _cells(treatment, control)
        shared = [key for key in before if key in after]
        if not shared:
            raise UsageError(
                f"{names[0]} and {names[1]} have no cell in common: {_examples(before)} there, "
                f"{_examples(after)} here"
            )
        keys = list(dict.fromkeys([*before, *after]))
        return cls(
            control=sides[0],
            treatment=sides[1],
            threshold=threshold,
            changes=tuple(
                _change(key, before.get(key, ()), after.get(key, ()), threshold) for key in keys
            ),
            differences=differences([(before[key], after[key]) for key in shared]),
        )


def parse_threshold(text: str, what: str = "threshold") -> float:
    """``"5%"`` or ``"0.05"`` as 0.05; ``what`` names it in the message.

    Raises:
        UsageError: it is neither, or not below 100 %.
    """
    match = re.fullmatch(r"\s*([0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})\s*(%?)\s*", text)
    share = float(match[1]) / (100.0 if match[2] else 1.0) if match else math.inf
    if share >= 1.0:
        raise UsageError(f"'{text}' is not a {what}: write a share such as 5%")
    return share


# --- cells ---------------------------------------------------------------------------------------

#: A cell without its host: model, options, runtime, format, precision, resolution, threads, metric.
_Key = tuple[str, tuple[tuple[str, str], ...], str, Format, Precision, str, int, Metric]


def _side(runs: Sequence[Run], name: str) -> ComparedSuite:
    if not runs:
        raise UsageError(f"{name} holds no runs: measure first with shufflenet-deploy bench")
    suites = list(dict.fromkeys(run.suite for run in runs))
    if len(suites) > 1:
        raise UsageError(
            f"{name} holds {len(suites)} suites ({', '.join(suites[:3])}, ...): export one of them "
            "with shufflenet-deploy runs export SUITE"
        )
    hosts = dict.fromkeys(run.target.host for run in runs)
    return ComparedSuite(name=name, suite=suites[0], host=", ".join(hosts), runs=len(runs))


def _cells(runs: Sequence[Run], others: Sequence[Run]) -> dict[_Key, tuple[Run, ...]]:
    """The counted runs of every cell, in order of first appearance; see ``attempts``."""
    versioned = _named_with_versions(runs) | _named_with_versions(others)
    grouped: dict[_Key, list[Run]] = {}
    # Profiles and other records in a file of runs are not compared.
    counted = [run for run in runs if isinstance(run.outcome, Measurement | Failure)]
    for run in counted:
        cell = run.cell
        bare = cell.runtime_spec.name
        key = (
            cell.model,
            tuple(sorted(cell.options.items())),
            cell.runtime if bare in versioned else bare,
            cell.format,
            cell.precision,
            str(cell.resolution),
            cell.threads,
            run.spec.metric,
        )
        grouped.setdefault(key, []).append(run)
    found = {key: CellRuns.of(group) for key, group in grouped.items()}
    return {key: one.kept or one.failed for key, one in found.items()}


def _named_with_versions(runs: Iterable[Run]) -> set[str]:
    """Runtimes of which one suite measured several versions: there the version is part of the key.

    Elsewhere it is a condition: another version is what two suites are often compared for.
    """
    names: dict[str, set[str]] = {}
    for run in runs:
        names.setdefault(run.cell.runtime_spec.name, set()).add(run.cell.runtime)
    return {name for name, written in names.items() if len(written) > 1}


def _examples(cells: Iterable[_Key]) -> str:
    """The first cells of a side, for an error message."""
    titles = [
        f"{' '.join((model, *(f'{name}={value}' for name, value in options)))} {size} {precision}"
        f" {runtime} {fmt}, {threads} thread{'s' * (threads > 1)}, {metric}"
        for model, options, runtime, fmt, precision, size, threads, metric in cells
    ]
    return "; ".join(titles[:2]) + (f" and {len(titles) - 2} more" if len(titles) > 2 else "")


# --- one cell on both sides ----------------------------------------------------------------------


def _change(
    key: _Key, control: Sequence[Run], treatment: Sequence[Run], threshold: float
) -> CellChange:
    model, options, runtime, fmt, precision, _, threads, metric = key
    before, after = _figure(control), _figure(treatment)
    interval, conditions = None, list[str]()
    if before is not None and after is not None:
        interval = stats.ratio_interval(stats.samples_of(control), stats.samples_of(treatment))
        conditions = confounders(control, treatment)
    verdict = _verdict(interval, (control, treatment), threshold, excused=bool(conditions))
    return CellChange(
        model=model,
        options=dict(options),
        runtime=runtime,
        format=fmt,
        precision=precision,
        resolution=(control or treatment)[0].cell.resolution,
        threads=threads,
        metric=metric,
        control=before,
        treatment=after,
        ratio=interval.estimate if interval else None,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        verdict=verdict,
        remarks=(*_remarks(control, treatment), *_identical(conditions, verdict)),
    )


def _identical(conditions: Sequence[str], verdict: ChangeStatus) -> list[str]:
    """Remarks on a cell with the same file on both sides and unequal conditions."""
    if not conditions:
        return []
    remark = f"the same file and runtime under unequal conditions: {'; '.join(conditions)}"
    differs = verdict in {ChangeStatus.FASTER, ChangeStatus.SLOWER}
    return [f"{remark}: these differ, not the model" if differs else remark]


def _figure(runs: Sequence[Run]) -> ComparedFigure | None:
    samples = stats.samples_of(runs)
    if not samples:
        return None
    interval = stats.interval(samples)
    return ComparedFigure(
        median=interval.estimate,
        low=interval.low,
        high=interval.high,
        processes=len(samples),
        samples=sum(map(len, samples)),
        stability=stats.stability(runs).text,
    )


def _verdict(
    interval: stats.Interval | None,
    sides: tuple[Sequence[Run], Sequence[Run]],
    threshold: float,
    *,
    excused: bool,
) -> ChangeStatus:
    """Classify the change of a cell; ``excused`` if the conditions alone may explain it."""
    if interval is None:
        measured = bool(stats.samples_of(sides[0]))
        return ChangeStatus.FAILED if measured and sides[1] else ChangeStatus.MISSING
    if stats.Verdict.TAINTED in {stats.stability(runs).verdict for runs in sides}:
        return ChangeStatus.TAINTED
    if not interval.distinguishable:
        return ChangeStatus.SAME
    if interval.estimate < 1.0:
        return ChangeStatus.FASTER
    regressed = interval.estimate >= 1.0 + threshold and not excused
    return ChangeStatus.REGRESSION if regressed else ChangeStatus.SLOWER


def _remarks(control: Sequence[Run], treatment: Sequence[Run]) -> list[str]:
    remarks = []
    for name, runs in (("control", control), ("treatment", treatment)):
        failures = [run.outcome for run in runs if isinstance(run.outcome, Failure)]
        if not runs:
            remarks.append(f"{name}: not measured")
        elif failures:
            remarks.append(f"{name}: {failures[-1].kind.value}: {failures[-1].message}")
        else:
            stability = stats.stability(runs)
            remarks += [f"{name}: {stability.text}"] if stability.findings else []
            if len(runs) == 1 and runs[0].spec.metric is Metric.LATENCY:
                remarks.append(f"{name}: one process, so the interval is too narrow")
    return remarks
