"""Predictions beside the measurements of the same cells: two columns, never one.

A prediction belongs to a measured cell when model, runtime, type, resolution, threads and the kind
of core agree, and the file where the cell has options. Its board is named: the memory of two boards
with one core differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shufflenet_deploy import stats
from shufflenet_deploy.records import Cell, Metric, Prediction, Run, RuntimeSpec
from shufflenet_deploy.report import formatting
from shufflenet_deploy.report.html import Part
from shufflenet_deploy.report.numerals import figure
from shufflenet_deploy.stats.attempts import CellRuns

_HEADER = ("model", "runtime", "host", "measured ms", "board", "predicted ms", "error")
_TITLE = "Predicted beside measured"
_TEXT = (
    "Predicted (± x): by a model of the core, not measured; x is the half-width of the interval"
    " in which the measured figure is expected. The last column is the prediction's error here."
)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A measured cell on its host, and a prediction of the same."""

    cell: Cell
    host: str
    measured_ns: float
    prediction: Prediction

    @property
    def error(self) -> float:
        """Predicted over measured, minus one."""
        return self.prediction.predicted_ns / self.measured_ns - 1

    @property
    def row(self) -> tuple[str, ...]:
        """As ``_HEADER`` names it."""
        one, cell = self.prediction, self.cell
        threads = f", {cell.threads} threads" if cell.threads > 1 else ""
        return (
            f"{cell.model} {cell.resolution}",
            f"{cell.runtime} {cell.precision.value}{threads}",
            self.host,
            figure(self.measured_ns / 1e6),
            one.board,
            f"{figure(one.predicted_ns / 1e6)} (± {one.relative:.0%})",
            f"{self.error:+.0%}",
        )


def compared(predictions: Iterable[Prediction], runs: Iterable[Run]) -> list[Comparison]:
    """Every measured cell with each of its predictions, the newest of a board."""
    newest: dict[tuple[object, ...], dict[str, Prediction]] = {}
    for one in predictions:
        newest.setdefault((one.core, *_key(one)), {})[one.board] = one
    measured: dict[tuple[str, str, Cell], list[Run]] = {}
    for run in runs:
        if run.spec.metric is Metric.LATENCY and not run.spec.background_load:
            measured.setdefault((run.suite, run.target.host, run.cell), []).append(run)
    found = []
    for (_, host, cell), attempts in measured.items():
        core = attempts[0].target.core_name(attempts[0].spec.cpus)
        kept = CellRuns.of(attempts).kept
        samples = stats.samples_of(kept)
        files = {run.artifact.sha256 for run in kept if run.artifact is not None}
        predicted = newest.get((core, *_key(cell)), {}).values() if samples else ()
        found += [
            Comparison(cell=cell, host=host, measured_ns=stats.center(samples), prediction=one)
            for one in predicted
            if not cell.options or one.artifact in files
        ]
    return found


def _key(one: Prediction | Cell) -> tuple[object, ...]:
    runtime = RuntimeSpec.parse(one.runtime).name
    return one.model, runtime, one.precision, one.resolution, one.threads


def text(found: Sequence[Comparison]) -> str:
    """Lines for a terminal; empty where there are none."""
    if not found:
        return ""
    rows = [_HEADER, *(one.row for one in found)]
    return "\n".join([f"{_TITLE}:", *formatting.below_names(rows), f"  {_TEXT}"]) + "\n"


def part(found: Sequence[Comparison]) -> list[Part]:
    """The section of a page; none where nothing was predicted of what was measured."""
    if not found:
        return []
    rows = tuple(one.row for one in found)
    return [Part(title=_TITLE, label="Predicted", text=_TEXT, header=_HEADER, rows=rows)]
