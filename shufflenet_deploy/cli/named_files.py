"""The files that ``bench --file`` names, measured as they are: models of a suite by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from shufflenet_deploy.atomic_files import user_path
from shufflenet_deploy.errors import UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.records import MeasuredFile

_UNNAMEABLE = re.compile(r"[^A-Za-z0-9._+-]+")
_SHAPE = re.compile(r"[0-9]{1,8}(?:x[0-9]{1,8})*")


@dataclass(frozen=True, kw_only=True)
class NamedFiles:
    """``files`` by their models' names; ``baseline`` is one of them, ``models`` are the others."""

    files: dict[str, MeasuredFile] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    baseline: str | None = None

    @classmethod
    def of(cls, files: Sequence[str], shapes: Sequence[str], baseline: str | None) -> Self:
        """Read ``--file`` and ``--shape``, and a ``--baseline`` that ends as such files do.

        Raises:
            UsageError: a file or a shape is not what it should be.
        """
        if not files:
            if shapes:
                raise UsageError("--shape is for the inputs of a --file")
            return cls()
        from shufflenet_deploy.export.measured_file import endings  # noqa: PLC0415

        own = list(dict.fromkeys(files))
        rivals = [baseline] if baseline and baseline.endswith(endings()) else []
        paths = [user_path(text) for text in dict.fromkeys([*own, *rivals])]
        found = dict(zip(_names(paths), _described(paths, shapes), strict=True))
        names = dict(zip([*own, *(one for one in rivals if one not in own)], found, strict=True))
        return cls(
            files=found,
            models=tuple(names[text] for text in own if text not in rivals or len(own) == 1),
            baseline=names[rivals[0]] if rivals else None,
        )

    @property
    def runtimes(self) -> list[str]:
        """The usual runtimes of the files."""
        from shufflenet_deploy.export import formats  # noqa: PLC0415

        return list(dict.fromkeys(formats.get(file.format).runtime for file in self.files.values()))


def _described(paths: Sequence[Path], shapes: Sequence[str]) -> list[MeasuredFile]:
    from shufflenet_deploy.export.measured_file import MeasuredFiles  # noqa: PLC0415

    files = MeasuredFiles()
    wanted = dict(map(_shape, shapes))
    inputs = {path: files.input_names(path) for path in paths} if wanted else {}
    known = {name for names in inputs.values() for name in names}
    if unknown := [name for name in wanted if name not in known]:
        raise UsageError(f"--shape {unknown[0]}: the inputs are {', '.join(sorted(known))}")
    return [
        files.describe(
            path, {name: wanted[name] for name in inputs.get(path, ()) if name in wanted}
        )
        for path in paths
    ]


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, equals, sizes = text.rpartition("=")
    if not equals or not name or not _SHAPE.fullmatch(sizes) or "0" in sizes.split("x"):
        raise UsageError(f"--shape {text}: write NAME=SIZES, such as images=1x3x320x320")
    return name, tuple(map(int, sizes.split("x")))


def _names(paths: Sequence[Path]) -> list[str]:
    """The files' names; of files of one name the folders', too.

    Raises:
        UsageError: they do not differ, even so.
    """
    short = [path.name for path in paths]
    names = [
        path.name if short.count(path.name) == 1 else f"{path.absolute().parent.name}-{path.name}"
        for path in paths
    ]
    clean = [_UNNAMEABLE.sub("-", name).lstrip("._+-")[-80:] for name in names]
    for name in clean:
        if clean.count(name) > 1:
            raise UsageError(f"two files are called {name}: rename one of them")
    return clean
