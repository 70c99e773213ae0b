"""Digest of Python source that builds a network: the file, and what it imports from beside it.

The source is read, never run: an export that is already done must not import anybody's code.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.machinery
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from shufflenet_deploy.atomic_files import read_bytes, user_path
from shufflenet_deploy.errors import UsageError

_MOST_FILES = 20_000
_MOST_BYTES = 16 << 20


def source_digest(code: str) -> str:
    """Hex sha256 over the source of ``code``, the path of a ``.py`` file or a dotted module.

    Of a file, the modules and packages in its folder that it imports, directly or not, count too;
    of a module, all Python files of the package that it belongs to.

    Raises:
        UsageError: there is no such file or module, it is not Python, or it cannot be read.
    """
    total = hashlib.sha256()
    for name, content in sorted(dict(_sources(code)).items()):
        total.update(name.encode(errors="surrogateescape") + b"\0")
        total.update(hashlib.sha256(content).digest())
    return total.hexdigest()


def neighbours(file: Path) -> tuple[str, ...]:
    """The modules and packages of its own folder that a file imports, directly or not.

    Raises:
        UsageError: one of the files cannot be read or is not Python.
    """
    names = {name.partition("/")[0] for name, _ in _file_and_neighbours(file)}
    return tuple(sorted(names - {file.name}))


def module_file(dotted: str) -> Path:
    """The source file, or the folder, of the outermost package of ``dotted``; nothing is imported.

    The working folder is searched first, as by ``python -m``.

    Raises:
        UsageError: there is no such module, or it has no source.
    """
    top = dotted.partition(".")[0]
    spec = importlib.machinery.PathFinder.find_spec(top, [str(Path.cwd()), *sys.path])
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    if spec is not None and spec.origin is not None and spec.origin.endswith(".py"):
        return Path(spec.origin)
    raise UsageError(
        f"no module '{top}' with Python source is found from here: install it, or name a file as "
        "--model FILE.py:CALLABLE"
    )


def _sources(code: str) -> Iterator[tuple[str, bytes]]:
    if not code.endswith(".py"):
        place = module_file(code)
        yield from _package(place) if place.is_dir() else _file_and_neighbours(place)
        return
    yield from _file_and_neighbours(user_path(code))


def _file_and_neighbours(first: Path) -> Iterator[tuple[str, bytes]]:
    """A file, and the files that it imports from its own folder."""
    folder = first.parent
    known: set[Path] = set()
    waiting = [first]
    while waiting:
        path = waiting.pop()
        if path in known:
            continue
        known.add(path)
        if len(known) > _MOST_FILES:
            raise UsageError(f"{first} imports more than {_MOST_FILES} files of its own folder")
        content = _content(path)
        yield path.relative_to(folder).as_posix(), content
        for name in _imported(path, content):
            if (package := folder / name).is_dir():
                yield from _package(package)
            elif (neighbour := folder / f"{name}.py").is_file():
                waiting.append(neighbour)


def _package(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every Python file below a folder."""
    count = 0
    for place, names, files in os.walk(folder):
        names[:] = [name for name in names if name.isidentifier() and name != "__pycache__"]
        for name in files:
            if name.endswith(".py"):
                count += 1
                if count > _MOST_FILES:
                    raise UsageError(f"{folder} holds more than {_MOST_FILES} Python files")
                path = Path(place, name)
                yield path.relative_to(folder.parent).as_posix(), _content(path)


def _imported(path: Path, content: bytes) -> set[str]:
    """Outermost names of the absolute imports of a source.

    Raises:
        UsageError: it is not Python.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The code's own, which Python prints when it runs.
            tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        reason = getattr(error, "msg", None) or "it cannot be parsed"
        raise UsageError(f"{path}{line}: not valid Python: {reason}") from error
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def _content(path: Path) -> bytes:
    return read_bytes(path, what="the code", limit_bytes=_MOST_BYTES)
