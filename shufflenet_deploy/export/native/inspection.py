"""ELF reader for ``inspect``: the record in a native program's bytes; the program is not run."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export.inspection.contents import Contents, most_frequent_first
from shufflenet_deploy.export.metadata import from_json
from shufflenet_deploy.export.untrusted import product
from shufflenet_deploy.records import TensorSpec

#: How the metadata that the generator writes begins.
_METADATA = b'{"made_by": "shufflenet-deploy '

#: A network of ten thousand layers has less: it counts kinds of layers.
_MOST_METADATA_BYTES = 1 << 20

#: Fields of the ELF header, 32 and 64 bits, on the section header table: start, size and count.
_SECTIONS = {1: ("I", 0x20, 0x2E), 2: ("Q", 0x28, 0x3A)}


def read(path: Path) -> Contents:
    """Read a native program.

    Raises:
        UsageError: the file is another program.
        MALFORMED: it is damaged.
    """
    content = path.read_bytes()
    try:
        end = _end(content)
    except struct.error as error:
        raise ValueError("no table of sections") from error
    if end > len(content):
        raise ValueError("sections lie behind the end of the file")
    start = content.find(_METADATA)
    if start < 0:
        raise UsageError(f"{path} is a program, but none that this tool exported")
    end = content.index(b"\0", start, start + _MOST_METADATA_BYTES)
    return _contents(json.loads(content[start:end]))


def _contents(record: dict[str, Any]) -> Contents:
    return Contents(
        version=f"made by {record['made_by']} for {record['machine']}",
        precision=record["precision"],
        operations=most_frequent_first(record["layers"]),
        inputs=(_floats("input", record["input"]),),
        outputs=tuple(
            _floats(one["name"], one["shape"])
            for one in record.get("outputs") or [{"name": "output", "shape": record["output"]}]
        ),
        multiply_adds=record["multiply_adds"],
        parameters=record["parameters"],
        warnings=(),
        metadata=from_json(record.get("metadata") or {}),
    )


def _floats(name: str, shape: list[int]) -> TensorSpec:
    product(shape)
    return TensorSpec(name=name, shape=(1, *shape), dtype="float32")


def _end(content: bytes) -> int:
    """End offset of the section header table, which a linker writes last."""
    word, start_at, entries_at = _SECTIONS[content[4]]
    (start,) = struct.unpack_from(f"<{word}", content, start_at)
    entry, number = struct.unpack_from("<HH", content, entries_at)
    return int(start + entry * number)
