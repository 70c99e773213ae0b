"""Writes Linux's initramfs archives (cpio "newc"), every file owned by root, nobody being root.

The format is described in the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import PurePosixPath

_TRAILER = "TRAILER!!!"


class CpioTree:
    """The files of a root file system, by path without a leading slash. Later writes win."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[int, bytes]] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def folder(self, path: str, mode: int = 0o755) -> None:
        """Add a folder and those above it; permissions of one already there are replaced."""
        self._parents(path)
        self._entries[path] = (stat.S_IFDIR | mode, b"")

    def file(self, path: str, content: bytes | str, mode: int = 0o644) -> None:
        """Add a regular file."""
        self._parents(path)
        data = content.encode() if isinstance(content, str) else content
        self._entries[path] = (stat.S_IFREG | mode, data)

    def link(self, path: str, target: str) -> None:
        """Add a symbolic link to ``target``, which need not exist."""
        self._parents(path)
        self._entries[path] = (stat.S_IFLNK | 0o777, target.encode())

    def content(self, path: str) -> bytes:
        """The bytes of a file (of a link: its target).

        Raises:
            KeyError: there is no such entry.
        """
        return self._entries[path][1]

    def archive(self) -> Iterator[bytes]:
        """The archive in pieces: sorted, without times, so that equal trees give equal bytes."""
        # Sorted order puts every folder before what it holds, as the kernel needs it.
        for inode, path in enumerate(sorted(self._entries), start=1):
            mode, data = self._entries[path]
            yield from _entry(path, inode, mode, data)
        yield from _entry(_TRAILER, 0, 0, b"")

    def _parents(self, path: str) -> None:
        for parent in PurePosixPath(path).parents:
            if (name := str(parent)) != ".":
                self._entries.setdefault(name, (stat.S_IFDIR | 0o755, b""))


def _entry(path: str, inode: int, mode: int, data: bytes) -> Iterator[bytes]:
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    # ino, mode, uid, gid, nlink, mtime, filesize, dev x2, rdev x2, namesize, check
    fields = (inode, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    yield header + name + _padding(len(header) + len(name))
    if data:
        yield data + _padding(len(data))


def _padding(size: int) -> bytes:
    return b"\0" * (-size % 4)
