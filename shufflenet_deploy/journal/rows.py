"""Rows of the journal's tables: records to columns, and the summary row of a suite."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from typing import Any

import sqlalchemy as sa

from shufflenet_deploy.bounded import Moment, Name, Text
from shufflenet_deploy.journal import schema
from shufflenet_deploy.records import (
    AnyObservation,
    CrossCheck,
    Evaluation,
    Metric,
    Paced,
    Pipeline,
    Record,
    Run,
    SuiteNote,
    Sustained,
)


class SuiteRow(Record):
    """One suite of the journal. ``definition`` is what ``bench --resume`` needs, "" without one.

    Of a suite that was ``imported``, ``host`` comes from a file: nothing connects there unasked.
    """

    id: Name
    name: Name
    host: Name
    created_at: Moment
    metrics: tuple[Metric, ...]
    measurements: int
    failures: int
    definition: Text
    imported: bool = False


def suite_row(suite: Any, counted: Any, note: Any) -> SuiteRow:
    """One row of ``Journal.suites``.

    Args:
        suite: its id.
        counted: its id, first start, host, measurements, failures, least and greatest metric; None
            where there are no runs.
        note: its row of the table of suites; None for one that was imported without.

    Raises:
        ValidationError: a column holds what none of ours does.
    """
    _, first_at, host, measurements, failures, *metrics = counted or ("", "", "", 0, 0)
    return SuiteRow.model_validate(
        {
            "id": suite,
            "name": note.name if note else suite,
            "host": note.host if note else host,
            "created_at": note.created_at if note else first_at,
            "metrics": tuple(dict.fromkeys(sorted(metrics, key=str))),
            "measurements": measurements,
            "failures": failures,
            "definition": note.definition if note else "",
            "imported": note.imported if note else True,
        }
    )


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
)
