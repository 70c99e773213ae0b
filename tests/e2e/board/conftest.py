"""A state and a cache folder of our own: every board is built from nothing and left to nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import shufflenet_deploy.export as export
from shufflenet_deploy import board, runtime
from shufflenet_deploy.board import manager
from shufflenet_deploy.export import ExportRequest
from shufflenet_deploy.records import Artifact


@dataclass(frozen=True)
class Finished:
    """The result of a command."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the whole run: what one worker has built or exported, the other finds there."""
    own = tmp_path_factory.getbasetemp()
    # A worker's folder lies in that of its run.
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def state(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of this worker's boards; the run's cache of images starts empty."""
    folder = tmp_path_factory.mktemp("boards")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(manager.STATE_VARIABLE, str(folder / "state"))
        patch.setenv(manager.CACHE_VARIABLE, str(shared / "cache"))
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
def artifacts(shared):
    """The folder of exported files."""
    return shared / "artifacts"


@pytest.fixture(scope="session")
def exported(artifacts):
    """``exported(runtime, model, precision, resolution)`` is a file that runs there."""

    def export_for(name: str, model: str, precision: str, resolution: str) -> Artifact:
        return export.export(
            ExportRequest(
                model=model,
                format=runtime.get(name).formats[0],
                precision=precision,
                resolution=resolution,
                out=artifacts,
            )
        )

    return export_for
