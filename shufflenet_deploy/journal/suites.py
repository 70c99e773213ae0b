"""Suites as they are listed and found: by their tallies, whatever the number of runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from shufflenet_deploy.bounded import Moment, Name, Text
from shufflenet_deploy.journal import schema
from shufflenet_deploy.journal.rows import batches
from shufflenet_deploy.printing import first_line
from shufflenet_deploy.records import Metric, Record, first_problem

_runs, _suites, _tallies = schema.runs, schema.suites, schema.tallies

#: A database may order moments of one second by rules of a language, and not by their digits.
_MARGIN = 32


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


def recount(connection: sa.Connection, suites: Sequence[Any] | None = None) -> None:
    """Make the tallies of some suites, or of all, from their runs; belongs into every transaction
    that adds or removes runs.

    It takes as long as those suites are large, and nothing of the others.
    """
    counted = sa.select(
        _runs.c.suite,
        sa.func.min(_runs.c.host),
        sa.func.min(_runs.c.started_at),
        sa.func.sum(sa.case((_runs.c.kind == "measurement", 1), else_=0)),
        sa.func.sum(sa.case((_runs.c.kind == "failure", 1), else_=0)),
        sa.func.min(_runs.c.metric),
        sa.func.max(_runs.c.metric),
    ).group_by(_runs.c.suite)
    for batch in [None] if suites is None else batches(suites):
        old, new = _tallies.delete(), counted
        if batch is not None:
            old, new = old.where(_tallies.c.suite.in_(batch)), new.where(_runs.c.suite.in_(batch))
        connection.execute(old)
        connection.execute(_tallies.insert().from_select([*_tallies.c.keys()], new))


def add_to_tally(connection: sa.Connection, run: Mapping[str, Any]) -> None:
    """Count one more run, by its row."""
    known, at, metric = _tallies.c, run["started_at"], run["metric"]
    changed = connection.execute(
        _tallies.update()
        .where(known.suite == run["suite"])
        .values(
            host=_first(known.host, run["host"]),
            first_at=_first(known.first_at, at),
            measurements=known.measurements + int(run["kind"] == "measurement"),
            failures=known.failures + int(run["kind"] == "failure"),
            least_metric=_first(known.least_metric, metric),
            greatest_metric=sa.case(
                (known.greatest_metric < metric, metric), else_=known.greatest_metric
            ),
        )
    )
    if changed.rowcount == 0:
        recount(connection, [run["suite"]])


def _first(column: sa.Column[str], value: str) -> sa.Case[str]:
    """The lesser of the two."""
    return sa.case((column > value, value), else_=column)


def _suite_row(suite: Any, tally: Any, note: Any) -> SuiteRow:
    """The row of one suite.

    Args:
        suite: its id.
        tally: its row of the table of tallies; None where there are no runs.
        note: its row of the table of suites; None for one that was imported without.

    Raises:
        ValidationError: a column holds what none of ours does.
    """
    metrics = (tally.least_metric, tally.greatest_metric) if tally else ()
    return SuiteRow.model_validate(
        {
            "id": suite,
            "name": note.name if note else suite,
            "host": note.host if note else tally.host,
            "created_at": note.created_at if note else tally.first_at,
            "metrics": tuple(dict.fromkeys(metrics)),
            "measurements": tally.measurements if tally else 0,
            "failures": tally.failures if tally else 0,
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
    tallies = _selected(connection, sa.select(_tallies), _tallies.c.suite, only)
    for suite in tallies.keys() | notes.keys():
        try:
            yield _suite_row(suite, tallies.get(suite), notes.get(suite))
        except ValidationError as error:
            on_damaged(f"suite {first_line(repr(suite), 80)}: {first_problem(error)}")


def ids(connection: sa.Connection, most: int | None = None) -> list[Any]:
    """The ids of all suites, or of so many, newest first."""
    noted = sa.exists().where(_suites.c.id == _tallies.c.suite)
    known = sa.select(_suites.c.created_at, _suites.c.id)
    strangers = sa.select(_tallies.c.first_at, _tallies.c.suite).where(~noted)
    began: list[tuple[str, str, Any]] = []
    for chosen in (known, strangers):
        query = chosen
        if most is not None:
            newest_first = [column.desc() for column in chosen.selected_columns]
            query = chosen.order_by(*newest_first).limit(most + _MARGIN)
        began += [(str(at), str(suite), suite) for at, suite in connection.execute(query)]
    ordered = sorted(began, key=lambda one: one[:2], reverse=True)
    return [suite for *_, suite in ordered[:most]]


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
