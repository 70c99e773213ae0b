"""Two suites cell by cell, control and treatment: what became faster or slower, and what else did.

Cells are the same when model, options, runtime, format, precision, resolution, threads and metric
are; everything else that differs between the two suites is a condition, and is named. A ratio is
the treatment's cost over the control's, so that 1.05 is "5 % slower", with its 95 % interval from
the raw samples. The two suites were not measured in the same rounds: the interval tells how well
each is known, not whether the machine was the same on both days.

So a difference is a verdict on the model only where nothing else explains it. A cell that was
disturbed on either side (see ``stats.stability``) gets none, and the same file with the same
runtime under other conditions is no regression: the conditions are what differs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Self

from shufflenet_deploy import stats
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import (
    Conditions,
    Failure,
    Format,
    Measurement,
    Metric,
    Precision,
    Record,
    ResolutionText,
    Run,
)
from shufflenet_deploy.report.numerals import short
from shufflenet_deploy.stats.attempts import CellRuns

#: Version of the JSON form of ``Comparison``.
SCHEMA_VERSION = 1

#: Frequencies closer than this are the same condition.
_FREQUENCY_TOLERANCE = 0.05


class ChangeStatus(StrEnum):
    """What became of one cell, from the treatment's point of view."""

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

    ``remarks`` say what to know before believing it.
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


class ConditionDifference(Record):
    """A condition that is not the same on both sides, and in how many of the cells on both."""

    condition: str
    control: str
    treatment: str
    cells: int


