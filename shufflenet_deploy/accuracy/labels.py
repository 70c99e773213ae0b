"""Class indices of folders and images: from the order of names, or from a label file.

A label file has one of these forms, recognised by its content:

- names, one per line (or a JSON list): the first is class 0, as in ``imagenet_synsets.txt``; a name
  may be followed by a description;
- names with numbers, ``NAME INDEX`` per line (or a JSON object of names), as in ``val_map.txt``;
- a JSON object of indices, ``{"0": ["n01440764", "tench"]}``, as in ``imagenet_class_index.json``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shufflenet_deploy.atomic_files import read_text, user_path
from shufflenet_deploy.bounded import parse_json
from shufflenet_deploy.errors import UsageError

#: Instead of a file: the sorted names count from 0; or each name is the number of its class.
SORTED, NUMBERS = "sorted", "numbers"

_NUMBERED = re.compile(r"(\S.*?)\s+([0-9]{1,9})")
_SHOWN = 4


def classes_of(names: Sequence[str], classes: int, labels: str | None) -> dict[str, int]:
    """The class index of each name. ``labels`` is a file, ``sorted``, ``numbers`` or None.

    Without ``labels`` there must be as many names as the model has classes; their sorted order is
    the classes', as in torchvision's ``ImageFolder``.

    Raises:
        UsageError: it is not clear which name is which class; the message states the remedy.
    """
    if labels == SORTED:
        found = {name: index for index, name in enumerate(sorted(names))}
    elif labels == NUMBERS:
        found = _as_numbers(names)
    elif labels is not None:
        found = _looked_up(names, read(Path(labels)), labels)
    else:
        found = _by_order(names, classes)
    for name, index in found.items():
        if not index < classes:
            raise UsageError(
                f"'{name}' would be class {index}, but the model has only {classes} "
                f"(0 to {classes - 1}): check --labels, or the model"
            )
    return found


def read(path: Path) -> dict[str, int]:
    """The class index of every name in a file of labels.

    Raises:
        UsageError: it cannot be read, or is none of the known forms.
    """
    try:
        text = read_text(user_path(path), what="the labels")
    except UsageError as error:
        raise UsageError(f"{error}; --labels takes a file, 'sorted' or 'numbers'") from error
    try:
        found = _from_json(parse_json(text)) if path.suffix == ".json" else _from_lines(text)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{path} is no file of labels: {error}; write one name per line in the order of the "
            "classes, or 'NAME INDEX' per line"
        ) from error
    if not found:
        raise UsageError(f"{path} holds no labels")
    return found


def _by_order(names: Sequence[str], classes: int) -> dict[str, int]:
    if len(names) != classes:
        relation = "more" if len(names) > classes else "fewer"
        raise UsageError(
            f"there are {len(names)} class folders ({_some(sorted(names))}), {relation} than the "
            f"model's {classes} classes: name the class of each with --labels FILE, "
            "--labels numbers (each name is a class's number) or --labels sorted"
        )
    ordered = sorted(names)
    if all(_is_index(name) for name in names) and ordered != sorted(names, key=int):
        raise UsageError(
            f"the class folders are numbers whose alphabetical order ({_some(ordered)}) is not "
            "their own: choose --labels numbers, or --labels sorted for what torchvision's "
            "ImageFolder does"
        )
    return {name: index for index, name in enumerate(ordered)}


def _as_numbers(names: Sequence[str]) -> dict[str, int]:
    strangers = [name for name in sorted(names) if not _is_index(name)]
    if strangers:
        raise UsageError(f"--labels numbers, but these are none: {_some(strangers)}")
    return {name: int(name) for name in names}


def _looked_up(names: Sequence[str], known: Mapping[str, int], source: str) -> dict[str, int]:
    strangers = [name for name in sorted(names) if name not in known]
    if strangers:
        raise UsageError(
            f"{len(strangers)} of {len(names)} names are not in {source}: {_some(strangers)}"
        )
    return {name: known[name] for name in names}


def _from_lines(text: str) -> dict[str, int]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if lines and all(numbered):
        return _unique((match[1], int(match[2])) for match in numbered if match)
    found = _unique((line, index) for index, line in enumerate(lines))
    # A name with a description behind it; a whole line still goes before another's first word.
    first_words = [line.split()[0].rstrip(",") for line in lines]
    if len(set(first_words)) == len(lines):
        found = {word: index for index, word in enumerate(first_words)} | found
    return found


def _from_json(content: Any) -> dict[str, int]:
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return _unique((name, index) for index, name in enumerate(content))
    if not isinstance(content, dict):
        raise ValueError("neither a list nor an object of names")
    if all(isinstance(value, int) and value >= 0 for value in content.values()):
        return {str(name): int(index) for name, index in content.items()}
    found: dict[str, int] = {}
    for index, value in content.items():
        names = [value] if isinstance(value, str) else value
        if (
            not _is_index(index)
            or not isinstance(names, list)
            or not all(isinstance(name, str) for name in names)
        ):
            raise ValueError(f"'{index}' is not the number of a class with its names")
        # Names in words may be shared by two classes ("crane"); identifiers are not.
        for name in names:
            found.setdefault(name, int(index))
    return found


def _is_index(name: str) -> bool:
    return re.fullmatch(r"[0-9]{1,9}", name) is not None


def _unique(pairs: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, index in pairs:
        if found.setdefault(name, index) != index:
            raise ValueError(f"'{name}' is there twice")
    return found


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"{shown}, …" if len(names) > _SHOWN else shown
