"""A real PostgreSQL server of our own, and places for journals in each kind of database."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

#: Debian's package keeps the server's programs out of the PATH; the newest version counts.
_PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
_PASSWORD = "correct-horse"


class Postgres:
    """A running server that listens on a Unix socket in its own folder, and nowhere else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names = (f"journal{number}" for number in itertools.count())

    def location(self, *, user: str = "owner") -> str:
        """The URL of a new and empty database."""
        name = next(self._names)
        with psycopg.connect(host=str(self.folder), user="owner", dbname="postgres") as server:
            server.autocommit = True
            server.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://{user}:{_PASSWORD}@/{name}?host={self.folder}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Starts the server; stops it and removes its data afterwards."""
    programs = next((place for place in reversed(_PLACES) if (place / "initdb").exists()), None)
    if programs is None:
        pytest.fail("these tests talk to a real PostgreSQL: apt-get install postgresql")
    # Not below pytest's folder, which the server's user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="shufflenet-deploy-postgres-"))
    as_user: list[str] = []
    if os.geteuid() == 0:  # which the server refuses to run as
        os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
        as_user = ["runuser", "-u", "postgres", "--"]
    data, log = folder / "data", folder / "log"

    def call(*words: str | Path) -> None:
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

    try:
        call(
            *(programs / "initdb", "--pgdata", data, "--username", "owner", "--auth", "trust"),
            *("--encoding", "UTF8", "--locale", "C", "--no-sync"),
        )
        options = f"-c listen_addresses= -c fsync=off -k {folder}"
        control = (programs / "pg_ctl", "--pgdata", data, "--wait", "--silent")
        call(*control, "--log", log, "--options", options, "start")
        try:
            yield Postgres(folder)
        finally:
            call(*control, "--mode", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def new_location(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Gives a place for one more journal: in a file, or in a database of the server."""
    if request.param == "postgresql":
        location: Callable[[], str] = request.getfixturevalue("postgres").location
        return location
    numbers = itertools.count()
    return lambda: str(tmp_path / "deep" / "folder" / f"journal{next(numbers)}.sqlite")
