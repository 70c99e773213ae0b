"""Runs -> blocks: what is merged into a cell, what is compared, and what is footnoted instead.

Runs are merged into one cell only if they share the suite, the target, the runtime and its
version, the file (sha256) and the measuring protocol, one attempt of each process (see
``attempts``); whatever is left out is named in a note. A speedup compares only cells of one block,
so baseline and candidate ran in the same rounds.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TypeVar

from shufflenet_deploy import stats
from shufflenet_deploy.atomic_files import resource
from shufflenet_deploy.records import (
    Cell,
    Conditions,
    Evaluation,
    Failure,
    Measurement,
    Metric,
    Precision,
    Resolution,
    Run,
    RuntimeSpec,
)
from shufflenet_deploy.report import paper
from shufflenet_deploy.report.paper import PaperFigures
from shufflenet_deploy.report.table_model import (
    Block,
    CellFinding,
    Estimate,
    MeasuredError,
    Process,
    Row,
    RunSettings,
    Speedup,
    TableCell,
)
from shufflenet_deploy.stats import attempts, proportions
from shufflenet_deploy.stats.attempts import CellRuns

#: What ``Run.tool`` tells that a reader needs to measure again.
_TOOL = ("version", "environment", "agent_sha256")

_UNTRAINED = "untrained weights: latency only"
_INVALID = "the file failed validation against the model it came from"
_PAPER_IS_FP32 = "the paper's figures are fp32"
_HEAD_POLICIES = {
    "fixed": "AlexNet's fully connected layers see an adaptive 6x6 pool at every resolution "
    "(head=fixed)",
    "dense": "AlexNet's fully connected layers are applied as convolutions at every position "
    "(head=dense)",
}

_Value = TypeVar("_Value", bound=Hashable)


@dataclass
class _Footnotes:
    """Footnotes of a block, each text once, numbered from 1 in order of appearance."""

    texts: list[str] = field(default_factory=list)

    def mark(self, text: str) -> int:
        """The number of this note, which is added when it is new."""
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text) + 1


def blocks(
    runs: Sequence[Run], baseline: str, evaluations: Sequence[Evaluation] = ()
) -> tuple[Block, ...]:
    """Group runs by setting and lay out each group.

    Suites and targets stand in order of first appearance; the settings of each by runtime,
    precision and threads, whatever the order they were measured in.
    """
    errors = _largest(evaluations)
    runs = attempts.relevant(runs)
    versions: dict[RunSettings, list[str]] = {}
    for run in runs:
        if run.runtime_version is not None:
            known = versions.setdefault(_setting(run, None), [])
            if run.runtime_version not in known:
                known.append(run.runtime_version)
    groups: dict[RunSettings, list[Run]] = {}
    for run in runs:
        # A failure may come before the runtime could tell its version: it joins its neighbours.
        alike = versions.get(_setting(run, None), [None])
        setting = _setting(run, run.runtime_version or alike[-1])
        groups.setdefault(setting, []).append(run)
    return tuple(
        _block(setting, groups[setting], baseline, errors) for setting in _in_order(groups)
    )


def _in_order(settings: Iterable[RunSettings]) -> list[RunSettings]:
    known = list(settings)
    places = _distinct((one.suite, one.host, one.metric) for one in known)

    def order(one: RunSettings) -> tuple[object, ...]:
        place = places.index((one.suite, one.host, one.metric))
        spec = RuntimeSpec.parse(one.runtime)
        versions = [_numbers(one.runtime_version or ""), _numbers(spec.version or "")]
        return (place, spec.name, one.precision.place, one.threads, versions, one.cpus or ())

    return sorted(known, key=order)


def _numbers(version: str) -> list[int]:
    """``1.30.0`` as numbers, so that it comes after 1.9."""
    return [int(digits) for digits in re.findall(r"\d{1,9}", version)]


def _largest(evaluations: Sequence[Evaluation]) -> dict[str, Evaluation]:
    """Of the evaluations of each file the one of most pictures, of several such the newest."""
    largest: dict[str, Evaluation] = {}
    for one in evaluations:
        known = largest.get(one.artifact.sha256)
        if known is None or one.file.pictures >= known.file.pictures:
            largest[one.artifact.sha256] = one
    return largest


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
    )


# --- one block -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Subject:
    """What a row is about: a model with its options."""

    model: str
    options: tuple[tuple[str, str], ...]

    @property
    def title(self) -> str:
        """The model's title, and its options where it has any."""
        options = ", ".join(f"{name}={value}" for name, value in self.options)
        return _title(self.model) + (f" [{options}]" if options else "")


