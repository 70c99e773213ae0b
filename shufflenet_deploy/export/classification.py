"""Image classification with an exported file, from its own metadata.

A check by eye: the same steps as ``docs/deploying.md`` describes for apps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shufflenet_deploy.errors import ExportError, UsageError
from shufflenet_deploy.export import formats, image_set, manifest, metadata
from shufflenet_deploy.export.file_format import FileFormat
from shufflenet_deploy.export.untrusted import parsing
from shufflenet_deploy.network.graph import FloatArray
from shufflenet_deploy.network.metadata import Metadata
from shufflenet_deploy.records import Record, Resolution, TensorSpec
from shufflenet_deploy.zoo import Preprocessing

#: Version of ``Classification``; raised when a field changes its meaning or goes away.
SCHEMA_VERSION = 1

#: Batch and classes.
_LOGITS_AXES = 2


class Guess(Record):
    """One class: its index in the output, its name where it is known, and its probability."""

    index: int
    name: str | None
    probability: float


class Classification(Record):
    """The most probable classes of one image, the first one first."""

    schema_version: int = SCHEMA_VERSION
    file: Path
    model: str
    trained: bool
    image: Path
    classes: tuple[Guess, ...]


def classify(
    path: Path, image: Path, *, top: int = 5, labels: Path | None = None
) -> Classification:
    """Classify ``image`` with ``path`` (of any format).

    The image is prepared as the file's metadata state; softmax makes probabilities of its logits.

    Args:
        path: an exported file.
        image: any file that Pillow can decode.
        top: number of classes to return.
        labels: names of the classes, one per line, in place of the file's own.

    Raises:
        UsageError: the file is none of ours or has no metadata on its input, or the image cannot
            be decoded.
        ExportError: the file cannot be run here.
    """
    kind = formats.kind_of(path)
    with parsing(path, kind.title):
        stated = kind.metadata(path)
    known = stated or _of_manifest(path)
    if known is None:
        raise UsageError(f"{path} has no metadata on its input: export it again")
    if known.output != "logits":
        raise UsageError(
            f"{path} ends in a feature map and tells no classes; export it without --head none"
        )
    size = Resolution(height=known.input_height, width=known.input_width)
    pixels = image_set.read(image, size, crop_share=known.crop_fraction)
    logits = _run(path, kind, image_set.prepare(pixels, _preprocessing(known)))
    names = known.class_names
    if labels is not None:
        names = metadata.class_names(labels, logits.size)
    if names and len(names) != logits.size:
        raise UsageError(f"{path} names {len(names)} classes and outputs {logits.size}")
    probabilities = _softmax(logits)
    best = np.argsort(-probabilities, kind="stable")[:top]
    return Classification(
        file=path,
        model=known.model,
        trained=known.trained,
        image=image,
        classes=tuple(
            Guess(
                index=int(index),
                name=names[index] if names else None,
                probability=float(probabilities[index]),
            )
            for index in best
        ),
    )


def _preprocessing(known: Metadata) -> Preprocessing:
    return Preprocessing(
        channel_order=known.channel_order,
        value_range=known.value_range,
        mean=known.mean,
        std=known.std,
    )


def _softmax(logits: FloatArray) -> FloatArray:
    if not np.isfinite(logits).all():
        raise ExportError("the file outputs numbers that are not finite: export it again")
    powers = np.exp(logits.astype(np.float64) - logits.max())
    result: FloatArray = powers / powers.sum()
    return result


def _of_manifest(path: Path) -> Metadata | None:
    found = manifest.read(path)
    return found.metadata if found is not None and manifest.matches(path, found) else None


def _run(path: Path, kind: FileFormat, tensor: FloatArray) -> FloatArray:
    """The logits ``(classes,)`` for an input ``(1, 3, H, W)``; of several outputs the first.

    Raises:
        UsageError: it is no vector.
        ExportError: the file cannot be run here.
    """
    try:
        file = kind.load(path)
        values = file.run(tensor)
    except (ExportError, ValueError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        named = reason.startswith(str(path))
        raise ExportError(reason if named else f"{path} cannot be run here: {reason}") from error
    return _first(path, values, file.outputs)


def _first(path: Path, values: FloatArray, outputs: Sequence[TensorSpec]) -> FloatArray:
    """The first of outputs that come one behind the other."""
    shape = outputs[0].shape
    if len(shape) != _LOGITS_AXES:
        kind = "x".join(map(str, shape))
        raise UsageError(f"the first output of {path} is of {kind} and tells no classes")
    return values.ravel()[: math.prod(shape)]
