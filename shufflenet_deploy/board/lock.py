"""One holder at a time, across processes, by a file that can be removed afterwards."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shufflenet_deploy.errors import UsageError


@contextmanager
def exclusive(path: Path, *, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock ``path`` for the block, waiting for whoever holds it; it is removed after.

    Raises:
        UsageError: its folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _acquire(path, on_wait)
    except OSError as error:
        raise UsageError(
            f"cannot write to {path.parent}: {error.strerror}; see SHUFFLENET_DEPLOY_STATE and"
            " SHUFFLENET_DEPLOY_CACHE in docs/virtual-board.md"
        ) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        # Explicitly: closing alone does not unlock while a forked child still has the handle.
        fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


def _acquire(path: Path, on_wait: Callable[[], None]) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(handle, fcntl.LOCK_EX)
        # Whoever held it has removed the file: this handle then locks what nobody else will open.
        if _is_still(path, handle):
            return handle
        os.close(handle)


def _is_still(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