@dataclass(frozen=True, kw_only=True)
class _Picked:
    """The runs that make up one cell, failed ones too, and remarks about those left out."""

    runs: tuple[Run, ...]
    remarks: tuple[str, ...] = ()

    @property
    def measured(self) -> tuple[Run, ...]:
        """The runs that measured something."""
        return tuple(run for run in self.runs if isinstance(run.outcome, Measurement))

    @property
    def newest(self) -> Run:
        """The run that stands for the cell: the last that measured something, or the last."""
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


_Cells = Mapping[tuple[_Subject, Resolution], _Picked]


def _block(
    setting: RunSettings, runs: Sequence[Run], baseline: str, errors: Mapping[str, Evaluation]
) -> Block:
    cells = _cells(runs)
    counted = [run for cell in cells.values() for run in cell.runs]
    columns = sorted({at for _, at in cells}, key=lambda at: (at.pixels, at.height))
    layout = _Layout(
        setting=setting,
        cells=cells,
        columns=tuple(columns),
        complexity_at=next((at for at in columns if str(at) == "224x224"), columns[0]),
        baseline=baseline,
        errors=errors,
    )
    moments = [state.at for state in _conditions(counted)]
    rows = layout.rows()
    return Block(
        setting=setting,
        columns=layout.columns,
        complexity_at=layout.complexity_at,
        baseline=layout.reference.model if layout.reference else None,
        rows=rows,
        notes=tuple(layout.notes.texts),
        governors=_distinct(
            name for state in _conditions(counted) for name in state.governors.values()
        ),
        started_at=min(run.started_at for run in counted),
        ended_at=max([run.started_at for run in counted] + moments),
        tool=_tool(counted),
    )


def _cells(runs: Sequence[Run]) -> _Cells:
    grouped: dict[tuple[_Subject, Resolution], list[Run]] = {}
    for run in runs:
        grouped.setdefault((_subject(run.cell), run.cell.resolution), []).append(run)
    return {key: _pick(group) for key, group in grouped.items()}


def _subject(cell: Cell) -> _Subject:
    return _Subject(model=cell.model, options=tuple(sorted(cell.options.items())))


def _pick(runs: Sequence[Run]) -> _Picked:
    """What counts of one cell; remarks say what does not."""
    found = CellRuns.of(runs)
    remarks = []
    if found.otherwise:
        others = _count(len(found.otherwise), "process")
        remarks.append(f"left out: {others} of another file or protocol")
    if found.kept and found.failed:
        failures = [run.outcome for run in found.failed if isinstance(run.outcome, Failure)]
        reasons = "; ".join(_distinct(_reason(failure) for failure in failures))
        remarks.append(f"{_count(len(failures), 'process')} failed: {reasons}")
    if found.replaced:
        processes = _count(len({run.process for run in found.replaced}), "process")
        remarks.append(
            f"{processes} measured several times: the least disturbed attempt of each counts"
        )
    return _Picked(runs=found.kept or found.failed, remarks=tuple(remarks))


def _sha256(run: Run) -> str | None:
    return run.artifact.sha256 if run.artifact else None


