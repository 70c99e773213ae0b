"""The journal: every run, raw, committed the moment it ends, in SQLite or any database.

A run is stored as its own JSON with a few columns beside it to search by. Runs are only ever added
(or deleted by the user), never changed; a later attempt at the same process of the same cell stands
for it when runs are read (see ``records.last_attempts``), the earlier one stays.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy import exc

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import Evaluation, Run, last_attempts

#: Names the journal where no ``--journal`` does: a path or a database URL.
JOURNAL_VARIABLE = "SHUFFLENET_DEPLOY_JOURNAL"

#: What stands for "the newest suite" where a suite is asked for.
LAST = "last"

_BUSY_SECS = 30
_SQLITE = "sqlite"
#: Any number, the same in every version: one journal is upgraded by one process at a time.
_UPGRADE_LOCK = 0x53484644

_Stored = TypeVar("_Stored", Run, Evaluation)

_metadata = sa.MetaData()

_about = sa.Table(
    "journal",
    _metadata,
    sa.Column("key", sa.String(32), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

_suites = sa.Table(
    "suites",
    _metadata,
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("host", sa.String(256), nullable=False),
    sa.Column("created_at", sa.String(40), nullable=False),
    sa.Column("definition", sa.Text, nullable=False),
)

_runs = sa.Table(
    "runs",
    _metadata,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("suite", sa.String(128), nullable=False, index=True),
    sa.Column("started_at", sa.String(40), nullable=False),
    sa.Column("host", sa.String(256), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("model", sa.String(128), nullable=False, index=True),
    sa.Column("runtime", sa.String(64), nullable=False),
    sa.Column("precision", sa.String(16), nullable=False),
    sa.Column("resolution", sa.String(16), nullable=False),
    sa.Column("threads", sa.Integer, nullable=False),
    sa.Column("process", sa.Integer, nullable=False),
    sa.Column("artifact_sha256", sa.String(64), nullable=True),
    sa.Column("record", sa.Text, nullable=False),
)

_evaluations = sa.Table(
    "evaluations",
    _metadata,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("at", sa.String(40), nullable=False),
    sa.Column("artifact_sha256", sa.String(64), nullable=False, index=True),
    sa.Column("record", sa.Text, nullable=False),
)


def _create_tables(connection: sa.Connection) -> None:
    _metadata.create_all(connection, tables=[_suites, _runs])


def _create_evaluations(connection: sa.Connection) -> None:
    _metadata.create_all(connection, tables=[_evaluations])


#: Step N brings a journal from schema N to N + 1; steps are added, never changed.
_MIGRATIONS: tuple[Callable[[sa.Connection], None], ...] = (_create_tables, _create_evaluations)


@dataclass(frozen=True, kw_only=True)
class SuiteRow:
    """One suite of the journal. ``definition`` is what ``bench --resume`` needs, "" if imported."""

    id: str
    name: str
    host: str
    created_at: datetime
    measurements: int
    failures: int
    definition: str


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

    def __init__(self, location: str | Path | None = None) -> None:
        """Open a journal, creating or upgrading it first where necessary.

        Args:
            location: a path, an SQLAlchemy URL, or None for ``default_location()``.

        Raises:
            UsageError: it cannot be opened, is something else, or comes from a newer version.
        """
        self._url = _url(str(location or default_location()))
        self.location = self._url.render_as_string(hide_password=True)
        if self._url.get_backend_name() == _SQLITE:
            self.location = self._url.database or self.location
            _prepare_file(Path(self.location))
        try:
            self._engine = _engine(self._url)
            self._writer = self._engine.execution_options(writes=True)
        except (ModuleNotFoundError, exc.NoSuchModuleError) as error:
            raise UsageError(
                f"no driver for the journal {self.location}: {error}; "
                "install one, such as: pip install 'psycopg[binary]'"
            ) from error
        with self._translated(), self._upgrading() as connection:
            _upgrade(connection, self.location)

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
        with self._translated(), self._writer.begin() as connection:
            changed = connection.execute(
                _suites.update().where(_suites.c.id == id).values(definition=definition)
            )
            if changed.rowcount == 0:
                now = datetime.now(UTC).isoformat()
                connection.execute(_suites.insert().values(id=id, created_at=now, **row))

    def append(self, run: Run) -> None:
        """Add one run; it is on disk when this returns."""
        with self._translated(), self._writer.begin() as connection:
            connection.execute(_runs.insert().values(**_columns(run)))

    def append_evaluation(self, evaluation: Evaluation) -> None:
        """Add what a file's accuracy was; one with the same id is there already and stays."""
        row = {
            "id": evaluation.id,
            "at": evaluation.at.astimezone(UTC).isoformat(),
            "artifact_sha256": evaluation.artifact.sha256,
            "record": evaluation.model_dump_json(),
        }
        known = sa.select(_evaluations.c.id).where(_evaluations.c.id == evaluation.id)
        with self._translated(), self._writer.begin() as connection:
            if connection.scalar(known) is None:
                connection.execute(_evaluations.insert().values(**row))

    def delete(self, suite: str) -> int:
        """Remove a suite with all of its runs; returns how many runs there were."""
        with self._translated(), self._writer.begin() as connection:
            connection.execute(_suites.delete().where(_suites.c.id == suite))
            return connection.execute(_runs.delete().where(_runs.c.suite == suite)).rowcount

    def import_lines(self, lines: Iterable[str], source: str) -> tuple[int, int]:
        """Add runs exported as JSON lines, all or none; those already here are passed over.

        Returns:
            How many runs were added, and how many were already here.

        Raises:
            UsageError: a line is not a run; ``source`` and its number are named.
        """
        incoming: dict[str, Run] = {}
        for number, line in enumerate(lines, start=1):
            if line.strip():
                run = _parse(Run, line, f"{source}, line {number}")
                incoming[run.id] = run
        with self._translated(), self._writer.begin() as connection:
            present = set(connection.scalars(sa.select(_runs.c.id)))
            added = [run for run in incoming.values() if run.id not in present]
            if added:
                connection.execute(_runs.insert(), [_columns(run) for run in added])
        return len(added), len(incoming) - len(added)

    # --- reading ---------------------------------------------------------------------------------

    def runs(self, suite: str | None = None, *, every: bool = False) -> list[Run]:
        """Runs in the order they were made, of one suite or all.

        Args:
            suite: a suite's id, or None for all suites.
            every: also attempts that a later one replaced; see ``last_attempts``.
        """
        query = sa.select(_runs.c.record).order_by(_runs.c.sequence)
        if suite is not None:
            query = query.where(_runs.c.suite == suite)
        with self._translated(), self._engine.connect() as connection:
            records = list(connection.scalars(query))
        runs = [_parse(Run, record, self.location) for record in records]
        return runs if every else last_attempts(runs)

    def evaluations(self) -> list[Evaluation]:
        """Every evaluation, oldest first."""
        query = sa.select(_evaluations.c.record).order_by(_evaluations.c.sequence)
        with self._translated(), self._engine.connect() as connection:
            records = list(connection.scalars(query))
        return [_parse(Evaluation, record, self.location) for record in records]

    def suites(self) -> list[SuiteRow]:
        """Every suite with runs or a definition, newest first."""
        counts = sa.select(
            _runs.c.suite,
            sa.func.min(_runs.c.started_at),
            sa.func.min(_runs.c.host),
            sa.func.sum(sa.case((_runs.c.kind == "measurement", 1), else_=0)),
            sa.func.sum(sa.case((_runs.c.kind == "failure", 1), else_=0)),
        ).group_by(_runs.c.suite)
        with self._translated(), self._engine.connect() as connection:
            counted = {row[0]: row for row in connection.execute(counts)}
            noted = {row.id: row for row in connection.execute(sa.select(_suites))}
        rows = []
        for suite in counted.keys() | noted.keys():
            _, first_at, host, measurements, failures = counted.get(suite, ("", "", "", 0, 0))
            note = noted.get(suite)
            rows.append(
                SuiteRow(
                    id=suite,
                    name=note.name if note else suite,
                    host=note.host if note else host,
                    created_at=datetime.fromisoformat(note.created_at if note else first_at),
                    measurements=int(measurements),
                    failures=int(failures),
                    definition=note.definition if note else "",
                )
            )
        return sorted(rows, key=lambda row: row.created_at, reverse=True)

    def suite(self, name: str = LAST) -> SuiteRow:
        """The suite with this id, the only one whose id begins so, or the newest for ``"last"``.

        Raises:
            UsageError: none or several fit.
        """
        rows = self.suites()
        if not rows:
            raise UsageError(f"the journal {self.location} is empty: run bench first")
        if name == LAST:
            return rows[0]
        fitting = [row for row in rows if row.id == name] or [
            row for row in rows if row.id.startswith(name)
        ]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            ids = ", ".join(row.id for row in fitting[:4])
            raise UsageError(f"'{name}' fits several suites: {ids}; write more of the name")
        raise UsageError(f"no suite '{name}' in {self.location}; see: shufflenet-deploy runs list")

    def export_lines(self, suite: str | None = None) -> Iterator[str]:
        """Every attempt of a suite, or of all, as one JSON object per line, newlines included."""
        for run in self.runs(suite, every=True):
            yield f"{run.model_dump_json()}\n"

    # --- inside ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _upgrading(self) -> Iterator[sa.Connection]:
        """A transaction that only one process at a time can be in."""
        with self._writer.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_UPGRADE_LOCK})")
            yield connection

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (exc.SQLAlchemyError, OSError) as error:
            cause = getattr(error, "orig", None) or error
            reason = " ".join(str(cause).split())
            hint = "choose another --journal"
            if "not a database" in reason or "malformed" in reason:
                hint = "it is damaged or not a journal: choose another --journal, or move it away"
            raise UsageError(f"cannot use the journal {self.location}: {reason}; {hint}") from error


