"""Limits on untrusted files: the readers of ``inspect`` refuse any claim above them.

A file from elsewhere is bytes until it was checked: it is of a bounded size, its numbers are
numbers that a network can have, and its texts can be printed.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path

from shufflenet_deploy.errors import UsageError

#: What parsers raise for bytes that they did not expect. ``RecursionError`` is a ``RuntimeError``,
#: and the errors of pydantic, of decoding and of numpy's shapes are ``ValueError``.
MALFORMED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)

#: protobuf and flatbuffers end here, too.
MOST_FILE_BYTES = 2 << 30
_MOST_COUNT = 10**18
_MOST_RANK = 32
_MOST_TEXT = 1000


def check_file(path: Path, *, most_bytes: int = MOST_FILE_BYTES) -> None:
    """Refuse what is no regular file or too large, before it is opened.

    Raises:
        UsageError: the file is missing, endless (a device, a pipe), or larger than ``most_bytes``.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no such name"
        raise UsageError(f"cannot read {path}: {reason}") from error
    if stat.S_ISDIR(found.st_mode):
        raise UsageError(f"cannot read {path}: Is a directory")
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"cannot read {path}: not a regular file")
    if found.st_size > most_bytes:
        raise UsageError(
            f"cannot read {path}: {found.st_size >> 20} MB, more than {most_bytes >> 20} MB"
        )


def product(sizes: Iterable[int]) -> int:
    """The product of the sizes of a shape.

    Raises:
        ValueError: more dimensions or elements than a tensor has, or a negative size.
    """
    total = 1
    for rank, size in enumerate(sizes):
        if rank >= _MOST_RANK or size < 0:
            raise ValueError("a shape that no tensor has")
        total = count(total * size)
    return total


def count(value: int) -> int:
    """A number of things that a network may have.

    Raises:
        ValueError: it is negative, or above 10**18.
    """
    if not 0 <= value <= _MOST_COUNT:
        raise ValueError("a number that no network has")
    return value


def printable(text: str) -> str:
    """A text of a file as a terminal may show it: no control characters, not endless."""
    shown = "".join(char if char.isprintable() else "?" for char in text[:_MOST_TEXT])
    return shown if len(text) <= _MOST_TEXT else f"{shown}..."
