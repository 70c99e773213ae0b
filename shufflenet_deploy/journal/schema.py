"""The journal's tables, and the steps that bring the tables of an older version up to them.

The number of steps a journal has been through is its schema version. Steps are added, never
changed: each is written out as it was when it was released, and knows nothing of the tables above,
which are those of the newest version.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from shufflenet_deploy.bounded import integer, parse_json
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.journal.cells import cell_of_record

#: MySQL's own TEXT ends at 64 KiB; of this length it makes one that does not.
_LONG_TEXT = sa.Text(2**32 - 1)

#: Holds the schema version.
about = sa.Table(
    "journal",
    sa.MetaData(),
    sa.Column("key", sa.String(32), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

_tables = sa.MetaData()

suites = sa.Table(
    "suites",
    _tables,
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("created_at", sa.String(40), nullable=False),
    sa.Column("definition", sa.Text, nullable=False),
    # 1 where a file of another journal brought it: its host is somebody else's word.
    sa.Column("imported", sa.Integer, nullable=False, default=0),
)

runs = sa.Table(
    "runs",
    _tables,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("suite", sa.String(128), nullable=False),
    sa.Column("started_at", sa.String(40), nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("metric", sa.String(16), nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("runtime", sa.Text, nullable=False),
    sa.Column("precision", sa.String(16), nullable=False),
    sa.Column("resolution", sa.String(16), nullable=False),
    sa.Column("threads", sa.Integer, nullable=False),
    sa.Column("process", sa.Integer, nullable=False),
    sa.Column("artifact_sha256", sa.String(64), nullable=True),
    sa.Column("record", sa.Text, nullable=False),
    # The key of ``cells``; none where a damaged run of an older version tells no cell.
    sa.Column("cell", sa.String(32), nullable=True),
    # All that a tally says, so that the records need not be read for it.
    sa.Index("ix_runs_listed", "suite", "kind", "metric", "started_at"),
    sa.Index("ix_runs_cell", "cell", "sequence"),
)

#: What a list of suites says of runs, so that it looks at none; see ``suites.recount``.
tallies = sa.Table(
    "tallies",
    _tables,
    sa.Column("suite", sa.String(128), primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("first_at", sa.String(40), nullable=False),
    sa.Column("measurements", sa.Integer, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    # The least and the greatest of its metrics, of which there are two.
    sa.Column("least_metric", sa.String(16), nullable=False),
    sa.Column("greatest_metric", sa.String(16), nullable=False),
)

#: Every cell that has runs, by its key.
cells = sa.Table(
    "cells",
    _tables,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("record", sa.Text, nullable=False),
)

#: Supplementary measurements: sustained ones and cross-checks.
observations = sa.Table(
    "observations",
    _tables,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("suite", sa.String(128), nullable=False, index=True),
    sa.Column("started_at", sa.String(40), nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("record", sa.Text, nullable=False),
)

evaluations = sa.Table(
    "evaluations",
    _tables,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("at", sa.String(40), nullable=False),
    sa.Column("artifact_sha256", sa.String(64), nullable=False, index=True),
    sa.Column("record", sa.Text, nullable=False),
)

#: Predicted latencies, which no reader of runs sees.
predictions = sa.Table(
    "predictions",
    _tables,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("at", sa.String(40), nullable=False),
    sa.Column("artifact_sha256", sa.String(64), nullable=False, index=True),
    sa.Column("record", sa.Text, nullable=False),
)


def is_current(connection: sa.Connection) -> bool:
    """Whether nothing has to be upgraded: one look, which takes no lock.

    Raises:
        SQLAlchemyError: there is no such table yet, or the database cannot be read.
    """
    stored = connection.scalar(sa.select(about.c.value).where(about.c.key == "schema"))
    return stored == str(len(STEPS))


def upgrade(connection: sa.Connection, location: str) -> None:
    """Create the tables, or bring those of an older version up to this one's.

    Args:
        connection: in a transaction that excludes upgrades by other processes.
        location: what messages call the journal.

    Raises:
        UsageError: the database is of something else, or of a newer version.
    """
    present = set(sa.inspect(connection).get_table_names())
    if about.name not in present:
        strangers = present & {suites.name, runs.name}
        if strangers or (connection.dialect.name == "sqlite" and present):
            raise UsageError(
                f"{location} is a database of something else (it has the table "
                f"'{min(strangers or present)}'): choose another --journal"
            )
        about.create(connection)
    stored = connection.scalar(sa.select(about.c.value).where(about.c.key == "schema"))
    version = _version(stored, location) if stored is not None else 0
    if version > len(STEPS):
        raise UsageError(
            f"the journal {location} was written by a newer version (schema {version}, this one "
            f"knows {len(STEPS)}): upgrade shufflenet-deploy, or choose another --journal"
        )
    if version == len(STEPS):
        return
    for step in STEPS[version:]:
        step(connection)
    connection.execute(about.delete().where(about.c.key == "schema"))
    connection.execute(about.insert().values(key="schema", value=str(len(STEPS))))


def _version(stored: object, location: str) -> int:
    try:
        version = integer(str(stored))
    except ValueError as error:
        version = -1
        problem = error
    else:
        problem = ValueError("no schema has this number")
    if version < 0:
        raise UsageError(
            f"the journal {location} is damaged (the number of its schema: {problem}): choose "
            "another --journal, or move it away"
        ) from problem
    return version


# --- steps ---------------------------------------------------------------------------------------


def _create_tables(connection: sa.Connection) -> None:
    """To version 1."""
    tables = sa.MetaData()
    sa.Table(
        "suites",
        tables,
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("host", sa.String(256), nullable=False),
        sa.Column("created_at", sa.String(40), nullable=False),
        sa.Column("definition", sa.Text, nullable=False),
    )
    sa.Table(
        "runs",
        tables,
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
        # MySQL's own TEXT ends at 64 KiB.
        sa.Column("record", sa.Text().with_variant(_LONG_TEXT, "mysql"), nullable=False),
    )
    tables.create_all(connection)


def _tell_metrics(connection: sa.Connection) -> None:
    """To version 2: what a run counts has a column; names may be of any length.

    A database that keeps to the length of a column refused a run of a model or host with a longer
    name; the index that stood in the way was never searched.
    """
    connection.execute(sa.schema.DropIndex(_index("ix_runs_model", "runs", "model")))
    if connection.dialect.name == "postgresql":
        for table, column in (
            ("suites", "name"),
            ("suites", "host"),
            ("runs", "host"),
            ("runs", "model"),
            ("runs", "runtime"),
        ):
            connection.exec_driver_sql(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE TEXT")
    connection.exec_driver_sql(
        "ALTER TABLE runs ADD COLUMN metric VARCHAR(16) NOT NULL DEFAULT 'latency'"
    )
    rows = sa.table("runs", sa.column("sequence"), sa.column("metric"), sa.column("record"))
    counted = [
        row.sequence
        for row in connection.execute(sa.select(rows.c.sequence, rows.c.record))
        if _counts_instructions(row.record)
    ]
    for sequence in counted:
        connection.execute(
            rows.update().where(rows.c.sequence == sequence).values(metric="instructions")
        )


def _counts_instructions(record: object) -> bool:
    """True if a stored run counts instructions; damaged rows are reported when they are read."""
    try:
        spec = parse_json(str(record))["spec"]
    except (ValueError, TypeError, KeyError):
        return False
    return isinstance(spec, dict) and spec.get("metric") == "instructions"


def _index(name: str, table: str, column: str) -> sa.Index:
    found = sa.Table(table, sa.MetaData(), sa.Column(column, sa.Text))
    return sa.Index(name, found.c[column])


def _add_observations(connection: sa.Connection) -> None:
    """To version 3: what is measured besides runs has a table."""
    tables = sa.MetaData()
    sa.Table(
        "observations",
        tables,
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False, unique=True),
        sa.Column("suite", sa.String(128), nullable=False, index=True),
        sa.Column("started_at", sa.String(40), nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("record", sa.Text().with_variant(_LONG_TEXT, "mysql"), nullable=False),
    )
    tables.create_all(connection)


def _add_evaluations(connection: sa.Connection) -> None:
    """To version 4: accuracies have a table."""
    tables = sa.MetaData()
    sa.Table(
        "evaluations",
        tables,
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False, unique=True),
        sa.Column("at", sa.String(40), nullable=False),
        sa.Column("artifact_sha256", sa.String(64), nullable=False, index=True),
        sa.Column("record", sa.Text().with_variant(_LONG_TEXT, "mysql"), nullable=False),
    )
    tables.create_all(connection)


def _tell_imported(connection: sa.Connection) -> None:
    """To version 5: a suite has a flag for imported ones."""
    connection.exec_driver_sql("ALTER TABLE suites ADD COLUMN imported INTEGER NOT NULL DEFAULT 0")


def _index_runs(connection: sa.Connection) -> None:
    """To version 6: runs are found by cell, and suites are listed without reading runs."""
    runs = sa.table("runs", *map(sa.column, ("sequence", "record", "cell")))
    known = sa.Table(
        "cells",
        sa.MetaData(),
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("record", sa.Text().with_variant(_LONG_TEXT, "mysql"), nullable=False),
    )
    known.create(connection)
    connection.exec_driver_sql("ALTER TABLE runs ADD COLUMN cell VARCHAR(32)")
    found: set[str] = set()
    last = 0
    after = sa.select(runs.c.sequence, runs.c.record).order_by(runs.c.sequence).limit(500)
    while rows := connection.execute(after.where(runs.c.sequence > last)).all():
        last = rows[-1].sequence
        members: dict[str, list[int]] = {}
        for row in rows:
            cell = cell_of_record(row.record)
            if cell is None:
                continue
            members.setdefault(cell.key, []).append(row.sequence)
            if cell.key not in found:
                found.add(cell.key)
                connection.execute(known.insert().values(**cell.row))
        for key, numbers in members.items():
            connection.execute(runs.update().where(runs.c.sequence.in_(numbers)).values(cell=key))
    connection.execute(sa.schema.DropIndex(_index("ix_runs_suite", "runs", "suite")))
    connection.exec_driver_sql(
        "CREATE INDEX ix_runs_listed ON runs (suite, kind, metric, started_at)"
    )
    connection.exec_driver_sql("CREATE INDEX ix_runs_cell ON runs (cell, sequence)")


def _tally_suites(connection: sa.Connection) -> None:
    """To version 7: suites are listed without a look at their runs."""
    sa.Table(
        "tallies",
        sa.MetaData(),
        sa.Column("suite", sa.String(128), primary_key=True),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("first_at", sa.String(40), nullable=False),
        sa.Column("measurements", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("least_metric", sa.String(16), nullable=False),
        sa.Column("greatest_metric", sa.String(16), nullable=False),
    ).create(connection)
    connection.exec_driver_sql(
        "INSERT INTO tallies SELECT suite, MIN(host), MIN(started_at),"
        " SUM(CASE WHEN kind = 'measurement' THEN 1 ELSE 0 END),"
        " SUM(CASE WHEN kind = 'failure' THEN 1 ELSE 0 END),"
        " MIN(metric), MAX(metric) FROM runs GROUP BY suite"
    )


def _add_predictions(connection: sa.Connection) -> None:
    """To version 8: predictions have a table."""
    tables = sa.MetaData()
    sa.Table(
        "predictions",
        tables,
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False, unique=True),
        sa.Column("at", sa.String(40), nullable=False),
        sa.Column("artifact_sha256", sa.String(64), nullable=False, index=True),
        sa.Column("record", sa.Text().with_variant(_LONG_TEXT, "mysql"), nullable=False),
    )
    tables.create_all(connection)


#: Step N brings a journal from schema N to N + 1.
STEPS: tuple[Callable[[sa.Connection], None], ...] = (
    _create_tables,
    _tell_metrics,
    _add_observations,
    _add_evaluations,
    _tell_imported,
    _index_runs,
    _tally_suites,
    _add_predictions,
)
