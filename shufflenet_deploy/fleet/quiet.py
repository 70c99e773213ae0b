"""Locks between the processes of a fleet: one export at a time, and none while ``local`` measures.

Files are made once because the second process that wants one finds it when it gets the lock. Work
of the processor here would disturb a measurement here, and only here: the other targets measure on.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_EXPORTS, _PROCESSOR = "exports.lock", "processor.lock"


@contextmanager
def exporting(locks: Path) -> Iterator[None]:
    """Hold what an export needs: no other goes on, and nothing is measured on this machine."""
    with _held(locks / _EXPORTS, fcntl.LOCK_EX), _held(locks / _PROCESSOR, fcntl.LOCK_SH):
        yield


class MeasuringHere:
    """The processor of this machine, held while a process of ``local`` measures."""

    def __init__(self, locks: Path) -> None:
        self._file = (locks / _PROCESSOR).open("a")

    def begin(self) -> None:
        """Wait until nobody exports, and keep it so."""
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def end(self) -> None:
        """Let others export again; harmless where nothing was begun."""
        fcntl.flock(self._file, fcntl.LOCK_UN)


@contextmanager
def _held(path: Path, how: int) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, how)
        yield  # Closing it lets go.
