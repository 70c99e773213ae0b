"""Layout of a speedup table: runs -> blocks of rows and cells, with their footnotes.

``run_groups`` selects the runs of each cell, ``cell_figures`` derives its figures, ``footnotes``
words what a reader must know of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shufflenet_deploy import stats
from shufflenet_deploy.records import (
    Conditions,
    Evaluation,
    Failure,
    Measurement,
    Precision,
    Prediction,
    Resolution,
    Run,
)
from shufflenet_deploy.report import cell_figures, energy_figures, footnotes, paper
from shufflenet_deploy.report.footnotes import Footnotes
from shufflenet_deploy.report.paper import PaperFigures
from shufflenet_deploy.report.predicted_cells import compared
from shufflenet_deploy.report.run_groups import (
    Cells,
    SelectedRuns,
    Subject,
    by_setting,
    distinct,
    select_cells,
)
from shufflenet_deploy.report.table_model import Block, CellFinding, Row, RunSettings, TableCell

#: The fields of ``Run.tool`` needed to reproduce a measurement.
_TOOL = ("version", "environment", "agent_sha256")


def blocks(
    runs: Sequence[Run],
    baseline: str,
    evaluations: Sequence[Evaluation] = (),
    predicted: Sequence[Prediction] = (),
) -> tuple[Block, ...]:
    """Group runs by setting and lay out each group; see ``run_groups.by_setting``."""
    largest = _largest(evaluations)
    return tuple(
        _block(setting, group, baseline, largest, predicted) for setting, group in by_setting(runs)
    )


def _largest(evaluations: Sequence[Evaluation]) -> dict[str, Evaluation]:
    """The evaluation of each file over most images, of several such the newest."""
    largest: dict[str, Evaluation] = {}
    for one in evaluations:
        known = largest.get(one.artifact.sha256)
        if known is None or one.file.pictures >= known.file.pictures:
            largest[one.artifact.sha256] = one
    return largest


def _block(
    setting: RunSettings,
    runs: Sequence[Run],
    baseline: str,
    evaluations: Mapping[str, Evaluation],
    predicted: Sequence[Prediction],
) -> Block:
    cells = select_cells(runs)
    counted = [run for cell in cells.values() for run in cell.runs]
    columns = sorted({at for _, at in cells}, key=lambda at: (at.pixels, at.height))
    layout = _Layout(
        setting=setting,
        cells=cells,
        columns=tuple(columns),
        complexity_at=next((at for at in columns if str(at) == "224x224"), columns[0]),
        baseline=baseline,
        evaluations=evaluations,
        predicted=predicted,
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
        governors=distinct(
            name for state in _conditions(counted) for name in state.governors.values()
        ),
        started_at=min(run.started_at for run in counted),
        ended_at=max([run.started_at for run in counted] + moments),
        tool=_tool(counted),
    )


@dataclass(kw_only=True)
class _Layout:
    """Builder of the rows of one block, which collects their footnotes."""

    setting: RunSettings
    cells: Cells
    columns: tuple[Resolution, ...]
    complexity_at: Resolution
    baseline: str
    evaluations: Mapping[str, Evaluation]
    predicted: Sequence[Prediction]
    notes: Footnotes = field(default_factory=Footnotes)
    reference: Subject | None = field(init=False)

    def __post_init__(self) -> None:
        self.reference = self._find_reference()

    def rows(self) -> tuple[Row, ...]:
        """The paper's order: ShuffleNets by complexity, the baseline, then the others."""
        return tuple(map(self._row, sorted({subject for subject, _ in self.cells}, key=self._rank)))

    def _rank(self, subject: Subject) -> tuple[object, ...]:
        family = 0 if subject.model.startswith("shufflenet") else 2
        complexity = self._complexity(subject) or 0
        return (
            1 if subject.model == self.baseline else family,
            subject != self.reference,
            complexity,
            subject.model,
            subject.options,
        )

    def _complexity(self, subject: Subject) -> int | None:
        cell = self.cells.get((subject, self.complexity_at))
        if cell is None:
            # A file has one size of its own.
            mine = [one for (other, _), one in self.cells.items() if other == subject]
            cell = mine[0] if len(mine) == 1 and _is_file(mine) else None
        return cell.multiply_adds if cell else None

    def _find_reference(self) -> Subject | None:
        """The row the others are compared with: the baseline variant measured first."""
        if not self.baseline:
            return None
        variants = distinct(subject for subject, _ in self.cells if subject.model == self.baseline)
        if not variants:
            self.notes.mark(f"{self.baseline} was not measured in this setting: no speedups")
            return None
        if len(variants) > 1:
            self.notes.mark(f"speedups are over {variants[0].title}, the baseline measured first")
        return variants[0]

    def _row(self, subject: Subject) -> Row:
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
            measured_top1_error=cell_figures.measured_error(evaluation) if evaluation else None,
            marks=self._row_marks(subject, mine, evaluation, trained=trained),
            entries=tuple(
                self._entry(subject, at, self.cells[subject, at])
                if (subject, at) in self.cells
                else None
                for at in self.columns
            ),
        )

    def _paper_figures(self, subject: Subject) -> PaperFigures | None:
        """The paper's figures if classes and multiply-adds match its network, not by name alone."""
        figures = paper.figures(subject.model)
        if figures is None or _is_backbone(subject):
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

    def _evaluation(self, subject: Subject) -> Evaluation | None:
        """The largest evaluation of a file of this row; that of ``complexity_at`` goes first."""
        for at in sorted(self.columns, key=lambda at: at != self.complexity_at):
            cell = self.cells.get((subject, at))
            artifact = cell.newest.artifact if cell else None
            if artifact is not None and artifact.sha256 in self.evaluations:
                return self.evaluations[artifact.sha256]
        return None

    def _row_marks(
        self,
        subject: Subject,
        mine: Sequence[SelectedRuns],
        evaluation: Evaluation | None,
        *,
        trained: bool | None,
    ) -> tuple[int, ...]:
        marks = []
        if evaluation is not None:
            error = cell_figures.measured_error(evaluation)
            marks.append(self.notes.mark(footnotes.evaluation_note(evaluation, error)))
        if _is_file(mine):
            marks.append(self.notes.mark(footnotes.AS_IS))
        if trained is False:
            marks.append(self.notes.mark(footnotes.UNTRAINED))
        if subject.model.startswith("alexnet") and not _is_backbone(subject):
            marks.append(self.notes.mark(footnotes.head_policy(_head(subject, mine))))
        if self.setting.precision is not Precision.FP32 and self._paper_figures(subject):
            marks.append(self.notes.mark(footnotes.PAPER_IS_FP32))
        return tuple(marks)

    def _entry(self, subject: Subject, at: Resolution, cell: SelectedRuns) -> TableCell:
        baseline_cell = None
        if self.reference is not None and subject != self.reference:
            baseline_cell = self.cells.get((self.reference, at))
        stability = stats.stability(cell.measured)
        failure = cell.newest.outcome if isinstance(cell.newest.outcome, Failure) else None
        estimate = cell_figures.estimate(cell.measured) if cell.measured else None
        figures = self._paper_figures(subject)
        return TableCell(
            resolution=at,
            multiply_adds=cell.multiply_adds,
            estimate=estimate,
            speedup=cell_figures.speedup(cell, baseline_cell) if baseline_cell else None,
            theoretical_speedup=(
                cell_figures.theoretical_speedup(cell, baseline_cell) if baseline_cell else None
            ),
            instruction_efficiency=cell_figures.instruction_efficiency(
                cell, self.setting, estimate
            ),
            paper_latency_ms=figures.latency_at(at) if figures else None,
            paper_speedup=self._paper_speedup(subject, at) if baseline_cell else None,
            paper_map_percent=_paper_map(subject, at),
            footprint=cell_figures.footprint(cell.measured),
            energy=energy_figures.of_runs(cell.measured),
            predictions=tuple(one.figure for one in compared(self.predicted, cell.measured)),
            stability="failed" if failure else stability.verdict.value,
            flaws=tuple(
                CellFinding(cause=found.cause.value, message=found.message, remedy=found.remedy)
                for found in stability.findings
            ),
            failure=failure,
            spec=cell.newest.spec,
            artifact=cell.newest.artifact,
            processes=cell_figures.processes(cell.measured),
            marks=tuple(
                sorted({self.notes.mark(one) for one in _remarks(cell, baseline_cell, stability)})
            ),
        )

    def _paper_speedup(self, subject: Subject, at: Resolution) -> float | None:
        if self.reference is None or not self._paper_figures(self.reference):
            return None
        known = self._paper_figures(subject) is not None
        return paper.speedup(subject.model, self.reference.model, at) if known else None


