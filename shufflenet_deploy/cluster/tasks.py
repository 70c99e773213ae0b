"""Tasks and the files that they need, as they are here and as they arrive elsewhere."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from shufflenet_deploy.atomic_files import write_whole
from shufflenet_deploy.cluster import versions
from shufflenet_deploy.errors import UsageError, WorkersError

#: Called with what a task is doing.
OnTaskStage = Callable[[str], None]


@dataclass(frozen=True)
class Folder:
    """Some files of a folder, by their paths below ``root``."""

    root: Path
    files: tuple[Path, ...]


#: Where the files of a task are, by the keys that the task gave them.
Files = Mapping[str, Path]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One call of a function: ``function(argument, files, on_stage)``.

    Attributes:
        argument: anything that can be pickled; no paths but as labels.
        files: files and folders by keys of its own, which other tasks need as well.
        once: the same, needed by this task alone.
    """

    argument: Any
    files: Mapping[str, Path | Folder] = field(default_factory=dict)
    once: Mapping[str, Path] = field(default_factory=dict)

    @property
    def places(self) -> dict[str, Path]:
        """Its files, for who shares this machine's disk."""
        shared = {
            key: one.root if isinstance(one, Folder) else one for key, one in self.files.items()
        }
        return {**shared, **self.once}

    def listing(self) -> Iterator[tuple[str, Path]]:
        """Every shared file, with its path in the folder that the task will find on a worker."""
        for key, one in self.files.items():
            if isinstance(one, Path):
                yield key, one
                continue
            for path in one.files:
                yield f"{key}/{path.relative_to(one.root).as_posix()}", path


class Stamp(NamedTuple):
    """What a file is known by elsewhere."""

    sha256: str
    executable: bool


class Outcome(NamedTuple):
    """What a task returned, and what it said on the way."""

    value: Any
    stages: list[str]


@dataclass(frozen=True, kw_only=True)
class Order:
    """A task for a worker of a cluster.

    Attributes:
        function: what is called.
        argument: of the task.
        keys: of its shared files and folders.
        shared: these files, by their paths in the folder that they are put into.
        once: the files of this task alone, by their keys, with their contents.
        expected: the versions of whoever asks.
    """

    function: Callable[[Any, Files, OnTaskStage], Any]
    argument: Any
    keys: tuple[str, ...]
    shared: Mapping[str, Stamp]
    once: Mapping[str, tuple[Stamp, bytes]]
    expected: Mapping[str, str]


def perform(order: Order, contents: Mapping[str, bytes]) -> Outcome:
    """Run a task on a worker; ``contents`` are those of its shared files, by their sha256.

    Raises:
        WorkerVersionsError: this worker has other versions.
        DeployError: the function's own errors.
    """
    versions.check(order.expected, versions.own(), where=_address())
    place = _scratch()
    space = _arranged(place, order.shared, contents)
    stages: list[str] = []
    with tempfile.TemporaryDirectory(dir=place) as name:
        for key, (stamp, content) in order.once.items():
            _write(Path(name) / key, stamp, content)
        files = {key: space / key for key in order.keys}
        files |= {key: Path(name) / key for key in order.once}
        return Outcome(order.function(order.argument, files, stages.append), stages)


def _arranged(place: Path, shared: Mapping[str, Stamp], contents: Mapping[str, bytes]) -> Path:
    """A folder with the files by their names there; each content is stored once."""
    described = "\n".join(f"{name} {shared[name].sha256}" for name in sorted(shared))
    space = place / "tasks" / hashlib.sha256(described.encode()).hexdigest()
    for name, stamp in shared.items():
        stored = place / "files" / stamp.sha256
        if not stored.exists():
            _write(stored, stamp, contents[stamp.sha256])
        link = space / name
        link.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            link.symlink_to(stored)
    return space


def _write(path: Path, stamp: Stamp, content: bytes) -> None:
    if hashlib.sha256(content).hexdigest() != stamp.sha256:
        raise WorkersError(
            f"{path.name} arrived damaged at {_address()}: its sha256 is not {stamp.sha256}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)
    if stamp.executable:
        path.chmod(0o755)


def read(path: Path) -> tuple[Stamp, bytes]:
    """A file of this machine, to be sent.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        content = path.read_bytes()
        executable = os.access(path, os.X_OK)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    return Stamp(hashlib.sha256(content).hexdigest(), executable), content


def _address() -> str:
    from distributed import get_worker  # noqa: PLC0415 - on workers only

    return str(get_worker().address)


def _scratch() -> Path:
    """A folder of this worker, which is removed with it."""
    from distributed import get_worker  # noqa: PLC0415

    place = Path(get_worker().local_directory) / "shufflenet-deploy"
    place.mkdir(parents=True, exist_ok=True)
    return place
