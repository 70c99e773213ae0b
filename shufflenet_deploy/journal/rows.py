"""Rows of the journal's tables: records to columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC
from typing import Any, TypeVar

import sqlalchemy as sa

from shufflenet_deploy.journal import schema
from shufflenet_deploy.journal.cells import MeasuredCell
from shufflenet_deploy.records import (
    AnyObservation,
    CrossCheck,
    Evaluation,
    Paced,
    Pipeline,
    Run,
    StoredPrediction,
    SuiteNote,
    Sustained,
)

_Item = TypeVar("_Item")

#: Rows or keys that one statement takes: databases limit its parameters.
_BATCH = 500


def batches(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    """Parts of a list as long as one statement can take."""
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


def present(connection: sa.Connection, column: sa.Column[str], keys: Sequence[str]) -> set[str]:
    """Those of some keys that a column holds."""
    found: set[str] = set()
    for batch in batches(keys):
        found |= set(connection.scalars(sa.select(column).where(column.in_(batch))))
    return found


def note_cells(connection: sa.Connection, runs: Sequence[Run]) -> None:
    """Add the cells of runs that the journal does not know yet."""
    cells = {cell.key: cell.row for cell in map(MeasuredCell.of, runs)}
    known = present(connection, schema.cells.c.id, [*cells])
    if new := [row for key, row in cells.items() if key not in known]:
        connection.execute(schema.cells.insert(), new)


def forget_cells(connection: sa.Connection, keys: Sequence[str]) -> None:
    """Remove those of some cells that no run is of any more."""
    table = schema.cells
    left = sa.exists().where(schema.runs.c.cell == table.c.id)
    for batch in batches(keys):
        connection.execute(table.delete().where(table.c.id.in_(batch), ~left))


def run_row(run: Run) -> dict[str, Any]:
    """Columns of a run, its JSON among them."""
    return {
        "id": run.id,
        "suite": run.suite,
        "started_at": run.started_at.astimezone(UTC).isoformat(),
        "host": run.target.host,
        "kind": run.kind,
        "metric": run.spec.metric.value,
        "model": run.cell.model,
        "runtime": run.cell.runtime,
        "precision": run.cell.precision.value,
        "resolution": str(run.cell.resolution),
        "threads": run.cell.threads,
        "process": run.process,
        "artifact_sha256": run.artifact.sha256 if run.artifact else None,
        "record": run.model_dump_json(),
        "cell": MeasuredCell.of(run).key,
    }


def observation_row(observation: AnyObservation) -> dict[str, Any]:
    """Columns of a supplementary measurement, its JSON among them."""
    return {
        "id": observation.id,
        "suite": observation.suite,
        "started_at": observation.started_at.astimezone(UTC).isoformat(),
        "host": observation.target.host,
        "kind": observation.kind,
        "record": observation.model_dump_json(),
    }


def evaluation_row(evaluation: Evaluation) -> dict[str, Any]:
    """Columns of an evaluation, its JSON among them."""
    return {
        "id": evaluation.id,
        "at": evaluation.at.astimezone(UTC).isoformat(),
        "artifact_sha256": evaluation.artifact.sha256,
        "record": evaluation.model_dump_json(),
    }


def prediction_row(stored: StoredPrediction) -> dict[str, Any]:
    """Columns of a prediction, its JSON among them."""
    return {
        "id": stored.id,
        "at": stored.at.astimezone(UTC).isoformat(),
        "artifact_sha256": stored.prediction.artifact,
        "record": stored.model_dump_json(),
    }


def note_row(note: SuiteNote) -> dict[str, Any]:
    """Columns of an imported suite."""
    row = note.model_dump(exclude={"kind"})
    return {**row, "created_at": note.created_at.astimezone(UTC).isoformat(), "imported": 1}


#: Table of each kind of record, with the conversion of a record to its row.
TABLES: tuple[tuple[sa.Table, Callable[[Any], dict[str, Any]], tuple[type, ...]], ...] = (
    (schema.suites, note_row, (SuiteNote,)),
    (schema.runs, run_row, (Run,)),
    (schema.observations, observation_row, (Sustained, CrossCheck, Paced, Pipeline)),
    (schema.evaluations, evaluation_row, (Evaluation,)),
    (schema.predictions, prediction_row, (StoredPrediction,)),
)
