"""Predictions of measured cells.

A prediction belongs to a measured cell when model, runtime, type, resolution, threads and the kind
of core agree, and the file where the cell has options. Its board is named: the memory of two boards
with one core differs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from shufflenet_deploy import stats
from shufflenet_deploy.records import Cell, Metric, Prediction, Run, RuntimeSpec
from shufflenet_deploy.report.table_model import PredictedFigure
from shufflenet_deploy.stats.attempts import CellRuns


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
    def figure(self) -> PredictedFigure:
        """The prediction as a cell of the table has it."""
        one = self.prediction
        return PredictedFigure(
            board=one.board,
            core=one.core,
            predicted_ns=one.predicted_ns,
            low_ns=one.low_ns,
            high_ns=one.high_ns,
            validated=one.validated,
            error=self.error,
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
