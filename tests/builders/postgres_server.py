"""A real PostgreSQL server of our own, on a Unix socket in its own folder, and nowhere else."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

#: Debian's package keeps the server's programs out of the PATH; the newest version counts.
_PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
_PASSWORD = "correct-horse"


class Postgres:
    """A running server; ``restart`` breaks every connection, as a crash of the server does."""

    def __init__(self, folder: Path, control: tuple[str | Path, ...], options: str) -> None:
        self.folder = folder
        self._control, self._options = control, options
        self._names = (f"journal{number}" for number in itertools.count())

    def location(self, *, user: str = "owner") -> str:
        """The URL of a new and empty database."""
        name = next(self._names)
        with psycopg.connect(host=str(self.folder), user="owner", dbname="postgres") as server:
            server.autocommit = True
            server.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://{user}:{_PASSWORD}@/{name}?host={self.folder}"

    def start(self) -> None:
        """Start the server and wait for it."""
        log = self.folder / "log"
        self._call(*self._control, "--log", log, "--options", self._options, "start")

    def stop(self) -> None:
        """Stop it at once."""
        self._call(*self._control, "--mode", "immediate", "stop")

    def restart(self) -> None:
        """Stop it at once and start it again."""
        self.stop()
        self.start()

    def _call(self, *words: str | Path) -> None:
        call(self.folder, *words)


def call(folder: Path, *words: str | Path) -> None:
    """Run a program of the server as its user."""
    # The server refuses to run as root.
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*as_user, *map(str, words)],
        check=False,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Starts a server; stops it and removes its data afterwards."""
    programs = next((place for place in reversed(_PLACES) if (place / "initdb").exists()), None)
    if programs is None:
        pytest.fail("these tests talk to a real PostgreSQL: apt-get install postgresql")
    # Not below pytest's folder, which the server's user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="shufflenet-deploy-postgres-"))
    if os.geteuid() == 0:
        os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
    data = folder / "data"
    try:
        call(
            folder,
            *(programs / "initdb", "--pgdata", data, "--username", "owner", "--auth", "trust"),
            *("--encoding", "UTF8", "--locale", "C", "--no-sync"),
        )
        server = Postgres(
            folder,
            (programs / "pg_ctl", "--pgdata", data, "--wait", "--silent"),
            f"-c listen_addresses= -c fsync=off -k {folder}",
        )
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
