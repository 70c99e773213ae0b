"""The file formats there are: every folder beside this file that has a ``format.py``.

    formats.get("onnx").precisions

A new format is one such folder; nothing lists it.
"""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import cast

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export.file_format import FileFormat

__all__ = [
    "MARK_BYTES",
    "FileFormat",
    "distribution_versions",
    "every",
    "get",
    "kind_of",
    "names",
    "refuse_part",
]

#: So many bytes at the start and at the end of a file identify its format.
MARK_BYTES = 64


@cache
def names() -> tuple[str, ...]:
    """The formats' names in alphabetical order; none is imported."""
    return tuple(sorted(path.parent.name for path in Path(__file__).parent.glob("*/format.py")))


@cache
def get(name: str) -> FileFormat:
    """The format called ``name``.

    Raises:
        UsageError: there is none.
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1, cutoff=0.6)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(names())}"
        raise UsageError(f"'{name}' is not a file format: {hint}")
    module = importlib.import_module(f"shufflenet_deploy.export.{name}.format")
    return cast("FileFormat", module.FORMAT)


def every() -> tuple[FileFormat, ...]:
    """All formats, by name."""
    return tuple(get(name) for name in names())


def kind_of(path: Path) -> FileFormat:
    """The format of a file, by its bytes, and by its ending where they have no format's mark.

    A damaged file has lost its mark, so that its name tells what it should have been.

    Raises:
        UsageError: it cannot be read, or neither tells.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(MARK_BYTES)
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - MARK_BYTES))
            end = stream.read(MARK_BYTES)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    for one in every():
        if one.recognises(start, end):
            return one
    for one in every():
        if path.suffix == f".{one.ending}":
            return one
    refuse_part(path)
    known = ", ".join(sorted(f".{one.ending}" for one in every()))
    raise UsageError(f"{path} is no exported file by its content or its name; those end in {known}")


def refuse_part(path: Path) -> None:
    """Refuse what a file of a format is unpacked into.

    Raises:
        UsageError: it ends as such a part; the message tells how a file is made of it.
    """
    for one in every():
        if path.suffix in one.parts:
            raise UsageError(f"{path} is a part of a file of {one.title}: {one.parts[path.suffix]}")


def distribution_versions(names: Iterable[str]) -> dict[str, str]:
    """The installed versions of distributions, by package metadata: none is imported."""
    return {name: metadata.version(name) for name in names}
