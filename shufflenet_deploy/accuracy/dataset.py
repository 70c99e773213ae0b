"""Labelled images from a folder: discovery, classes, and a reproducible subset."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from shufflenet_deploy.accuracy import labels as naming
from shufflenet_deploy.atomic_files import sha256_file
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export.image_set import EXTENSIONS
from shufflenet_deploy.records import LabelledData

_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class LabelledImage:
    """One image file; ``label`` is its class's index, ``sha256`` that of its bytes.

    ``sha256`` is empty where the file cannot even be read.
    """

    path: Path
    label: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """The images of one evaluation, ordered such that a subset is a prefix of a larger one."""

    images: tuple[LabelledImage, ...]
    about: LabelledData
    remarks: tuple[str, ...] = ()


def labelled(
    folder: Path,
    *,
    classes: int,
    labels: str | None = None,
    limit: int | None = None,
    on_hashed: Callable[[int, int], None] | None = None,
) -> LabelledImages:
    """The images in ``folder/CLASS/…`` with their classes; see ``accuracy.labels``.

    A folder without class folders is taken too, when ``labels`` is a file that knows each image
    by name. ``limit`` chooses the images with the smallest sha256 of their path below ``folder``:
    a random but always the same choice, and a part of every larger one.

    Args:
        folder: what holds the class folders.
        classes: how many the model has.
        labels: a file of labels, ``sorted``, ``numbers``, or None for as many folders as classes.
        limit: at most so many images; None for all.
        on_hashed: called with the number of images read, and of all.

    Raises:
        UsageError: nothing to evaluate, or it is not clear which class is which.
    """
    names, found, remarks = _listed(folder, labels)
    index_of = naming.classes_of(names, classes, labels)
    ordered = sorted(found, key=lambda each: _shuffled(each[0], folder))
    chosen = ordered[:limit]
    hashes = _hashes([path for path, _ in chosen], on_hashed)
    images = tuple(
        LabelledImage(path=path, label=index_of[name], sha256=sha256)
        for (path, name), sha256 in zip(chosen, hashes, strict=True)
    )
    return LabelledImages(
        images=images,
        remarks=tuple(remarks),
        about=LabelledData(
            source=str(folder),
            fingerprint=_fingerprint(images, folder),
            pictures=len(images),
            found=len(found),
            classes=len(set(index_of.values())),
        ),
    )


def check(folder: Path, labels: str | None, classes: int | None = None) -> None:
    """Refuse what ``labelled`` would refuse, without reading an image.

    Raises:
        UsageError: nothing to evaluate, labels that cannot be read or, where the number of
            ``classes`` is known, it is not clear which class is which.
    """
    names, _, _ = _listed(folder, labels)
    if classes is not None:
        naming.classes_of(names, classes, labels)
    elif labels not in (None, naming.SORTED, naming.NUMBERS):
        naming.read(Path(labels))


def _listed(
    folder: Path, labels: str | None
) -> tuple[list[str], list[tuple[Path, str]], list[str]]:
    """The names that have a class, each image with the name it goes by, and what is odd."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise UsageError(
            f"cannot read the folder {folder}: {error.strerror}; give --data a folder that holds "
            "one folder of images per class"
        ) from error
    folders = [entry for entry in entries if entry.is_dir()]
    loose = [entry for entry in entries if _is_image(entry)]
    if not folders and loose and labels not in (None, naming.SORTED, naming.NUMBERS):
        return [path.name for path in loose], [(path, path.name) for path in loose], []
    if not folders:
        raise UsageError(
            f"{folder} holds no class folders: --data wants FOLDER/CLASS/image.jpg, or images "
            "with --labels FILE of 'NAME INDEX' lines"
        )
    below = {entry.name: _below(entry) for entry in folders}
    found = [(path, name) for name, paths in below.items() for path in paths if _is_image(path)]
    if not found:
        raise UsageError(f"no images in the class folders of {folder}")
    remarks = []
    others = sum(len(paths) for paths in below.values()) - len(found)
    if others or loose:
        remarks.append(
            f"{others + len(loose)} files are passed over: not images by their ending, or not "
            "in a class folder"
        )
    filled = {name for _, name in found}
    empty = [name for name in below if name not in filled]
    if empty:
        shown = ", ".join(empty[:_SHOWN]) + (", …" if len(empty) > _SHOWN else "")
        remarks.append(f"{len(empty)} class folders hold no image: {shown}")
    return list(below), found, remarks


def _below(folder: Path) -> list[Path]:
    return [
        Path(parent, name)
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
        if not name.startswith(".")
    ]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and not path.is_dir()


def _shuffled(path: Path, folder: Path) -> bytes:
    return hashlib.sha256(path.relative_to(folder).as_posix().encode()).digest()


def _hashes(paths: Sequence[Path], on_hashed: Callable[[int, int], None] | None) -> list[str]:
    hashes = []
    with ThreadPoolExecutor() as threads:
        try:
            for sha256 in threads.map(_sha256, paths):
                hashes.append(sha256)
                if on_hashed is not None:
                    on_hashed(len(hashes), len(paths))
        except KeyboardInterrupt:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return hashes


def _sha256(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError:
        return ""


def _fingerprint(images: Sequence[LabelledImage], folder: Path) -> str:
    digest = hashlib.sha256()
    for image in sorted(images, key=lambda each: each.path):
        name = image.path.relative_to(folder).as_posix()
        digest.update(f"{name}\0{image.label}\0{image.sha256}\n".encode())
    return digest.hexdigest()