@dataclass(kw_only=True)
class _Layout:
    """The rows of one block in the making; collects its footnotes on the way."""

    setting: RunSettings
    cells: _Cells
    columns: tuple[Resolution, ...]
    complexity_at: Resolution
    baseline: str
    errors: Mapping[str, Evaluation]
    notes: _Footnotes = field(default_factory=_Footnotes)
    reference: _Subject | None = field(init=False)

    def __post_init__(self) -> None:
        self.reference = self._find_reference()

    def rows(self) -> tuple[Row, ...]:
        """The paper's order: ShuffleNets by complexity, the baseline, then the others."""
        return tuple(map(self._row, sorted({subject for subject, _ in self.cells}, key=self._rank)))

    def _rank(self, subject: _Subject) -> tuple[object, ...]:
        family = 0 if subject.model.startswith("shufflenet") else 2
        complexity = self._complexity(subject) or 0
        return (
            1 if subject.model == self.baseline else family,
            subject != self.reference,
            complexity,
            subject.model,
            subject.options,
        )

    def _complexity(self, subject: _Subject) -> int | None:
        cell = self.cells.get((subject, self.complexity_at))
        return cell.multiply_adds if cell else None

    def _find_reference(self) -> _Subject | None:
        """The row that the others are compared with: the baseline variant measured first."""
        if not self.baseline:
            return None
        variants = _distinct(subject for subject, _ in self.cells if subject.model == self.baseline)
        if not variants:
            self.notes.mark(f"{self.baseline} was not measured in this setting: no speedups")
            return None
        if len(variants) > 1:
            self.notes.mark(f"speedups are over {variants[0].title}, the baseline measured first")
        return variants[0]

    def _row(self, subject: _Subject) -> Row:
        mine = [self.cells[subject, at] for at in self.columns if (subject, at) in self.cells]
        figures = self._paper_figures(subject)
        at_its_size = figures if (subject, paper.RESOLUTION) in self.cells else None
        trained = _trained(mine)
        evaluation = self._evaluation(subject)
        return Row(
            model=subject.model,
            options=dict(subject.options),
            title=subject.title,
            is_baseline=subject == self.reference,
            trained=trained,
            multiply_adds=self._complexity(subject),
            paper_mega_multiply_adds=at_its_size.mega_multiply_adds if at_its_size else None,
            paper_top1_error_percent=at_its_size.top1_error_percent if at_its_size else None,
            measured_top1_error=_measured_error(evaluation) if evaluation else None,
            marks=self._row_marks(subject, mine, evaluation, trained=trained),
            entries=tuple(
                self._entry(subject, at, self.cells[subject, at])
                if (subject, at) in self.cells
                else None
                for at in self.columns
            ),
        )

    def _paper_figures(self, subject: _Subject) -> PaperFigures | None:
        """The paper's figures, where this is its network with its classes; not by name alone."""
        figures = paper.figures(subject.model)
        if figures is None:
            return None
        at_224 = self.cells.get((subject, paper.RESOLUTION))
        mine = [self.cells[subject, at] for at in self.columns if (subject, at) in self.cells]
        files = [cell.newest.artifact for cell in mine if cell.newest.artifact is not None]
        classes = {int(one.outputs[0].shape[-1]) for one in files if one.outputs}
        known = paper.is_papers(
            figures.mega_multiply_adds,
            classes=max(classes, default=None),
            multiply_adds_at_224=at_224.multiply_adds if at_224 else None,
        )
        return figures if known and len(classes) < 2 else None

    def _evaluation(self, subject: _Subject) -> Evaluation | None:
        """The largest evaluation of a file of this row; that of ``complexity_at`` goes first."""
        for at in sorted(self.columns, key=lambda at: at != self.complexity_at):
            cell = self.cells.get((subject, at))
            sha256 = _sha256(cell.newest) if cell else None
            if sha256 is not None and sha256 in self.errors:
                return self.errors[sha256]
        return None

    def _row_marks(
        self,
        subject: _Subject,
        mine: Sequence[_Picked],
        evaluation: Evaluation | None,
        *,
        trained: bool | None,
    ) -> tuple[int, ...]:
        marks = []
        if evaluation is not None:
            marks.append(self.notes.mark(_evaluated(evaluation)))
        if trained is False:
            marks.append(self.notes.mark(_UNTRAINED))
        if subject.model.startswith("alexnet"):
            marks.append(self.notes.mark(_head_policy(subject, mine)))
        if self.setting.precision is not Precision.FP32 and self._paper_figures(subject):
            marks.append(self.notes.mark(_PAPER_IS_FP32))
        return tuple(marks)

    def _entry(self, subject: _Subject, at: Resolution, cell: _Picked) -> TableCell:
        rival = None
        if self.reference is not None and subject != self.reference:
            rival = self.cells.get((self.reference, at))
        stability = stats.stability(cell.measured)
        failure = cell.newest.outcome if isinstance(cell.newest.outcome, Failure) else None
        estimate = _estimate(cell.measured) if cell.measured else None
        figures = self._paper_figures(subject)
        remarks = [*cell.remarks, *_mismatches(cell, rival)]
        if failure:
            remarks.append(_reason(failure))
        artifact = cell.newest.artifact
        if artifact is not None and not artifact.parity.passed:
            remarks.append(f"{_INVALID}: {artifact.parity.reason}")
        if artifact is not None and artifact.attempts:
            remarks.append(f"int8 needed a remedy: {artifact.recipe}")
        if stability.findings:
            remarks.append(stability.text)
        return TableCell(
            resolution=at,
            multiply_adds=cell.multiply_adds,
            estimate=estimate,
            speedup=_speedup(cell, rival) if rival else None,
            theoretical_speedup=_theoretical(cell, rival) if rival else None,
            instruction_efficiency=self._efficiency(cell, estimate),
            paper_latency_ms=figures.latency_at(at) if figures else None,
            paper_speedup=self._paper_speedup(subject, at) if rival else None,
            stability="failed" if failure else stability.verdict.value,
            flaws=tuple(
                CellFinding(cause=found.cause.value, message=found.message, remedy=found.remedy)
                for found in stability.findings
            ),
            failure=failure,
            spec=cell.newest.spec,
            artifact=artifact,
            processes=_processes(cell.measured),
            marks=tuple(sorted({self.notes.mark(remark) for remark in remarks})),
        )

    def _paper_speedup(self, subject: _Subject, at: Resolution) -> float | None:
        if self.reference is None or not self._paper_figures(self.reference):
            return None
        known = self._paper_figures(subject) is not None
        return paper.speedup(subject.model, self.reference.model, at) if known else None

    def _efficiency(self, cell: _Picked, estimate: Estimate | None) -> float | None:
        """Least possible multiply-adds of whole vectors over instructions executed: not in int8."""
        lanes = self.setting.precision.lanes
        if (
            self.setting.metric is not Metric.INSTRUCTIONS
            or lanes is None
            or estimate is None
            or cell.multiply_adds is None
        ):
            return None
        return cell.multiply_adds / lanes / estimate.median


