"""A state and a cache folder of our own: every board is built from nothing and left to nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from shufflenet_deploy import board
from shufflenet_deploy.board import fleet

#: A board whose test was killed switches itself off after this time.
LIFETIME_SECS = 1200


@dataclass(frozen=True)
class Finished:
    """What a command left."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where boards of this session live; the cache beside it starts empty."""
    folder = tmp_path_factory.mktemp("boards")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(fleet.STATE_VARIABLE, str(folder / "state"))
        patch.setenv(fleet.CACHE_VARIABLE, str(folder / "cache"))
        yield folder / "state" / "boards"
        for name in board.names():
            board.down(name)


@pytest.fixture
def cli(state):
    """Run the command line as a user does."""

    def run(*words: str, timeout: float = 300.0) -> Finished:
        argv = [sys.executable, "-m", "shufflenet_deploy", *words]
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200"},
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def counting(state):
    """A deterministic cortex-a72, shared by the tests that measure."""
    return board.up(
        board.BoardSettings.choose(
            name="counting", cpu="a72", deterministic=True, lifetime_secs=LIFETIME_SECS
        )
    )
