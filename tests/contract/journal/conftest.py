"""A real PostgreSQL server of our own, and places for journals in each kind of database."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from postgres_server import Postgres, running_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server, running."""
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def new_location(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Gives a place for one more journal: in a file, or in a database of the server."""
    if request.param == "postgresql":
        location: Callable[[], str] = request.getfixturevalue("postgres").location
        return location
    numbers = itertools.count()
    return lambda: str(tmp_path / "deep" / "folder" / f"journal{next(numbers)}.sqlite")
