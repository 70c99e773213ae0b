"""Converters in virtual environments of their own, installed on first use.

They pin versions of numpy, protobuf and more that this package's environment cannot have. The first
use creates a virtual environment in the user's cache from a lock file; every use runs a worker
there, which imports nothing of this package. Apart from that one installation nothing is fetched.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shufflenet_deploy.errors import ExportError, UsageError
from shufflenet_deploy.programs import run_to_end

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_INSTALL_SECS = 1800
_CONVERT_SECS = 1200

#: The line of an exception in a traceback.
_RAISED = re.compile(r"[\w.]+(Error|Exception)\b: ")

#: What a worker leaves in the folder that it is given.
CONVERTED = "converted"


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A virtual environment for one converter; ``version`` is the converter's own."""

    folder: Path
    version: str

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def complete(self) -> Path:
        """A file that exists once everything is installed."""
        return self.folder / ".complete"


@dataclass(frozen=True, kw_only=True)
class IsolatedConverter:
    """A converter: its distribution, what is pinned with it, and the script that runs it.

    ``pythons`` are the first and last version of Python that the pins have wheels for; ``installs``
    says what is installed, for whoever waits for it; ``advice`` is what to do where that fails.
    """

    name: str
    lock: Path
    worker: Path
    pythons: tuple[tuple[int, int], tuple[int, int]]
    installs: str
    advice: str

    def version(self) -> str:
        """The pinned version and a digest of everything pinned with it."""
        lock = self.lock.read_text()
        pinned = next(line for line in lock.splitlines() if line.startswith(f"{self.name}=="))
        return f"{pinned.partition('==')[2]}+{hashlib.sha256(lock.encode()).hexdigest()[:8]}"

    def environment(self) -> Environment:
        """Path of the virtual environment, made or not: one per lock file and Python version."""
        import platformdirs  # noqa: PLC0415

        version = self.version()
        python = f"py{sys.version_info.major}.{sys.version_info.minor}"
        cache = platformdirs.user_cache_path("shufflenet-deploy") / "converters"
        return Environment(folder=cache / f"{self.name}-{version}-{python}", version=version)

    def run(
        self, order: Mapping[str, object], folder: Path, on_stage: Callable[[str], None]
    ) -> Path:
        """Let the worker carry out an order in a folder, which is its home and working directory.

        The order is what the worker takes; its ``out`` is a folder below this one. Returns the
        converted file.

        Raises:
            UsageError: there are no wheels for this Python, or the cache cannot be written.
            ExportError: the environment cannot be installed, or the converter fails.
        """
        prepared = self.environment()
        self.install(prepared, on_stage)
        on_stage(f"converting with {self.name}")
        out = folder / "out"
        command = [str(prepared.python), "-I", "-B", str(self.worker)]
        command.append(json.dumps({**order, "out": str(out)}))
        late = f"{self.name} did not finish within {_CONVERT_SECS} s; {self.advice}"
        done = run_to_end(
            command,
            limit_secs=_CONVERT_SECS,
            late=ExportError(late),
            cwd=folder,
            env=offline(folder),
        )
        made = out / CONVERTED
        if done.returncode != 0 or not made.is_file():
            raise ExportError(f"{self.name} failed: {last_line(done.stderr or done.stdout)}")
        return made

    def install(self, prepared: Environment, on_stage: Callable[[str], None]) -> None:
        """Install the environment unless it is there; other processes wait for it.

        Raises:
            UsageError: there are no wheels for this Python, or the cache cannot be written.
            ExportError: the environment cannot be created or filled.
        """
        if prepared.complete.is_file():
            return
        if not self.pythons[0] <= sys.version_info[:2] <= self.pythons[1]:
            running = f"{sys.version_info.major}.{sys.version_info.minor}"
            raise UsageError(f"{self.name} has no wheels for Python {running}; {self.advice}")
        with _alone(prepared.folder):
            if prepared.complete.is_file():
                return
            on_stage(f"installing {self.installs}")
            shutil.rmtree(prepared.folder, ignore_errors=True)
            try:
                venv.create(prepared.folder, with_pip=True)
            except (OSError, subprocess.CalledProcessError) as error:
                raise ExportError(f"cannot create {prepared.folder}: {error}") from error
            self._pip_install(prepared)
            prepared.complete.touch()

    def _pip_install(self, prepared: Environment) -> None:
        command = [
            *(str(prepared.python), "-m", "pip", "install", "--quiet"),
            *("--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"),
            *("-r", str(self.lock)),
        ]
        late = (
            f"installing {self.name} took more than {_INSTALL_SECS} s; "
            "check the network and try again"
        )
        done = run_to_end(command, limit_secs=_INSTALL_SECS, late=ExportError(late))
        if done.returncode != 0:
            raise ExportError(
                f"cannot install {self.name}: {last_line(done.stderr)}; {self.advice}"
            )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process install while others wait for it."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_name(folder.name + ".lock").open("w")
    except OSError as error:
        raise UsageError(f"cannot write to {folder.parent}: {error.strerror}") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def offline(folder: Path) -> dict[str, str]:
    """Variables for the worker: no network, no GPU, no chatter, no traces in the user's home.

    And one thread of PyTorch's, see ``network.one_thread``.
    """
    nowhere = "http://127.0.0.1:9"
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        "OMP_NUM_THREADS": "1",
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), nowhere),
    }


def calibration_file(folder: Path, batches: Iterable[NDArray[np.float32]]) -> str:
    """The path, for a worker, of a new file in ``folder`` that has all batches in one array."""
    import numpy as np  # noqa: PLC0415 - of no use where nothing is calibrated

    path = folder / "calibration.npy"
    np.save(path, np.concatenate(list(batches)))
    return str(path)


def last_line(text: str) -> str:
    """What a failed program said: its last exception, or else the last thing it printed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    raised = [line for line in lines if _RAISED.match(line)]
    return raised[-1] if raised else lines[-1] if lines else "it printed nothing"
