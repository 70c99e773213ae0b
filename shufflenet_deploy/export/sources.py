"""Source digest of an export: the files that decide its bytes, found by the import graph.

The import graph is read from the text of the modules, without importing them: an export that is
already done must cost milliseconds. Imports inside functions count. With a module count the data
files of its folder (C, headers, tables), and the scripts that it names in a string.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import shufflenet_deploy

_PACKAGE = "shufflenet_deploy"

#: What makes a file, whatever its format; ``formats`` finds what is of a format only.
_ROOT = f"{_PACKAGE}.export.pipeline"

_IMPORT = re.compile(
    rf"^[ \t]*(?:import (?P<whole>{_PACKAGE}[\w.]*)"
    rf"|from (?P<module>{_PACKAGE}[\w.]*) import (?P<names>\([^)]*\)|[^\n]*))",
    re.MULTILINE,
)
_SCRIPT = re.compile(r'"(\w+\.py)"')
_PASSED_OVER = frozenset({".py", ".pyc", ".typed", ".md", ".jpg"})


@cache
def digest(*formats: str) -> str:
    """Hex sha256 over names and bytes of ``files`` of the installed package."""
    package = Path(shufflenet_deploy.__file__).parent
    return digest_of(files(package, *formats), package)


def digest_of(paths: Iterable[Path], package: Path) -> str:
    """Hex sha256 over the names, relative to ``package``, and the bytes of files."""
    total = hashlib.sha256()
    for path in paths:
        total.update(path.relative_to(package).as_posix().encode() + b"\0")
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def files(package: Path, *formats: str) -> tuple[Path, ...]:
    """The files, sorted, of the package in the folder ``package`` that decide an export's bytes.

    Those of a format are reached from its ``export/NAME/format.py``.
    """
    tree = _Tree(package)
    found: set[Path] = set()
    known: set[str] = set()
    waiting = {_ROOT, *(f"{_PACKAGE}.export.{name}.format" for name in formats)}
    while waiting:
        module = waiting.pop()
        known.add(module)
        path = tree.modules.get(module)
        if path is None:
            continue
        text = path.read_text(encoding="utf-8")
        found |= {path, *tree.data[path.parent], *tree.named(path.parent, text)}
        waiting |= {module.rpartition(".")[0], *_imported(text)} - {"", *known}
    # Folders of C and headers hold no module of their own.
    whole = {path.parent for path in found if path.name == "__init__.py"} - {package}
    found |= {path for folder in tree.data if folder.parent in whole and folder not in tree.packages
              for path in tree.data[folder]}  # fmt: skip
    return tuple(sorted(found))


class _Tree:
    """The modules of a package by their dotted names, and the data files of each folder."""

    def __init__(self, package: Path) -> None:
        self.modules: dict[str, Path] = {}
        self.data: dict[Path, set[Path]] = {}
        self.packages: set[Path] = set()
        for folder, names, entries in os.walk(package):
            names[:] = [name for name in names if name.isidentifier() and name != "__pycache__"]
            here = Path(folder)
            dotted = ".".join((_PACKAGE, *here.relative_to(package).parts))
            self.data[here] = {here / name for name in entries if _is_data(name)}
            if "__init__.py" in entries:
                self.packages.add(here)
            for name in entries:
                stem, _, suffix = name.rpartition(".")
                if suffix == "py":
                    self.modules[dotted if stem == "__init__" else f"{dotted}.{stem}"] = here / name

    def named(self, folder: Path, text: str) -> set[Path]:
        """The scripts of a folder whose names stand in a string of ``text``."""
        return {
            path
            for path in (folder / name for name in _SCRIPT.findall(text))
            if path in self.modules.values()
        }


def _imported(text: str) -> set[str]:
    """The modules that a source may import; names of functions and classes are among them."""
    modules: set[str] = set()
    for match in _IMPORT.finditer(text):
        if match["whole"]:
            modules.add(match["whole"])
            continue
        modules.add(match["module"])
        names = re.sub(r"#[^\n]*", "", match["names"]).strip("() \t").split(",")
        modules.update(f"{match['module']}.{name.split()[0]}" for name in names if name.strip())
    return modules


def _is_data(name: str) -> bool:
    suffix = Path(name).suffix
    return not name.startswith(".") and suffix not in _PASSED_OVER