def _is_backbone(subject: Subject) -> bool:
    return dict(subject.options).get("head") == "none"


def _paper_map(subject: Subject, at: Resolution) -> float | None:
    """The paper's mAP with this backbone on images of this size."""
    figures = paper.figures(subject.model)
    return figures.map_at(at) if figures and _is_backbone(subject) else None


def _remarks(
    cell: SelectedRuns, baseline_cell: SelectedRuns | None, stability: stats.Stability
) -> list[str]:
    """The footnotes of one cell: runs left out, failures, validation, stability."""
    outcome, artifact = cell.newest.outcome, cell.newest.artifact
    remarks = [*cell.remarks, *cell_figures.mismatches(cell, baseline_cell)]
    if isinstance(outcome, Failure):
        remarks.append(footnotes.failure_reason(outcome))
    if isinstance(outcome, Measurement) and outcome.delegation and outcome.delegation.left:
        remarks.append(outcome.delegation.text)
    if artifact is not None and not artifact.parity.passed:
        remarks.append(f"{footnotes.FAILED_VALIDATION}: {artifact.parity.reason}")
    if artifact is not None and artifact.attempts:
        remarks.append(f"int8 needed a quantization fallback: {artifact.recipe}")
    if stability.findings:
        remarks.append(stability.text)
    return remarks


def _head(subject: Subject, mine: Sequence[SelectedRuns]) -> str | None:
    """AlexNet's head option, of the cell or of its artifact; None if not recorded."""
    head = dict(subject.options).get("head")
    for cell in mine:
        if head is None and cell.newest.artifact is not None:
            head = cell.newest.artifact.options.get("head")
    return head


def _is_file(mine: Sequence[SelectedRuns]) -> bool:
    """True for a file that was measured as it is."""
    made = [cell.newest.artifact for cell in mine]
    return any(artifact is not None and not artifact.parity.claimed for artifact in made)


def _trained(mine: Sequence[SelectedRuns]) -> bool | None:
    known = [run.artifact.weights.trained for cell in mine for run in cell.runs if run.artifact]
    return all(known) if known else None


def _conditions(runs: Sequence[Run]) -> list[Conditions]:
    return [state for run in runs for state in (run.before, run.after) if state is not None]


def _tool(runs: Sequence[Run]) -> dict[str, str]:
    """The measuring software, such as this package's version; several values are joined."""
    found = {key: distinct(str(run.tool[key]) for run in runs if key in run.tool) for key in _TOOL}
    return {key: ", ".join(values) for key, values in found.items() if values}
