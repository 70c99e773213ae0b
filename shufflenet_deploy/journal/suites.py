"""Suites as they are listed and found: from an index, the runs themselves are not read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from shufflenet_deploy.bounded import Moment, Name, Text
from shufflenet_deploy.journal import schema
from shufflenet_deploy.journal.rows import batches
from shufflenet_deploy.printing import first_line
from shufflenet_deploy.records import Metric, Record, first_problem

_runs, _suites = schema.runs, schema.suites


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


def _suite_row(suite: Any, counted: Any, note: Any, host: Any) -> SuiteRow:
    """The row of one suite.

    Args:
        suite: its id.
        counted: its id, first start, measurements, failures, least and greatest metric; None where
            there are no runs.
        note: its row of the table of suites; None for one that was imported without.
        host: that of its runs, for one without a note.

    Raises:
        ValidationError: a column holds what none of ours does.
    """
    _, first_at, measurements, failures, *metrics = counted or ("", "", 0, 0)
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


def rows(
    connection: sa.Connection,
    on_damaged: Callable[[str], object],
    only: Sequence[Any] | None = None,
) -> Iterator[SuiteRow]:
    """The rows of all suites, or of some ids, in no order.

    ``on_damaged`` is called with a line about each whose columns cannot be read.
    """
    notes = _selected(connection, sa.select(_suites), _suites.c.id, only)
    counted = _selected(connection, _counts(), _runs.c.suite, only)
    strangers = [suite for suite in counted if suite not in notes]
    hosts = _selected(
        connection,
        sa.select(_runs.c.suite, sa.func.min(_runs.c.host)).group_by(_runs.c.suite),
        _runs.c.suite,
        strangers,
    )
    for suite in counted.keys() | notes.keys():
        host = hosts[suite][1] if suite in hosts else ""
        try:
            yield _suite_row(suite, counted.get(suite), notes.get(suite), host)
        except ValidationError as error:
            on_damaged(f"suite {first_line(repr(suite), 80)}: {first_problem(error)}")


def ids(connection: sa.Connection) -> list[Any]:
    """The ids of all suites, newest first."""
    began: dict[Any, Any] = {
        row.id: row.created_at
        for row in connection.execute(sa.select(_suites.c.id, _suites.c.created_at))
    }
    strangers = [suite for suite in connection.scalars(_distinct()) if suite not in began]
    first = sa.select(_runs.c.suite, sa.func.min(_runs.c.started_at)).group_by(_runs.c.suite)
    began |= {
        suite: row[1]
        for suite, row in _selected(connection, first, _runs.c.suite, strangers).items()
    }
    return sorted(began, key=lambda suite: (str(began[suite]), str(suite)), reverse=True)


def _counts() -> sa.Select[Any]:
    return sa.select(
        _runs.c.suite,
        sa.func.min(_runs.c.started_at),
        sa.func.sum(sa.case((_runs.c.kind == "measurement", 1), else_=0)),
        sa.func.sum(sa.case((_runs.c.kind == "failure", 1), else_=0)),
        sa.func.min(_runs.c.metric),
        sa.func.max(_runs.c.metric),
    ).group_by(_runs.c.suite)


def _distinct() -> sa.Select[Any]:
    """Every suite that has runs, by one look into the index for each instead of for each run."""
    found = sa.select(sa.func.min(_runs.c.suite).label("suite")).cte("found", recursive=True)
    after = sa.select(sa.func.min(_runs.c.suite)).where(_runs.c.suite > found.c.suite)
    found = found.union_all(sa.select(after.scalar_subquery()).where(found.c.suite.is_not(None)))
    return sa.select(found.c.suite).where(found.c.suite.is_not(None))


def _selected(
    connection: sa.Connection,
    query: sa.Select[Any],
    column: sa.Column[str],
    only: Sequence[Any] | None,
) -> dict[Any, Any]:
    """Rows by their first column: all, or those where a column has one of some values."""
    if only is None:
        return {row[0]: row for row in connection.execute(query)}
    return {
        row[0]: row
        for batch in batches(only)
        for row in connection.execute(query.where(column.in_(batch)))
    }
