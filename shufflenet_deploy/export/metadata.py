"""Deployment metadata: preprocessing, input layout and output of a file, for the apps that use it.

The same facts stand in the manifest next to every file and inside the file: as ``metadata_props``
in ONNX, as metadata in TFLite, as ``net_metadata`` in C and native programs. ``docs/deploying.md``
shows how each is read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from shufflenet_deploy.atomic_files import read_text, resource
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.network.metadata import Metadata
from shufflenet_deploy.records import Resolution

if TYPE_CHECKING:
    import onnx

    from shufflenet_deploy.zoo import Preprocessing

#: Name of the entry in a TFLite file's metadata; its buffer holds ``Metadata.to_json``.
TFLITE_ENTRY = "shufflenet-deploy"

_IMAGENET_CLASSES = 1000
#: Longer label files are no lists of classes.
_MOST_LABEL_BYTES = 1 << 20


def metadata_of(
    model: str,
    preprocessing: Preprocessing,
    *,
    trained: bool,
    resolution: Resolution,
    input_layout: Literal["NCHW", "NHWC"],
    class_names: tuple[str, ...],
    head: str = "fixed",
) -> Metadata:
    """The metadata of a file that is about to be written."""
    return Metadata(
        model=model,
        trained=trained,
        input_layout=input_layout,
        input_height=resolution.height,
        input_width=resolution.width,
        channel_order=preprocessing.channel_order,
        value_range=preprocessing.value_range,
        mean=preprocessing.mean,
        std=preprocessing.std,
        crop_fraction=preprocessing.crop / preprocessing.resize,
        output="feature-map" if head == "none" else "logits",
        class_names=class_names,
    )


def class_names(labels: Path | None, classes: int | None, head: str = "fixed") -> tuple[str, ...]:
    """The names in a file, one per line; without a file ImageNet's, where there are as many.

    There are none without a head. ``classes`` is None for a network whose output is no vector.

    Raises:
        UsageError: the file cannot be read, holds another number of names, or names what a network
            without a head does not tell.
    """
    if head == "none":
        if labels is not None:
            raise UsageError("--labels names classes, which a network with --head none has not")
        return ()
    if labels is None:
        if classes != _IMAGENET_CLASSES:
            return ()
        return _names(resource("zoo", "imagenet_classes.txt").read_text(encoding="utf-8"))
    names = _names(read_text(labels, what="--labels", limit_bytes=_MOST_LABEL_BYTES))
    if classes is None:
        raise UsageError(f"--labels {labels}: the network's output is no vector of classes")
    if len(names) != classes:
        raise UsageError(
            f"--labels {labels}: {len(names)} names for {classes} classes; write one per line, in"
            " the order of the network's output"
        )
    return names


def _names(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def add_to_onnx(model: onnx.ModelProto, metadata: Metadata) -> None:
    """Put the metadata into a model's ``metadata_props``, next to what is there."""
    kept = {entry.key: entry.value for entry in model.metadata_props}
    del model.metadata_props[:]
    for key, value in {**kept, **metadata.properties()}.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value


def from_properties(properties: dict[str, str]) -> Metadata | None:
    """The metadata in an ONNX file's ``metadata_props``; None where none can be read."""
    words = ("model", "input_layout", "channel_order", "interpolation", "output")
    try:
        return Metadata.model_validate(
            {
                name: properties[name] if name in words else json.loads(properties[name])
                for name in Metadata.model_fields
                if name in properties
            }
        )
    except (ValidationError, ValueError, RecursionError):
        return None


def from_json(text: str | bytes | dict[str, Any]) -> Metadata | None:
    """The metadata in JSON; None where it is none that can be read."""
    try:
        if isinstance(text, dict):
            return Metadata.model_validate(text)
        return Metadata.model_validate_json(text)
    except (ValidationError, ValueError):
        return None
