"""A real Dask scheduler and its workers, on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

_START_SECS = 60.0


class DaskCluster:
    """A scheduler; workers are added and killed one by one."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.options = folder, options
        self.folder.mkdir(parents=True, exist_ok=True)
        self._processes: list[subprocess.Popen[bytes]] = []
        file = folder / "scheduler.json"
        self._start(
            "dask_scheduler",
            *("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file),
        )
        self._await(file.exists)
        time.sleep(0.1)  # It is written in one go, but not renamed.
        self.address = json.loads(file.read_text())["address"]
        self.workers: list[subprocess.Popen[bytes]] = []

    def add(self, **environment: str) -> subprocess.Popen[bytes]:
        """One more worker of one thread."""
        name = f"worker-{len(self.workers)}"
        process = self._start(
            "dask_worker",
            *(self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--name", name),
            *("--host", "127.0.0.1", "--local-directory", self.folder / name),
            **environment,
        )
        self.workers.append(process)
        self._await(lambda: b"Registered to" in (self.folder / f"{process.pid}.log").read_bytes())
        return process

    def busy(self, worker: subprocess.Popen[bytes]) -> bool:
        """True while a worker is in the middle of a task: then it has a folder for the task."""
        place = self.folder / f"worker-{self.workers.index(worker)}"
        return any(place.glob("**/shufflenet-deploy/tmp*"))

    @contextlib.contextmanager
    def losing_a_worker(self) -> Iterator[None]:
        """The newest worker is killed in the middle of a task; then one more joins."""
        victim, struck = self.workers[-1], threading.Event()

        def strike() -> None:
            deadline = time.monotonic() + _START_SECS
            while not self.busy(victim) and time.monotonic() < deadline:
                time.sleep(0.01)
            if self.busy(victim):
                victim.kill()
                victim.wait()
                struck.set()
                self.add()

        killer = threading.Thread(target=strike)
        killer.start()
        yield
        killer.join()
        assert struck.is_set(), "no worker was killed: it never had a task"

    def close(self) -> None:
        """End all of it."""
        for process in self._processes:
            process.kill()
            process.wait()

    def _start(self, module: str, *words: object, **environment: str) -> subprocess.Popen[bytes]:
        with (self.folder / "starting.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}"]
                + [str(word) for word in (*words, *self.options)],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            )
        (self.folder / "starting.log").rename(self.folder / f"{process.pid}.log")
        self._processes.append(process)
        return process

    def _await(self, what) -> None:
        deadline = time.monotonic() + _START_SECS
        while not what():
            if time.monotonic() > deadline or self._processes[-1].poll() is not None:
                logs = [path.read_text() for path in self.folder.glob("*.log")]
                raise AssertionError("Dask did not start:\n" + "\n".join(logs))
            time.sleep(0.05)


@contextlib.contextmanager
def running_cluster(folder: Path, *options: str, workers: int = 2) -> Iterator[DaskCluster]:
    """A scheduler with so many workers; ``options`` are of all of them."""
    cluster = DaskCluster(folder, *options)
    try:
        for _ in range(workers):
            cluster.add()
        yield cluster
    finally:
        cluster.close()
