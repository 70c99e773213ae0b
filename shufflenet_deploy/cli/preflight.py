"""Preflight checks of options, run before anything is exported, pushed, measured or counted.

Each check names the option, what is wrong with its value, and what to do. None of them leaves
a file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from shufflenet_deploy import extras
from shufflenet_deploy.errors import UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.bench import Suite
    from shufflenet_deploy.records import Resolution

#: Every network of the zoo accepts images of this side and above: the bisection's upper end.
_LARGE_ENOUGH = 224


def writable_folder(option: str, folder: Path, names: Iterable[str] = ()) -> None:
    """Refuse a folder that cannot be made or written to, or where ``names`` are folders.

    Raises:
        UsageError: nothing can be written there.
    """
    _writable(option, folder, folder)
    for name in names:
        if (folder / name).is_dir():
            raise UsageError(
                f"{option} {folder}: {name} is a folder there; move it away, or choose another"
            )


def writable_file(option: str, path: Path, example: str) -> None:
    """Refuse a file that cannot be written; ``example`` is a name that would do.

    Raises:
        UsageError: it is a folder, or its folder cannot be written to.
    """
    if path.is_dir():
        raise UsageError(f"{option} {path} is a folder: name a file, such as {path / example}")
    _writable(option, path, path.parent)


def readable_folder(option: str, folder: Path, wanted: str) -> None:
    """Refuse a path that is no folder, or an unreadable one; ``wanted`` is its expected content.

    Raises:
        UsageError: there is no such folder, or it may not be read.
    """
    if not folder.expanduser().is_dir():
        raise UsageError(f"{option} {folder} is no folder: give one that holds {wanted}")
    try:
        next(folder.expanduser().iterdir(), None)
    except OSError as error:
        raise UsageError(
            f"{option} {folder}: {error.strerror}; give a folder that holds {wanted}"
        ) from error


def existing_file(option: str, path: Path) -> None:
    """Refuse a file that is not there, before anything slow; whoever reads it judges its kind.

    Raises:
        UsageError: there is no such file, or it may not be looked for.
    """
    try:
        path.stat()
    except OSError as error:
        raise UsageError(f"{option} {path}: {error.strerror}") from error


def resolutions(suite: Suite) -> None:
    """Refuse images that are too small for a network of the suite, by its name.

    A network of the user's own is run by its export, which says what it does not take.

    Raises:
        UsageError: a network's feature maps would shrink to nothing.
    """
    from shufflenet_deploy import zoo  # noqa: PLC0415

    if not extras.can_export():
        return  # Files that were brought here are measured as they are.
    small = [size for size in suite.resolutions if min(size.height, size.width) < _LARGE_ENOUGH]
    for size in sorted(small, key=lambda one: one.pixels):
        for model in dict.fromkeys((*suite.models, *filter(None, [suite.baseline]))):
            if (
                model not in suite.files
                and not zoo.architecture(suite.cards.get(model, model)).is_own
            ):
                _takes(suite, model, size)


def _takes(suite: Suite, model: str, size: Resolution) -> None:
    from shufflenet_deploy import zoo  # noqa: PLC0415

    reference = suite.cards.get(model, model)
    zoo.architecture(reference)
    try:
        zoo.complexity_of(reference, size, suite.head_of(model))
    except UsageError as error:
        if model == suite.baseline and model not in suite.models:
            advice = "or measure without one: --baseline none"
            named = f"{model}, the baseline"
        else:
            advice, named = f"or leave {model} out", model
        raise UsageError(
            f"--resolution {size} is too small for {named}: its feature maps shrink to nothing; "
            f"choose {_smallest(reference, suite.head_of(model))} or more, {advice}"
        ) from error


def _smallest(reference: str, head: str) -> str:
    """The smallest square input of a network, by bisection."""
    from shufflenet_deploy import zoo  # noqa: PLC0415
    from shufflenet_deploy.records import Resolution  # noqa: PLC0415

    too_small, enough = 0, _LARGE_ENOUGH
    while enough - too_small > 1:
        side = (too_small + enough) // 2
        try:
            size = Resolution(height=side, width=side)
            zoo.complexity_of(reference, size, head)
        except UsageError:
            too_small = side
        else:
            enough = side
    return f"{enough}x{enough}"


def _writable(option: str, path: Path, folder: Path) -> None:
    """Try to write where ``folder`` is, or would be made."""
    nearest = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    if not nearest.is_dir():
        raise UsageError(f"{option} {path}: {nearest} is a file; choose another folder")
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise UsageError(f"{option} {path}: {error.strerror}; choose another folder") from error
