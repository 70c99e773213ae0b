"""``--weights`` of commands that take several models: ``FILE``, or ``NAME=FILE``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from shufflenet_deploy.atomic_files import is_file, user_path
from shufflenet_deploy.cli.multi_value import listed
from shufflenet_deploy.errors import UsageError


def checkpoints(given: Sequence[str], models: Sequence[str]) -> dict[str, list[str]]:
    """The checkpoints of each model, in their order; a model may have several.

    Raises:
        UsageError: it is not clear whose a file is, or there is no such file.
    """
    found: dict[str, list[str]] = {}
    for text in _one_by_one(given):
        name, equals, path = text.partition("=")
        if not equals or is_file(Path(text)):
            if len(models) != 1:
                raise UsageError(
                    f"--weights {text}: which model? Write NAME={text} with one of "
                    f"{', '.join(models)}"
                )
            name, path = models[0], text
        file = user_path(path).absolute()
        if not file.is_file():
            raise UsageError(f"--weights: {path} is not a file")
        found.setdefault(name, []).append(str(file))
    return found


def checkpoint_of_each(
    given: Sequence[str] | None, typed: Sequence[str], references: Mapping[str, str]
) -> dict[str, Path]:
    """One checkpoint at most for each model, which may be named as ``typed`` or by its own name.

    Raises:
        UsageError: as ``checkpoints``, or a model that is not there, or several files of one.
    """
    own = dict(zip(typed, references, strict=True)) if len(typed) == len(references) else {}
    renamed = []
    for text in given or []:
        model, equals, path = text.partition("=")
        renamed.append(f"{own[model]}={path}" if equals and model in own else text)
    found = checkpoints(renamed, list(references))
    for name, files in found.items():
        if name not in references:
            raise UsageError(f"--weights: {name} is none of {', '.join(references)}")
        if len(files) > 1:
            raise UsageError(f"--weights: {name} has {len(files)} files; give one")
    return {name: Path(file) for name, (file,) in found.items()}


def _one_by_one(given: Sequence[str]) -> Iterator[str]:
    """Values of the option, split at commas unless a file has them in its name."""
    for text in given:
        path = text.partition("=")[2] or text
        whole = is_file(Path(text)) or user_path(path).is_file()
        yield from [text] if whole else listed(text)