# --- one cell ------------------------------------------------------------------------------------


def _estimate(measured: Sequence[Run]) -> Estimate:
    samples = stats.samples_of(measured)
    interval = stats.interval(samples)
    digest = stats.summary([sample for process in samples for sample in process])
    return Estimate(
        median=interval.estimate,
        low=interval.low,
        high=interval.high,
        p10=digest.p10,
        p90=digest.p90,
        p99=digest.p99,
        minimum=digest.minimum,
        maximum=digest.maximum,
        mad=digest.mad,
        samples=digest.count,
        outliers=digest.outliers,
    )


def _speedup(cell: _Picked, rival: _Picked) -> Speedup | None:
    if not cell.measured or not rival.measured:
        return None
    interval = stats.speedup_interval(
        stats.samples_of(rival.measured), stats.samples_of(cell.measured)
    )
    return Speedup(
        ratio=interval.estimate,
        low=interval.low,
        high=interval.high,
        distinguishable=interval.distinguishable,
    )


def _theoretical(cell: _Picked, rival: _Picked) -> float | None:
    """Ratio of multiply-adds at the same resolution: the paper's "theoretical" speedup."""
    if not cell.multiply_adds or not rival.multiply_adds:
        return None
    return rival.multiply_adds / cell.multiply_adds


