"""The journal: every run, raw, committed the moment it ends, in SQLite or any database.

A run is stored as its own JSON with a few indexed columns next to it. Runs are only ever added
(or deleted by the user), never changed. Of several attempts at the same process of the same cell
one counts when runs are read (see ``attempts``); the others stay.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from sqlalchemy import exc

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.journal import schema, suites
from shufflenet_deploy.journal.cells import MeasuredCell
from shufflenet_deploy.journal.database import locate
from shufflenet_deploy.journal.engine import create_engine, prepare_file
from shufflenet_deploy.journal.lines import Parsed, parse_lines, parsed
from shufflenet_deploy.journal.rows import (
    TABLES,
    evaluation_row,
    forget_cells,
    note_cells,
    observation_row,
    prediction_row,
    present,
    run_row,
)
from shufflenet_deploy.journal.suites import SuiteRow
from shufflenet_deploy.printing import first_line
from shufflenet_deploy.records import (
    AnyObservation,
    Evaluation,
    Observation,
    Prediction,
    Run,
    StoredPrediction,
    SuiteNote,
    first_problem,
    last_attempts,
)
from shufflenet_deploy.stats import attempts

#: Names the journal where no ``--journal`` does: a path or a database URL.
JOURNAL_VARIABLE = "SHUFFLENET_DEPLOY_JOURNAL"

#: Placeholder for the newest suite, where a suite is asked for.
LAST = "last"
#: So many suites are named where several fit.
_SHOWN_SUITES = 4

#: The kind of runs that are stored next to the measurements.
_PROFILE = "profile"

#: Any number, the same in every version: a journal has one writer at a time.
_WRITER_LOCK = 0x53484644

#: Rows that are held while records are read: a run may have ten thousand samples.
_ROWS_AT_A_TIME = 256

_observation: TypeAdapter[AnyObservation] = TypeAdapter(
    Observation, config=ConfigDict(defer_build=True)
)

#: Callback for each row that cannot be read, with one line that names it.
OnDamaged = Callable[[str], object]


def default_location() -> str:
    """The journal's path or URL: the environment's, else a file in the user's data folder."""
    if chosen := os.environ.get(JOURNAL_VARIABLE):
        return chosen
    import platformdirs  # noqa: PLC0415 - not needed where a journal is named

    return str(platformdirs.user_data_path("shufflenet-deploy") / "journal.sqlite")


