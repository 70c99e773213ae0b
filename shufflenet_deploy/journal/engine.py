"""Opening of a journal's database: the file, the SQLAlchemy engine, SQLite's transactions."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.journal.database import SQLITE, Location

_BUSY_SECS = 30


def prepare_file(path: Path, shown: str) -> None:
    """Create the folder of an SQLite journal.

    Raises:
        UsageError: the path is a folder or a device, or its folder cannot be created.
    """
    try:
        if path.is_dir():
            raise UsageError(f"the journal {shown} is a folder: name a file")
        if path.exists() and not path.is_file():
            raise UsageError(f"the journal {shown} is a device or a pipe: name a file")
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot create the folder of the journal {shown}: {error.strerror}; "
            "choose another --journal"
        ) from error


def create_engine(where: Location) -> sa.Engine:
    """Create the engine; on SQLite, transactions with the option ``writes`` begin as writers.

    Raises:
        ModuleNotFoundError: the driver is not installed.
    """
    if where.url.get_backend_name() != SQLITE:
        return sa.create_engine(where.url, pool_pre_ping=True)
    engine = sa.create_engine(where.url, connect_args={"timeout": _BUSY_SECS})

    @sa.event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        # The driver shall not begin transactions by itself: see "begin" below.
        connection.isolation_level = None
        # A column may hold bytes that are no text: the row is named, the others are read.
        connection.text_factory = _decoded
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous=FULL").close()

    @sa.event.listens_for(engine, "begin")
    def _begun(connection: sa.Connection) -> None:
        # A transaction that takes the write lock late can fail at once, whatever the timeout is.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _decoded(stored: bytes) -> str:
    return stored.decode("utf-8", "surrogateescape")


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