def _mismatches(cell: _Picked, rival: _Picked | None) -> list[str]:
    """What makes a comparison with the baseline less than fair."""
    if rival is None or not cell.measured or not rival.measured:
        return []
    remarks = []
    if cell.newest.spec.protocol != rival.newest.spec.protocol:
        remarks.append("measured with another protocol than the baseline (see the conditions)")
    ours = sorted(run.started_at for run in cell.measured)
    theirs = sorted(run.started_at for run in rival.measured)
    if min(len(ours), len(theirs)) > 1 and (ours[-1] < theirs[0] or theirs[-1] < ours[0]):
        remarks.append("not measured in the same rounds as the baseline")
    return remarks


def _processes(measured: Sequence[Run]) -> tuple[Process, ...]:
    return tuple(
        Process(
            run=run.id,
            process=run.process,
            started_at=run.started_at,
            samples=run.outcome.samples,
            first=run.outcome.first,
            load=run.outcome.load,
            peak_rss_bytes=run.outcome.peak_rss_bytes,
            before=run.before,
            after=run.after,
        )
        for run in measured
        if isinstance(run.outcome, Measurement)
    )


def _measured_error(evaluation: Evaluation) -> MeasuredError:
    tally = evaluation.file
    low, high = proportions.wilson(tally.pictures - tally.top1, tally.pictures)
    return MeasuredError(
        percent=100 * (tally.pictures - tally.top1) / tally.pictures,
        low=100 * low,
        high=100 * high,
        pictures=tally.pictures,
        resolution=evaluation.artifact.resolution,
    )


def _evaluated(evaluation: Evaluation) -> str:
    """What the measured error of a row was measured on, and how sure it is."""
    error, data = _measured_error(evaluation), evaluation.data
    missing = len(evaluation.unreadable)
    return (
        f"top-1 error of this very file at {error.resolution}: {error.percent:.1f} % "
        f"({error.low:.1f}–{error.high:.1f}) on {error.pictures} pictures of {data.classes} "
        f"classes in {data.source} (fingerprint {data.fingerprint[:12]})"
        + (f", {missing} more could not be decoded" if missing else "")
    )


# --- words and facts -----------------------------------------------------------------------------


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


def _head_policy(subject: _Subject, mine: Sequence[_Picked]) -> str:
    head = dict(subject.options).get("head")
    for cell in mine:
        if head is None and cell.newest.artifact is not None:
            head = cell.newest.artifact.options.get("head")
    return _HEAD_POLICIES.get(head or "", "AlexNet's head policy was not recorded")


def _trained(mine: Sequence[_Picked]) -> bool | None:
    known = [run.artifact.weights.trained for cell in mine for run in cell.runs if run.artifact]
    return all(known) if known else None


def _reason(failure: Failure) -> str:
    return f"{failure.kind.value}: {failure.message}"


def _conditions(runs: Sequence[Run]) -> list[Conditions]:
    return [state for run in runs for state in (run.before, run.after) if state is not None]


def _tool(runs: Sequence[Run]) -> dict[str, str]:
    """What measured, such as the version of this package; several values are joined."""
    told = {key: _distinct(str(run.tool[key]) for run in runs if key in run.tool) for key in _TOOL}
    return {key: ", ".join(values) for key, values in told.items() if values}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "es")


def _distinct(values: Iterable[_Value]) -> tuple[_Value, ...]:
    """The values without repetitions, in order of appearance."""
    return tuple(dict.fromkeys(values))