def _columns(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "suite": run.suite,
        "started_at": run.started_at.astimezone(UTC).isoformat(),
        "host": run.target.host,
        "kind": run.kind,
        "model": run.cell.model,
        "runtime": run.cell.runtime,
        "precision": run.cell.precision.value,
        "resolution": str(run.cell.resolution),
        "threads": run.cell.threads,
        "process": run.process,
        "artifact_sha256": run.artifact.sha256 if run.artifact else None,
        "record": run.model_dump_json(),
    }


def _parse(kind: type[_Stored], text: str, where: str) -> _Stored:
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        detail = f"{place}: {first['msg']}" if place else first["msg"]
        raise UsageError(
            f"{where}: not a {kind.__name__.lower()} of this version: {detail}"
        ) from error


# --- opening -------------------------------------------------------------------------------------


def _url(location: str) -> sa.URL:
    if "://" not in location:
        return sa.URL.create(_SQLITE, database=str(Path(location).expanduser().absolute()))
    try:
        return sa.make_url(location)
    except exc.ArgumentError as error:
        raise UsageError(
            f"'{location}' is not a journal: write a path, or a URL such as "
            "postgresql+psycopg://user@host/database"
        ) from error


def _prepare_file(path: Path) -> None:
    if path.is_dir():
        raise UsageError(f"the journal {path} is a folder: name a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot create the folder of the journal {path}: {error.strerror}; "
            "choose another --journal"
        ) from error


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != _SQLITE:
        return sa.create_engine(url, pool_pre_ping=True)
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECS})

    @sa.event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        # The driver shall not begin transactions by itself: see "begin" below.
        connection.isolation_level = None
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous=FULL").close()

    @sa.event.listens_for(engine, "begin")
    def _begun(connection: sa.Connection) -> None:
        # A transaction that takes the write lock late can fail at once, whatever the timeout is.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _upgrade(connection: sa.Connection, location: str) -> None:
    """Create the tables, or bring those of an older version up to this one's."""
    present = set(sa.inspect(connection).get_table_names())
    if _about.name not in present:
        strangers = present & {_suites.name, _runs.name}
        if strangers or (connection.dialect.name == _SQLITE and present):
            raise UsageError(
                f"{location} is a database of something else (it has the table "
                f"'{min(present)}'): choose another --journal"
            )
        _about.create(connection)
    stored = connection.scalar(sa.select(_about.c.value).where(_about.c.key == "schema"))
    version = int(stored) if stored is not None else 0
    if version > len(_MIGRATIONS):
        raise UsageError(
            f"the journal {location} was written by a newer version (schema {version}, this one "
            f"knows {len(_MIGRATIONS)}): upgrade shufflenet-deploy, or choose another --journal"
        )
    if version == len(_MIGRATIONS):
        return
    for step in _MIGRATIONS[version:]:
        step(connection)
    connection.execute(_about.delete().where(_about.c.key == "schema"))
    connection.execute(_about.insert().values(key="schema", value=json.dumps(len(_MIGRATIONS))))


def _write_ahead(connection: Any) -> None:
    """Turn write-ahead logging on; another process may be doing the same to a new file.

    SQLite does not wait its busy time out for this one change, so the waiting is ours.
    """
    deadline = time.monotonic() + _BUSY_SECS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
