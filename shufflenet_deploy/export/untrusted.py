"""Limits on untrusted files: the readers of ``inspect`` refuse any claim above them.

A file from elsewhere is bytes until it was checked: it is of a bounded size (``atomic_files``), its
numbers are numbers that a network can have, and its texts can be printed (``printing``).
"""

from __future__ import annotations

import contextlib
import struct
import zipfile
from collections.abc import Iterable, Iterator
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
    struct.error,
    zipfile.BadZipFile,
)

_MOST_COUNT = 10**18
_MOST_RANK = 32


def damaged(path: Path, title: str, why: str = "") -> UsageError:
    """The refusal of a file that begins, ends or is named as one of the format ``title``."""
    reason = f" ({why})" if why else ""
    return UsageError(f"{path} is not an undamaged {title} file{reason}; export it again")


@contextlib.contextmanager
def parsing(path: Path, title: str) -> Iterator[None]:
    """While a file of the format ``title`` is read: whatever its parser raises is one line.

    Raises:
        UsageError: it cannot be read, or is damaged.
    """
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except MALFORMED as error:
        raise damaged(path, title) from error


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
