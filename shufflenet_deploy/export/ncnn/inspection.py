"""ncnn reader for ``inspect``: the text of the layers and the start of the weights."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shufflenet_deploy.export.inspection.contents import (
    Contents,
    check_shapes,
    most_frequent_first,
)
from shufflenet_deploy.export.metadata import from_json
from shufflenet_deploy.export.ncnn.archive import COMMENT, DESCRIPTION
from shufflenet_deploy.export.ncnn.param import Layer, layers_in
from shufflenet_deploy.export.ncnn.shapes import CONVOLUTIONS, cost
from shufflenet_deploy.network.metadata import Metadata
from shufflenet_deploy.records import TensorSpec

#: How weights of float16 and of int8 begin.
_HALVES, _BYTES = b"\x47\x6b\x30\x01", b"\x38\x4b\x0d\x00"
_MOST_TEXT_BYTES = 16 << 20


def read(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Contents:
    """Read a file; ``shapes`` are those of inputs that it leaves open.

    Raises:
        UsageError: there are no such inputs.
        MALFORMED: the file is damaged.
    """
    text, described = _archive(path)
    layers = layers_in(text)
    inputs = _inputs(layers, described.get("inputs", []), path, shapes)
    with path.open("rb") as stream:
        start = stream.read(len(_HALVES))
    precision = {_HALVES: "fp16", _BYTES: "int8"}.get(start, "fp32")
    multiply_adds, missing, found = cost(layers, inputs)
    warnings = []
    if missing:
        warnings.append(f"multiply-adds are not known behind {', '.join(sorted(missing))}")
    return Contents(
        version="param " + text.split(maxsplit=1)[0],
        precision=precision,
        operations=most_frequent_first(
            dict(Counter(one.kind for one in layers if one.kind != "Input"))
        ),
        inputs=inputs,
        outputs=_outputs(layers, described.get("outputs", []), found),
        multiply_adds=multiply_adds,
        parameters=_parameters(layers),
        warnings=tuple(warnings),
        metadata=from_json(described.get("metadata") or {}),
    )


def metadata_in(path: Path) -> Metadata | None:
    """How a file is fed.

    Raises:
        MALFORMED: it is damaged.
    """
    return from_json(_archive(path)[1].get("metadata") or {})


def _archive(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of the layers, and the description, if there is one."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.comment not in (COMMENT, b""):
                raise ValueError("cut within the comment")
            names = archive.namelist()
            (layers,) = (name for name in names if name.endswith(".param"))
            wanted = [layers, *([DESCRIPTION] if DESCRIPTION in names else [])]
            texts = []
            for name in wanted:
                with archive.open(name) as member:
                    content = member.read(_MOST_TEXT_BYTES + 1)
                if len(content) > _MOST_TEXT_BYTES:
                    raise ValueError("more text than a network has")
                texts.append(content.decode())
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise ValueError("no archive at the end") from error
    described = json.loads(texts[1]) if len(texts) > 1 else {}
    if not isinstance(described, dict):
        raise TypeError("no description")
    return texts[0], described


def _inputs(
    layers: Sequence[Layer],
    described: Sequence[dict[str, Any]],
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
) -> tuple[TensorSpec, ...]:
    known = {one["name"]: tuple(one["shape"]) for one in described}
    names = [layer.outputs[0] for layer in layers if layer.kind == "Input"]
    stated = {name: known.get(name, (1, 0, 0, 0)) for name in names}
    check_shapes(path, shapes, stated)
    return tuple(
        TensorSpec(name=name, shape=shapes.get(name, stated[name]), dtype="float32")
        for name in names
    )


def _outputs(
    layers: Sequence[Layer],
    described: Sequence[dict[str, Any]],
    found: Mapping[str, tuple[int, ...]],
) -> tuple[TensorSpec, ...]:
    known = {one["name"]: tuple(one["shape"]) for one in described}
    read = {name for layer in layers for name in layer.inputs}
    return tuple(
        TensorSpec(name=name, shape=known.get(name) or (1, *found.get(name, (0,))), dtype="float32")
        for layer in layers
        for name in layer.outputs
        if name not in read
    )


def _parameters(layers: Sequence[Layer]) -> int:
    total = 0
    for layer in layers:
        if layer.kind in CONVOLUTIONS:
            total += layer.number(6, 0) + layer.number(0, 0) * (layer.number(5, 0) != 0)
        elif layer.kind == "InnerProduct":
            total += layer.number(2, 0) + layer.number(0, 0) * (layer.number(1, 0) != 0)
    return total
