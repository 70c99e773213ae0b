"""MNN reader for ``inspect``: what MNN runs, by its own account, and what the file says itself."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shufflenet_deploy.errors import ExportError, UsageError
from shufflenet_deploy.export.inspection.contents import (
    Contents,
    check_shapes,
    most_frequent_first,
    precision_of,
)
from shufflenet_deploy.export.metadata import from_json
from shufflenet_deploy.export.mnn import flat_buffer
from shufflenet_deploy.export.mnn.converter import CONVERTER
from shufflenet_deploy.export.untrusted import damaged
from shufflenet_deploy.network.metadata import Metadata
from shufflenet_deploy.records import TensorSpec

#: How MNN marks an operator that computes in int8.
_IN_INT8 = " [ DT_INT8 ]"
_PRODUCTS = ("Convolution", "Deconvolution", "MatMul", "BatchMatMul")


def read(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Contents:
    """Read a file; ``shapes`` are those of inputs that it leaves open.

    Raises:
        UsageError: there are no such inputs, or MNN does not read the file.
        MALFORMED: the file is damaged.
    """
    content = path.read_bytes()
    weights, stated = flat_buffer.weights(content), _stated(content)
    found = _described(path, shapes)
    check_shapes(path, shapes, found["stated"])
    operators = [(str(kind).strip(), float(millions)) for kind, millions in found["operators"]]
    products = [kind for kind, _ in operators if kind.startswith(_PRODUCTS)]
    integer = [kind for kind in products if kind.endswith(_IN_INT8)]
    precision = precision_of(bool(integer), len(products) - len(integer))
    if precision == "fp32" and weights.packed:
        precision = "fp16"
    return Contents(
        version=f"MNN {flat_buffer.version(content)}".rstrip(),
        precision=precision,
        operations=most_frequent_first(
            dict(Counter(kind.removesuffix(_IN_INT8) for kind, _ in operators))
        ),
        inputs=_specs(found["inputs"]),
        outputs=_specs(found["outputs"]),
        multiply_adds=round(
            sum(millions for kind, millions in operators if kind.startswith(_PRODUCTS)) * 1e6
        ),
        parameters=weights.parameters,
        warnings=(),
        metadata=from_json(stated.get("metadata") or {}),
    )


def metadata_in(path: Path) -> Metadata | None:
    """How a file is fed.

    Raises:
        MALFORMED: it is damaged.
    """
    return from_json(_stated(path.read_bytes()).get("metadata") or {})


def _stated(content: bytes) -> dict[str, Any]:
    """What our converter writes into the maker's field; {} for a stranger's file."""
    try:
        fields = json.loads(flat_buffer.maker(content) or "{}")
    except (json.JSONDecodeError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _described(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="shufflenet-deploy-") as folder:
        order = {
            "do": "describe",
            "model": str(path.absolute()),
            "shapes": {name: list(shape) for name, shape in shapes.items()},
        }
        try:
            found = json.loads(CONVERTER.run(order, Path(folder), lambda _: None).read_text())
        except ExportError as error:
            raise UsageError(f"{path}: {error}") from error
    if not isinstance(found, dict):
        raise TypeError("no description")
    if "refused" in found:
        raise damaged(path, "MNN", found["refused"])
    return found


def _specs(shapes: Mapping[str, list[int]]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=name, shape=tuple(max(0, size) for size in shape), dtype="float32")
        for name, shape in shapes.items()
    )