class ComparedSuite(Record):
    """Where the runs of one side came from."""

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
    def unjudged(self) -> tuple[CellChange, ...]:
        """Cells on both sides that were disturbed on one, so that nothing can be said of them."""
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
            names: what the user called them.
            threshold: a cell that is certainly slower is a regression from this share on.

        Raises:
            UsageError: a side holds no runs or several suites, or no cell is on both.
        """
        sides = [_side(runs, name) for runs, name in zip((control, treatment), names, strict=True)]
        before, after = _cells(control, treatment), _cells(treatment, control)
        shared = [key for key in before if key in after]
        if not shared:
            raise UsageError(
                f"{names[0]} and {names[1]} have no cell in common: {_told(before)} there, "
                f"{_told(after)} here"
            )
        keys = list(dict.fromkeys([*before, *after]))
        return cls(
            control=sides[0],
            treatment=sides[1],
            threshold=threshold,
            changes=tuple(
                _change(key, before.get(key, ()), after.get(key, ()), threshold) for key in keys
            ),
            differences=_differences([(before[key], after[key]) for key in shared]),
        )


def parse_threshold(text: str) -> float:
    """``"5%"`` or ``"0.05"`` as 0.05.

    Raises:
        UsageError: it is neither, or not below 100 %.
    """
    match = re.fullmatch(r"\s*([0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})\s*(%?)\s*", text)
    share = float(match[1]) / (100.0 if match[2] else 1.0) if match else math.inf
    if share >= 1.0:
        raise UsageError(f"'{text}' is not a threshold: write a share such as 5%")
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
    """What counts of every cell, in order of first appearance; see ``attempts``."""
    versioned = _named_with_versions(runs) | _named_with_versions(others)
    grouped: dict[_Key, list[Run]] = {}
    # What else a file of runs may hold counts nothing.
    counted = [run for run in runs if isinstance(run.outcome, Measurement | Failure)]
    for run in counted:
        cell = run.cell
        bare = cell.runtime.partition("==")[0]
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
    """Runtimes of which one suite measured several versions: there the version tells cells apart.

    Elsewhere it is a condition: another version is what two suites are often compared for.
    """
    names: dict[str, set[str]] = {}
    for run in runs:
        names.setdefault(run.cell.runtime.partition("==")[0], set()).add(run.cell.runtime)
    return {name for name, written in names.items() if len(written) > 1}


def _file(run: Run) -> str:
    return run.artifact.sha256 if run.artifact else ""


def _told(cells: Iterable[_Key]) -> str:
    """A few cells in words."""
    told = [
        f"{' '.join((model, *(f'{name}={value}' for name, value in options)))} {size} {precision}"
        f" {runtime} {fmt}, {threads} thread{'s' * (threads > 1)}, {metric}"
        for model, options, runtime, fmt, precision, size, threads, metric in cells
    ]
    return "; ".join(told[:2]) + (f" and {len(told) - 2} more" if len(told) > 2 else "")


# --- one cell on both sides ----------------------------------------------------------------------


def _change(
    key: _Key, control: Sequence[Run], treatment: Sequence[Run], threshold: float
) -> CellChange:
    model, options, runtime, fmt, precision, _, threads, metric = key
    before, after = _figure(control), _figure(treatment)
    interval, conditions = None, list[str]()
    if before is not None and after is not None:
        interval = stats.ratio_interval(stats.samples_of(control), stats.samples_of(treatment))
        conditions = _only_conditions(control, treatment)
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


def _only_conditions(control: Sequence[Run], treatment: Sequence[Run]) -> list[str]:
    """The conditions that differ where the file and the runtime are the same on both sides."""
    theirs, ours = _conditions(control), _conditions(treatment)
    differing = [name for name in dict.fromkeys([*theirs, *ours]) if _differ(name, theirs, ours)]
    if not theirs["file (sha256)"] or any(name in _UNDER_TEST for name in differing):
        return []
    return [
        f"{name} {theirs.get(name) or 'not told'} → {ours.get(name) or 'not told'}"
        for name in differing
    ]


def _identical(conditions: Sequence[str], verdict: ChangeStatus) -> list[str]:
    """What to know of a cell with the same file on both sides, and unequal conditions."""
    if not conditions:
        return []
    said = f"the same file and runtime under unequal conditions: {'; '.join(conditions)}"
    differs = verdict in {ChangeStatus.FASTER, ChangeStatus.SLOWER}
    return [f"{said}: these differ, not the model" if differs else said]


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
    """What became of a cell; ``excused`` where the conditions alone can be the reason."""
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
            judged = stats.stability(runs)
            remarks += [f"{name}: {judged.text}"] if judged.findings else []
            if len(runs) == 1 and runs[0].spec.metric is Metric.LATENCY:
                remarks.append(f"{name}: one process, so the interval is too narrow")
    return remarks


# --- conditions ----------------------------------------------------------------------------------


def _differences(
    pairs: Sequence[tuple[Sequence[Run], Sequence[Run]]],
) -> tuple[ConditionDifference, ...]:
    """What differs, each with both values; equal differences of several cells once."""
    found: dict[tuple[str, str, str], int] = {}
    for control, treatment in pairs:
        theirs, ours = _conditions(control), _conditions(treatment)
        for name in dict.fromkeys([*theirs, *ours]):
            if _differ(name, theirs, ours):
                before, after = theirs.get(name, ""), ours.get(name, "")
                key = (name, before or "not told", after or "not told")
                found[key] = found.get(key, 0) + 1
    return tuple(
        ConditionDifference(condition=name, control=before, treatment=after, cells=cells)
        for (name, before, after), cells in found.items()
    )


def _differ(name: str, theirs: Mapping[str, str], ours: Mapping[str, str]) -> bool:
    before, after = theirs.get(name, ""), ours.get(name, "")
    return before != after and not (name == "MHz" and _close(before, after))


def _protocol(run: Run) -> str:
    spec = run.spec
    return (
        f"warm-up {spec.warmup_runs} runs, {short(spec.warmup_secs)} s; samples {spec.min_runs}, "
        f"{short(spec.min_secs)} to {short(spec.max_secs)} s"
    )


#: What can be said about a single run, by name.
_CONDITIONS: Mapping[str, Callable[[Run], object]] = {
    "host": lambda run: run.target.host,
    "board": lambda run: run.target.board,
    "CPU": lambda run: run.target.cpu,
    "architecture": lambda run: run.target.arch,
    "system": lambda run: run.target.os,
    "kernel": lambda run: run.target.kernel,
    "libc": lambda run: run.target.libc,
    "Python": lambda run: run.target.python,
    "runtime version": lambda run: run.runtime_version,
    "payload": lambda run: run.tool.get("environment"),
    "shufflenet-deploy": lambda run: run.tool.get("version"),
    "agent (sha256)": lambda run: str(run.tool.get("agent_sha256", ""))[:12],
    "file (sha256)": lambda run: _file(run)[:12],
    "weights (sha256)": lambda run: run.artifact.weights.sha256[:12] if run.artifact else None,
    "converter": lambda run: run.artifact.converter if run.artifact else None,
    "CPUs": lambda run: ", ".join(map(str, run.spec.cpus or ())) or "not pinned",
    "protocol": _protocol,
}


#: What two suites are compared for; the other conditions are the machine's and its surroundings'.
_UNDER_TEST = frozenset(
    {"runtime version", "payload", "file (sha256)", "weights (sha256)", "converter"}
)


def _conditions(runs: Sequence[Run]) -> dict[str, str]:
    told = {
        name: ", ".join(dict.fromkeys(str(of(run) or "") for run in runs)).strip(", ")
        for name, of in _CONDITIONS.items()
    }
    states = [state for run in runs for state in (run.before, run.after) if state is not None]
    told["governor"] = ", ".join(
        dict.fromkeys(name for state in states for name in state.governors.values())
    )
    told["MHz"] = _frequency(states)
    return told


def _frequency(states: Sequence[Conditions]) -> str:
    """The median over cores and moments, in MHz."""
    values = [khz for state in states for khz in state.frequency_khz.values()]
    return f"{stats.median(values) / 1000:.0f}" if values else ""


def _close(before: str, after: str) -> bool:
    if not before or not after:
        return False
    ends = float(before), float(after)
    return max(ends) - min(ends) <= _FREQUENCY_TOLERANCE * max(ends)