class Journal:
    """An open journal; use it as a context manager, or call ``close``.

    Several processes may write to one journal at a time.
    """

    def __init__(
        self, location: str | Path | None = None, *, on_damaged: OnDamaged | None = None
    ) -> None:
        """Open a journal, creating or upgrading it first where necessary.

        Args:
            location: a path, an SQLAlchemy URL, or None for ``default_location()``.
            on_damaged: called for each row that cannot be read, which is then left out; without it
                such a row raises ``UsageError``.

        Raises:
            UsageError: it cannot be opened, is something else, or comes from a newer version.
        """
        self._on_damaged = on_damaged or _refuse
        #: As it was given, credentials included: for opening it again, never for printing.
        self.address = str(location or default_location())
        self._where = locate(self.address)
        self.location = self._where.shown
        if self._where.file is not None:
            prepare_file(self._where.file, self.location)
        try:
            with warnings.catch_warnings():
                # Warnings as errors: a driver's warning would be stray output on the terminal.
                warnings.simplefilter("error")
                self._engine = create_engine(self._where)
            self._writer = self._engine.execution_options(writes=True)
        except (ModuleNotFoundError, exc.NoSuchModuleError) as error:
            raise UsageError(
                f"no driver for the journal {self.location}: {self._where.reason(error)}; "
                "install it, for PostgreSQL: pip install 'shufflenet-deploy[postgresql]'"
            ) from error
        except Exception as error:  # whatever a driver makes of the parameters of a URL
            raise self._where.unusable(error) from error
        try:
            if not self._is_current():
                with self._opening(), self._writing() as connection:
                    schema.upgrade(connection, self.location)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the database's connections back."""
        self._engine.dispose()

    # --- writing ---------------------------------------------------------------------------------

    def open_suite(self, *, id: str, name: str, host: str, definition: str) -> None:  # noqa: A002
        """Note a suite before its first run, so that it can be resumed; again is harmless."""
        row = {"name": name, "host": host, "definition": definition}
        with self._writing() as connection:
            changed = connection.execute(
                schema.suites.update().where(schema.suites.c.id == id).values(definition=definition)
            )
            if changed.rowcount == 0:
                now = datetime.now(UTC).isoformat()
                connection.execute(schema.suites.insert().values(id=id, created_at=now, **row))
            # A process of an older version, which keeps no tallies, may have added runs.
            suites.recount(connection, [id])

    def append(self, run: Run) -> None:
        """Add one run; it is on disk when this returns."""
        with self._writing() as connection:
            note_cells(connection, [run])
            row = run_row(run)
            connection.execute(schema.runs.insert().values(**row))
            suites.add_to_tally(connection, row)

    def observe(self, observation: AnyObservation) -> None:
        """Add a supplementary measurement; it is on disk when this returns."""
        with self._writing() as connection:
            connection.execute(schema.observations.insert().values(**observation_row(observation)))

    def append_evaluation(self, evaluation: Evaluation) -> None:
        """Add an evaluation; one with the same id is there already and stays."""
        self._add(schema.evaluations, evaluation.id, evaluation_row(evaluation))

    def append_prediction(self, stored: StoredPrediction) -> None:
        """Add a prediction; the same one is there already and stays."""
        self._add(schema.predictions, stored.id, prediction_row(stored))

    def _add(self, table: sa.Table, name: str, row: dict[str, Any]) -> None:
        with self._writing() as connection:
            if connection.scalar(sa.select(table.c.id).where(table.c.id == name)) is None:
                connection.execute(table.insert().values(**row))

    def holds(self, suite: str) -> int | None:
        """Count the runs of a suite by exact id, readable or not; None if there is no such suite.

        It finds suites with damaged rows, too, which ``suites`` leaves out: they can be deleted.
        """
        count = sa.select(sa.func.count()).where(schema.runs.c.suite == suite)
        noted = sa.select(sa.func.count()).where(schema.suites.c.id == suite)
        with self._translated(), self._engine.connect() as connection:
            runs, notes = int(connection.scalar(count) or 0), connection.scalar(noted)
        return runs if runs or notes else None

    def delete(self, suite: str) -> int:
        """Remove a suite with all that was measured; returns how many runs there were."""
        observations, runs = schema.observations, schema.runs
        cells = sa.select(runs.c.cell).where(runs.c.suite == suite).distinct()
        with self._writing() as connection:
            keys = [key for key in connection.scalars(cells) if key is not None]
            connection.execute(observations.delete().where(observations.c.suite == suite))
            connection.execute(schema.suites.delete().where(schema.suites.c.id == suite))
            gone = connection.execute(runs.delete().where(runs.c.suite == suite))
            forget_cells(connection, keys)
            suites.recount(connection, [suite])
            return gone.rowcount

    def import_lines(self, lines: Iterable[str], source: str) -> tuple[int, int]:
        """Add what ``export_lines`` gave, all or none; what is already here is passed over.

        Returns:
            How many records were added, and how many were already here.

        Raises:
            UsageError: a line is no record; ``source`` and its number are named.
        """
        incoming = {(record.__class__, record.id): record for record in parse_lines(lines, source)}
        added = 0
        with self._writing() as connection:
            for table, row_of, kinds in TABLES:
                records = {one.id: one for one in incoming.values() if isinstance(one, kinds)}
                known = present(connection, table.c.id, [*records])
                new = [record for name, record in records.items() if name not in known]
                note_cells(connection, [one for one in new if isinstance(one, Run)])
                if new:
                    connection.execute(table.insert(), [row_of(record) for record in new])
                    changed = {one.suite for one in new if isinstance(one, Run)}
                    suites.recount(connection, [*changed])
                added += len(new)
        return added, len(incoming) - added

    # --- reading ---------------------------------------------------------------------------------

    def runs(self, suite: str | None = None, *, every: bool = False) -> list[Run]:
        """Runs in the order they were made, of one suite or all.

        Args:
            suite: a suite's id, or None for all suites.
            every: also the attempts that do not count; see ``attempts``.
        """
        runs = self._runs(schema.runs.c.kind != _PROFILE, suite)
        return runs if every else attempts.counted(runs)

    def profiles(self, suite: str | None = None, *, every: bool = False) -> list[Run]:
        """Runs that profile, which ``runs`` leaves out; the last of each cell."""
        runs = self._runs(schema.runs.c.kind == _PROFILE, suite)
        return runs if every else last_attempts(runs)

    def _runs(self, which: sa.ColumnElement[bool], suite: str | None) -> list[Run]:
        chosen = [which, *_of_suite(schema.runs, suite)]
        return self._records(schema.runs, Run.model_validate_json, *chosen)

    def observations(self, suite: str | None = None) -> list[AnyObservation]:
        """Supplementary measurements in the order they were made, of one suite or all."""
        table = schema.observations
        return self._records(table, _observation.validate_json, *_of_suite(table, suite))

    def evaluations(self) -> list[Evaluation]:
        """Every evaluation, oldest first."""
        return self._records(schema.evaluations, Evaluation.model_validate_json)

    def predictions(self) -> list[Prediction]:
        """Every prediction, oldest first."""
        return [one.prediction for one in self._stored_predictions()]

    def _stored_predictions(self) -> list[StoredPrediction]:
        return self._records(schema.predictions, StoredPrediction.model_validate_json)

    def each_run(self, suite: str | None = None, *, quiet: bool = False) -> Iterator[Run]:
        """Every attempt that measured or failed, in the order they were made, read one by one.

        ``quiet`` does not call ``on_damaged``: for the first of two readings.
        """
        chosen = [schema.runs.c.kind != _PROFILE, *_of_suite(schema.runs, suite)]
        return self._each(schema.runs, Run.model_validate_json, *chosen, quiet=quiet)

    def _records(
        self, table: sa.Table, parse: Callable[[str], Parsed], *which: sa.ColumnElement[bool]
    ) -> list[Parsed]:
        return list(self._each(table, parse, *which))

    def _each(
        self,
        table: sa.Table,
        parse: Callable[[str], Parsed],
        *which: sa.ColumnElement[bool],
        quiet: bool = False,
    ) -> Iterator[Parsed]:
        """Valid records of a table, oldest first; ``on_damaged`` is called for the others."""
        (key,) = table.primary_key.columns
        # A few rows at a time: the samples of a whole journal need not fit in memory.
        query = sa.select(key, table.c.record).where(*which).order_by(key)
        query = query.execution_options(yield_per=_ROWS_AT_A_TIME)
        with self._translated(), self._engine.connect() as connection:
            for number, record in connection.execute(query):
                where = f"{self.location}, {table.name} row {number}"
                try:
                    found = parsed(parse, record, where)
                except UsageError as error:
                    if not quiet:
                        hint = "shufflenet-deploy runs delete removes its suite"
                        self._on_damaged(f"{error}; {hint}")
                    continue
                yield found

    def suites(self, limit: int | None = None) -> list[SuiteRow]:
        """Every suite with runs or a definition, newest first; at most ``limit`` of them."""
        with self._translated(), self._engine.connect() as connection:
            only = None if limit is None else suites.ids(connection, limit)
            rows = list(suites.rows(connection, self._tell_damage, only))
        return sorted(rows, key=lambda row: (row.created_at, row.id), reverse=True)

    def suite(self, name: str = LAST) -> SuiteRow:
        """The suite with this id, the only one whose id begins so, or the newest for ``"last"``.

        Raises:
            UsageError: none or several fit.
        """
        is_empty = name == LAST
        with self._translated(), self._engine.connect() as connection:
            if name == LAST:
                found = list(itertools.islice(self._newest(connection), 1))
            elif not (found := list(self._readable(connection, [name]))):
                known = suites.ids(connection)
                fitting = [one for one in known if str(one).startswith(name)]
                found = list(itertools.islice(self._readable(connection, fitting), _SHOWN_SUITES))
                is_empty = not known
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(row.id for row in found)
            raise UsageError(f"'{name}' fits several suites: {ids}; write more of the name")
        if is_empty:
            raise UsageError(f"the journal {self.location} is empty: run bench first")
        raise UsageError(f"no suite '{name}' in {self.location}; see: shufflenet-deploy runs list")

    def _newest(self, connection: sa.Connection) -> Iterator[SuiteRow]:
        """Suites that can be read, newest first; most journals have one among the first few."""
        few = suites.ids(connection, _SHOWN_SUITES)
        yield from self._readable(connection, few)
        yield from self._readable(connection, suites.ids(connection)[len(few) :])

    def _readable(self, connection: sa.Connection, ids: Iterable[Any]) -> Iterator[SuiteRow]:
        for one in ids:
            yield from suites.rows(connection, self._tell_damage, [one])

    def cells(self) -> list[MeasuredCell]:
        """Every cell that has runs, on each of its hosts, in no order."""
        return self._records(schema.cells, MeasuredCell.model_validate_json)

    def runs_of(
        self, cell: MeasuredCell, *, since: datetime | None = None, suites: int | None = None
    ) -> list[Run]:
        """Every attempt at a cell, in the order they were made.

        Args:
            cell: one of ``cells``.
            since: a time with a zone; runs that started before are left out.
            suites: only those of so many suites at most, the newest that attempted it.
        """
        runs = schema.runs
        which = _attempts_at(cell, since)
        if suites is not None:
            newest = sa.select(runs.c.suite).where(*which).group_by(runs.c.suite)
            newest = newest.order_by(sa.func.max(runs.c.sequence).desc()).limit(suites)
            # Within another query, since MySQL takes no LIMIT within IN.
            which.append(runs.c.suite.in_(sa.select(newest.subquery().c.suite)))
        return self._records(runs, Run.model_validate_json, *which)

    def suites_of(self, cell: MeasuredCell, *, since: datetime | None = None) -> int:
        """How many suites attempted a cell; see ``runs_of``."""
        number = sa.func.count(schema.runs.c.suite.distinct())
        with self._translated(), self._engine.connect() as connection:
            found = connection.execute(sa.select(number).where(*_attempts_at(cell, since)))
            return int(found.scalar_one())

    def export_lines(self, suite: str | None = None) -> Iterator[str]:
        """All that is known of a suite, or of all suites, as one JSON object per line.

        The suite itself, every attempt, observations, and evaluations and predictions of the
        measured files (of all files where no suite is named). Each line ends in a newline.
        """
        runs = self.runs(suite, every=True)
        profiles = self.profiles(suite, every=True)
        files = {run.artifact.sha256 for run in (*runs, *profiles) if run.artifact is not None}
        records: list[BaseModel] = [
            *self._notes(suite),
            *runs,
            *profiles,
            *self.observations(suite),
            *(one for one in self.evaluations() if suite is None or one.artifact.sha256 in files),
            *(
                one
                for one in self._stored_predictions()
                if suite is None or one.prediction.artifact in files
            ),
        ]
        for record in records:
            yield f"{record.model_dump_json()}\n"

    def _notes(self, suite: str | None) -> list[SuiteNote]:
        shown = [column for column in schema.suites.c if column.name != "imported"]
        query = sa.select(*shown).order_by(schema.suites.c.created_at)
        if suite is not None:
            query = query.where(schema.suites.c.id == suite)
        with self._translated(), self._engine.connect() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        notes = []
        for row in rows:
            try:
                notes.append(SuiteNote.model_validate(row))
            except ValidationError as error:
                which = first_line(repr(row["id"]), 80)
                self._on_damaged(f"{self.location}, suite {which}: {first_problem(error)}")
        return notes

    # --- inside ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """A transaction that only one process at a time can be in.

        SQLite has one writer anyway. Elsewhere it keeps runs numbered in the order in which they
        become visible, and a suite from being noted twice.
        """
        with self._translated(), self._writer.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})")
            yield connection

    def _is_current(self) -> bool:
        """Whether the tables are this version's; what stands in the way is told by the upgrade."""
        try:
            with self._engine.connect() as connection:
                return schema.is_current(connection)
        except Exception:  # noqa: BLE001 - drivers raise their own; the upgrade says which
            return False

    def _tell_damage(self, problem: str) -> None:
        self._on_damaged(f"{self.location}, {problem}")

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (exc.SQLAlchemyError, OSError) as error:
            raise self._where.unusable(error) from error

    @contextlib.contextmanager
    def _opening(self) -> Iterator[None]:
        """While a driver looks at the parameters of a URL for the first time."""
        try:
            yield
        except (UsageError, KeyboardInterrupt):
            raise
        except Exception as error:  # drivers raise TypeError, ValueError and their own
            raise self._where.unusable(error) from error


def _attempts_at(cell: MeasuredCell, since: datetime | None) -> list[sa.ColumnElement[bool]]:
    runs = schema.runs
    which = [runs.c.kind != _PROFILE, runs.c.cell == cell.key]
    if since is not None:
        which.append(runs.c.started_at >= since.astimezone(UTC).isoformat())
    return which


def _of_suite(table: sa.Table, suite: str | None) -> list[sa.ColumnElement[bool]]:
    return [] if suite is None else [table.c.suite == suite]


def _refuse(problem: str) -> None:
    raise UsageError(problem)
