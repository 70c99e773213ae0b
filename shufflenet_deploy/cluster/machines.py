"""Where tasks run: this process, processes of this machine, or the workers of a Dask scheduler."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, Protocol, Self

from shufflenet_deploy.cluster import versions
from shufflenet_deploy.cluster.tasks import (
    Files,
    OnTaskStage,
    Order,
    Outcome,
    Stamp,
    Task,
    perform,
    read,
)
from shufflenet_deploy.errors import (
    ConnectError,
    DeployError,
    UsageError,
    WorkersError,
    WorkerVersionsError,
)

#: What tasks call; its own errors are results of its task.
Function = Callable[[Any, Files, OnTaskStage], Any]
#: Called with the index of a task and what it is doing.
OnStage = Callable[[int, str], None]

_CONNECT_SECS = 15.0
#: Tasks that wait per thread of a worker, so that none is ever idle.
_AHEAD = 2


@dataclass(frozen=True)
class Done:
    """A task that ended: its value, or the deliberate error that it raised."""

    index: int
    value: Any = None
    error: DeployError | None = None


class Machines(Protocol):
    """Runs tasks."""

    @property
    def shares_disk(self) -> bool:
        """True where tasks find the files of this machine by their paths."""
        ...

    def run(
        self, function: Function, tasks: Iterable[Task], on_stage: OnStage = lambda *_: None
    ) -> Iterator[Done]:
        """Run tasks, in any order; tasks are taken from the iterable as they can be started.

        Raises:
            WorkersError: processes or machines were lost, and the work with them.
            WorkerVersionsError: a worker has other versions than this machine.
        """
        ...


@contextmanager
def machines(
    cluster: str | None = None,
    workers: int | None = None,
    on_note: Callable[[str], None] = lambda _: None,
) -> Iterator[Machines]:
    """What the options ask for: a cluster by its scheduler, else so many processes of this machine.

    Each of them computes on one thread, so that results do not depend on how many there are. With
    neither it is this process, on as many threads as it has.

    Raises:
        UsageError: ``distributed`` is not installed.
        WorkerVersionsError: a worker has other versions.
        ConnectError: no scheduler answers.
    """
    if cluster is not None:
        with _Cluster(cluster, on_note) as shared:
            yield shared
    elif workers is not None:
        with _Processes(workers) as pool:
            yield pool
    else:
        yield Here()


class Here:
    """This process: one task after the other."""

    shares_disk = True

    def run(
        self, function: Function, tasks: Iterable[Task], on_stage: OnStage = lambda *_: None
    ) -> Iterator[Done]:
        """See ``Machines.run``."""
        for index, task in enumerate(tasks):
            yield _done(
                index,
                lambda task=task, index=index: function(  # type: ignore[misc]
                    task.argument, task.places, lambda text: on_stage(index, text)
                ),
            )


class _Processes:
    """Processes of this machine, each of which imports what it needs once."""

    shares_disk = True

    def __init__(self, count: int) -> None:
        self._count = count

    def __enter__(self) -> Self:
        self._pool = futures.ProcessPoolExecutor(
            self._count, mp_context=get_context("spawn"), initializer=_begin
        )
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def run(
        self, function: Function, tasks: Iterable[Task], on_stage: OnStage = lambda *_: None
    ) -> Iterator[Done]:
        """See ``Machines.run``."""

        def submit(task: Task) -> futures.Future[Outcome]:
            return self._pool.submit(_local, function, task.argument, task.places)

        yield from _flowing(submit, tasks, lambda: self._count, on_stage)


class _Cluster:
    """The workers of a Dask scheduler, as many as there are at the moment."""

    shares_disk = False

    def __init__(self, address: str, on_note: Callable[[str], None]) -> None:
        if find_spec("distributed") is None:
            raise UsageError("--cluster needs Dask: pip install 'shufflenet-deploy[dask]'")
        self._address, self._on_note = address, on_note
        self._stamps: dict[Path, Stamp] = {}
        self._contents: dict[str, Any] = {}

    def __enter__(self) -> Self:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of versions, which are compared below.
            try:
                # Certificates of TLS are those of Dask's own configuration.
                self._client = _connected(self._address)
            except (OSError, ValueError, TypeError) as error:
                raise ConnectError(
                    f"no Dask scheduler answers at {self._address}: is it running, and its TLS as "
                    "in your Dask configuration?"
                ) from error
        try:
            self._check()
        except BaseException:
            self._client.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._client.close()

    def run(
        self, function: Function, tasks: Iterable[Task], on_stage: OnStage = lambda *_: None
    ) -> Iterator[Done]:
        """See ``Machines.run``."""
        executor = self._client.get_executor(pure=False)

        def submit(task: Task) -> futures.Future[Outcome]:
            shared = {name: self._stamp(path) for name, path in task.listing()}
            order = Order(
                function=function,
                argument=task.argument,
                keys=tuple(task.files),
                shared=shared,
                once={key: read(path) for key, path in task.once.items()},
                expected=versions.own(),
            )
            contents = {one.sha256: self._contents[one.sha256] for one in shared.values()}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Of large arguments: images are.
                future: futures.Future[Outcome] = executor.submit(perform, order, contents)
            return future

        yield from _flowing(submit, tasks, self._threads, on_stage)

    def _check(self) -> None:
        """Refuse workers with other versions; those that join later are refused by ``perform``."""
        found = self._client.run(versions.versions)
        for address, theirs in found.items():
            versions.check(versions.own(), theirs, where=address)
        if not found:
            self._on_note(f"the scheduler {self._address} has no workers yet: waiting for some")

    def _threads(self) -> int:
        return sum(self._client.nthreads().values())

    def _stamp(self, path: Path) -> Stamp:
        """Send a file, once; a copy that is lost with a worker comes from the scheduler again."""
        if path not in self._stamps:
            stamp, content = read(path)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Of large arguments: files are.
                self._contents[stamp.sha256] = self._client.submit(
                    _content, content, key=f"shufflenet-deploy-{stamp.sha256}"
                )
            self._stamps[path] = stamp
        return self._stamps[path]


def _connected(address: str) -> Any:
    """A client of the scheduler at ``address``, or whatever its constructor raises."""
    from distributed import Client  # noqa: PLC0415 - a second

    class Connecting(Client):  # type: ignore[misc]
        """One that is closed where it cannot connect: left to the garbage collector it takes a lock
        that the collecting thread may hold, and hangs.
        """

        def start(self, **options: Any) -> None:
            try:
                super().start(**options)
            except BaseException:
                self.close(timeout=_CONNECT_SECS)
                raise

    return Connecting(address, timeout=_CONNECT_SECS, set_as_default=False)


def _flowing(
    submit: Callable[[Task], futures.Future[Outcome]],
    tasks: Iterable[Task],
    width: Callable[[], int],
    on_stage: OnStage,
) -> Iterator[Done]:
    """Keep every worker busy without holding all tasks at once."""
    waiting = enumerate(tasks)
    running: dict[futures.Future[Outcome], int] = {}
    more = True
    try:
        while more or running:
            while more and len(running) < _AHEAD * max(1, width()):
                index, task = next(waiting, (-1, None))
                if task is None:
                    more = False
                    break
                running[submit(task)] = index
                on_stage(index, "sent")
            if not running:
                return
            finished, _ = futures.wait(running, return_when=futures.FIRST_COMPLETED)
            for future in finished:
                yield _ended(running.pop(future), future, on_stage)
    finally:
        for future in running:
            future.cancel()


def _ended(index: int, future: futures.Future[Outcome], on_stage: OnStage) -> Done:
    def outcome() -> Any:
        try:
            value, stages = future.result()
        except DeployError:
            raise
        except (futures.CancelledError, futures.BrokenExecutor) as error:
            raise WorkersError(
                "a worker process died, perhaps for want of memory: try --workers 1"
            ) from error
        except ModuleNotFoundError as error:
            raise WorkerVersionsError(
                f"a worker lacks {error.name}: install the same as here"
            ) from error
        except Exception as error:
            raise WorkersError(f"a task failed: {_described(error)}") from error
        for text in stages:
            on_stage(index, text)
        return value

    return _done(index, outcome)


def _done(index: int, outcome: Callable[[], Any]) -> Done:
    try:
        return Done(index, outcome())
    except WorkersError:
        raise
    except DeployError as error:
        return Done(index, error=error)


def _described(error: Exception) -> str:
    if type(error).__name__ == "KilledWorker":
        return "it took several workers with it, perhaps for want of memory"
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def _content(content: bytes) -> bytes:
    return content


def _local(function: Function, argument: Any, files: Files) -> Outcome:
    stages: list[str] = []
    return Outcome(function(argument, files, stages.append), stages)


def _begin() -> None:
    """In a process of ours: Ctrl-C is for the parent, and without a parent there is no work."""
    os.environ["OMP_NUM_THREADS"] = "1"  # Before anything imports what reads it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
