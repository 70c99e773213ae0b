"""Grouping of runs: into blocks by their setting, into cells by model and resolution.

Runs are merged into one cell only if they share the suite, the target, the runtime and its
version, the file (sha256) and the measuring protocol, one attempt of each process (see
``attempts``); a remark names what is left out.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from shufflenet_deploy.atomic_files import resource
from shufflenet_deploy.records import Cell, Failure, Measurement, Resolution, Run, RuntimeSpec
from shufflenet_deploy.report import paper
from shufflenet_deploy.report.footnotes import failure_reason
from shufflenet_deploy.report.table_model import RunSettings
from shufflenet_deploy.stats import attempts
from shufflenet_deploy.stats.attempts import CellRuns

_Value = TypeVar("_Value", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The key of a row: a model with its options."""

    model: str
    options: tuple[tuple[str, str], ...]

    @property
    def title(self) -> str:
        """The model's title, and its options where it has any."""
        options = ", ".join(f"{name}={value}" for name, value in self.options)
        return _title(self.model) + (f" [{options}]" if options else "")


@dataclass(frozen=True, kw_only=True)
class SelectedRuns:
    """The runs that make up one cell, failed ones too, and remarks about those left out."""

    runs: tuple[Run, ...]
    remarks: tuple[str, ...] = ()

    @property
    def measured(self) -> tuple[Run, ...]:
        """The successful runs."""
        return tuple(run for run in self.runs if isinstance(run.outcome, Measurement))

    @property
    def newest(self) -> Run:
        """The run that represents the cell: the last successful one, else the last."""
        return (self.measured or self.runs)[-1]

    @property
    def multiply_adds(self) -> int | None:
        """Multiply-adds of one inference, from the run or its artifact."""
        for run in self.runs:
            if run.multiply_adds is not None:
                return run.multiply_adds
            if run.artifact is not None:
                return run.artifact.multiply_adds
        return None


#: The runs of a block by row and column.
Cells = Mapping[tuple[Subject, Resolution], SelectedRuns]


def by_setting(runs: Sequence[Run]) -> list[tuple[RunSettings, list[Run]]]:
    """Group runs by setting.

    Suites and targets are in order of first appearance; the settings of each by runtime,
    precision and threads, whatever the order they were measured in.
    """
    runs = attempts.relevant(runs)
    versions: dict[RunSettings, list[str]] = {}
    for run in runs:
        if run.runtime_version is not None:
            known = versions.setdefault(_setting(run, None), [])
            if run.runtime_version not in known:
                known.append(run.runtime_version)
    groups: dict[RunSettings, list[Run]] = {}
    for run in runs:
        # A run that failed before its runtime reported a version joins those of the last version.
        alike = versions.get(_setting(run, None), [None])
        setting = _setting(run, run.runtime_version or alike[-1])
        groups.setdefault(setting, []).append(run)
    return [(setting, groups[setting]) for setting in _in_order(groups)]


def _in_order(settings: Iterable[RunSettings]) -> list[RunSettings]:
    known = list(settings)
    places = distinct((one.suite, one.host, one.metric) for one in known)

    def order(one: RunSettings) -> tuple[object, ...]:
        place = places.index((one.suite, one.host, one.metric))
        spec = RuntimeSpec.parse(one.runtime)
        versions = [_numbers(one.runtime_version or ""), _numbers(spec.version or "")]
        return (place, spec.name, one.precision.place, one.threads, versions, one.cpus or ())

    return sorted(known, key=order)


def _numbers(version: str) -> list[int]:
    """``1.30.0`` as numbers, so that it comes after 1.9."""
    return [int(digits) for digits in re.findall(r"\d{1,9}", version)]


def _setting(run: Run, version: str | None) -> RunSettings:
    facts, cell = run.target, run.cell
    return RunSettings(
        suite=run.suite,
        host=facts.host,
        transport=facts.transport,
        arch=facts.arch,
        os=facts.os,
        kernel=facts.kernel,
        cpu=facts.cpu,
        board=facts.board,
        metric=run.spec.metric,
        runtime=cell.runtime,
        runtime_version=version,
        format=cell.format,
        precision=cell.precision,
        threads=cell.threads,
        cpus=run.spec.cpus,
        background_load=run.spec.background_load,
    )


def select_cells(runs: Sequence[Run]) -> Cells:
    """Group the runs of a block by row and column, and select the counted ones of each cell."""
    grouped: dict[tuple[Subject, Resolution], list[Run]] = {}
    for run in runs:
        grouped.setdefault((_subject(run.cell), run.cell.resolution), []).append(run)
    return {key: _select(group) for key, group in grouped.items()}


@cache
def _title(model: str) -> str:
    """A model's title: the paper's, its card's, or its own name."""
    if figures := paper.figures(model):
        return figures.title
    try:
        card = tomllib.loads(resource("models", f"{model}.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return model
    return str(card.get("title", model))


def _subject(cell: Cell) -> Subject:
    return Subject(model=cell.model, options=tuple(sorted(cell.options.items())))


def _select(runs: Sequence[Run]) -> SelectedRuns:
    """Select the counted runs of one cell; remarks name those left out."""
    found = CellRuns.of(runs)
    remarks = []
    if found.otherwise:
        others = _count(len(found.otherwise), "process")
        remarks.append(f"left out: {others} of another file or protocol")
    if found.kept and found.failed:
        failures = [run.outcome for run in found.failed if isinstance(run.outcome, Failure)]
        reasons = "; ".join(distinct(failure_reason(failure) for failure in failures))
        remarks.append(f"{_count(len(failures), 'process')} failed: {reasons}")
    if found.replaced:
        processes = _count(len({run.process for run in found.replaced}), "process")
        remarks.append(
            f"{processes} measured several times: the least disturbed attempt of each counts"
        )
    return SelectedRuns(runs=found.kept or found.failed, remarks=tuple(remarks))


def distinct(values: Iterable[_Value]) -> tuple[_Value, ...]:
    """The values without repetitions, in order of appearance."""
    return tuple(dict.fromkeys(values))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "es")
