"""Notes on places that keepers hold, so that those of a killed keeper can be given back.

A note is a file that its keeper holds locked for as long as it lives. One that is not locked is of
a keeper that was killed, perhaps with its machine; labgrid itself keeps such a place for ever.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shufflenet_deploy.atomic_files import read_text
from shufflenet_deploy.bounded import Name
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import Record

_MOST_BYTES = 4096


class HeldPlace(Record):
    """A place, and the name under which it is held."""

    coordinator: Name
    place: Name
    owner: Name


class Note:
    """The note on one place that this process holds."""

    def __init__(self, folder: Path, held: HeldPlace) -> None:
        """Raises OSError where the folder cannot be written."""
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{held.owner.replace('/', '-')}.json"
        fresh = self._path.with_suffix(".new")
        self._file = fresh.open("w", encoding="utf-8")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._file.write(held.model_dump_json())
        self._file.flush()
        fresh.rename(self._path)

    def forget(self) -> None:
        """The place was given back."""
        with suppress(OSError):
            self._path.unlink()
        self._file.close()


@contextmanager
def of_the_dead(folder: Path, coordinator: str) -> Iterator[list[tuple[HeldPlace, Path]]]:
    """Notes of keepers that live no more, at one coordinator, kept from others meanwhile.

    The caller unlinks the path of a note when its place is free.
    """
    locks: list[int] = []
    found: list[tuple[HeldPlace, Path]] = []
    try:
        for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
            with suppress(OSError, UsageError, ValueError):
                descriptor = os.open(path, os.O_RDWR)
                locks.append(descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                text = read_text(path, what="the note on a lease", limit_bytes=_MOST_BYTES)
                held = HeldPlace.model_validate_json(text)
                if held.coordinator == coordinator:
                    found.append((held, path))
        yield found
    finally:
        for descriptor in locks:
            os.close(descriptor)
