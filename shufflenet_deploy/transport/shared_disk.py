"""A disk that a virtual machine and its host both see: large files skip the emulated network.

The host writes a file to the beginning of the disk and the target reads it from there; who knows
its size and its sha256 needs no file system. The disk is empty again afterwards.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO

#: Below this, saying where a file lies takes as long as sending it.
_LEAST_BYTES = 1 << 20
#: As large as files may become: what is never written takes no room.
_SIZE_BYTES = 4 << 30
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class SharedDisk:
    """``file`` is the disk on this machine, ``device`` what the target calls it."""

    file: Path
    device: str

    def make(self) -> None:
        """Make an empty one."""
        with self.file.open("xb") as stream:
            stream.truncate(_SIZE_BYTES)

    @contextmanager
    def offering(self, local: Path) -> Iterator[bool]:
        """Put a file there for as long as the block lasts; yield True if it is there.

        It is not where that would gain nothing, or this machine has no room for a copy of it. There
        is one file at a time: others wait.

        Raises:
            OSError: the file cannot be read.
        """
        if not _LEAST_BYTES <= local.stat().st_size <= _SIZE_BYTES or not self.file.exists():
            yield False
            return
        # Without a buffer, which would go on failing where this machine has no room left.
        with local.open("rb") as source, self.file.open("r+b", buffering=0) as disk:
            fcntl.flock(disk, fcntl.LOCK_EX)
            try:
                yield _copied(source, disk)
            finally:
                disk.truncate(0)
                disk.truncate(_SIZE_BYTES)


def _copied(source: BinaryIO, disk: FileIO) -> bool:
    """Copy the stream; return False if the disk had no room for all of it."""
    while chunk := source.read(_CHUNK_BYTES):
        try:
            written = disk.write(chunk)
        except OSError:
            return False
        if written != len(chunk):
            return False
    return True
