"""Storages: the flat arrays of numbers that tensors are views of, and the stream they came in.

Before 1.6 ``torch.save`` wrote a stream: five pickles (a magic number, the protocol's version,
sizes of the system, what was saved, the keys of its storages), then each storage as its count of
elements and its bytes.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import IO, TypeGuard

import torch

from shufflenet_deploy.zoo.checkpoint.limits import (
    MAX_FILE_BYTES,
    MAX_STORAGE_BYTES,
    LimitError,
)
from shufflenet_deploy.zoo.checkpoint.pickle_reader import (
    Global,
    Instance,
    Persistent,
    PickleError,
    read_pickle,
)

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_NUMBER = struct.Struct("<q")

#: What the names of storages and of ``torch.dtype`` mean.
_DTYPES: dict[str, torch.dtype] = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "QInt8Storage": torch.int8,
    "QUInt8Storage": torch.uint8,
    "QInt32Storage": torch.int32,
    "QUInt4x2Storage": torch.uint8,
    "QUInt2x4Storage": torch.uint8,
    "UntypedStorage": torch.uint8,
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float8_e4m3fn": torch.float8_e4m3fn,
    "float8_e5m2": torch.float8_e5m2,
    "float8_e4m3fnuz": torch.float8_e4m3fnuz,
    "float8_e5m2fnuz": torch.float8_e5m2fnuz,
    "int64": torch.int64,
    "int32": torch.int32,
    "int16": torch.int16,
    "int8": torch.int8,
    "uint64": torch.uint64,
    "uint32": torch.uint32,
    "uint16": torch.uint16,
    "uint8": torch.uint8,
    "bool": torch.bool,
    "complex64": torch.complex64,
    "complex128": torch.complex128,
}


@dataclass(frozen=True, kw_only=True)
class StorageRef:
    """Reference to a storage: a key in the file, or ``inline``; the number and type of elements."""

    key: str
    dtype: torch.dtype
    elements: int
    inline: bytes | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes that it claims to have."""
        return self.elements * self.dtype.itemsize


def storage_of(value: object) -> StorageRef | None:
    """The storage that a pickle refers to, or None when it is none that can be read.

    It lies outside the pickle under an id, ('storage', type, key, location, elements[, view]), or
    (where a state dict was pickled without ``torch.save``) inside it as a stream of its own.
    """
    if isinstance(value, Instance) and value.name == "torch.storage._load_from_bytes":
        return _inline(value.args)
    if not isinstance(value, Persistent) or not isinstance(value.key, tuple):
        return None
    parts = value.key
    if len(parts) < 5 or parts[0] != "storage" or any(part is not None for part in parts[5:]):
        return None
    dtype, key, elements = dtype_of(parts[1]), parts[2], parts[4]
    if dtype is None or not is_size(elements) or not isinstance(key, (str, int)):
        return None
    return StorageRef(key=str(key), dtype=dtype, elements=elements)


def _inline(args: tuple[object, ...]) -> StorageRef | None:
    if not args or not isinstance(args[0], (bytes, bytearray)):
        return None
    stream = io.BytesIO(args[0])
    try:
        content, places = read_stream(stream)
        if not isinstance(content, Persistent) or (found := storage_of(content)) is None:
            return None
        return replace(found, inline=bytes(storage_at(stream, places, found)))
    except (PickleError, LimitError):
        return None


def dtype_of(value: object) -> torch.dtype | None:
    """``torch.dtype`` of the name of a storage's class, or of a dtype."""
    return _DTYPES.get(value.name.rpartition(".")[2]) if isinstance(value, Global) else None


def is_size(value: object) -> TypeGuard[int]:
    """True for an integer that a file's size could be."""
    return isinstance(value, int) and 0 <= value < 1 << 63


def read_stream(stream: IO[bytes]) -> tuple[object, dict[str, int]]:
    """Read the saved object, and the offset in the stream of each storage."""
    first = read_pickle(stream)
    if first != _LEGACY_MAGIC:
        return first, {}
    read_pickle(stream)  # The protocol's version, 1001 ever since.
    system = read_pickle(stream)
    if isinstance(system, Mapping) and system.get("little_endian") is False:
        raise PickleError("it was saved on a big-endian machine")
    sizes = _Sizes()
    content = read_pickle(stream, sizes.seen)
    keys = read_pickle(stream)
    if not isinstance(keys, list):
        raise PickleError("no list of storages")
    return content, sizes.places(stream, [str(key) for key in keys])


class _Sizes:
    """Bytes per element of every storage that a pickle mentions."""

    def __init__(self) -> None:
        self._itemsize: dict[str, int] = {}

    def seen(self, value: Persistent) -> None:
        if storage := storage_of(value):
            self._itemsize[storage.key] = storage.dtype.itemsize

    def places(self, stream: IO[bytes], keys: list[str]) -> dict[str, int]:
        """Offset of each storage's element count; the elements follow it."""
        found = {}
        place = stream.tell()
        for key in keys:
            if key not in self._itemsize:
                raise PickleError(f"the storage {key[:40]} is of unknown kind")
            found[key] = place
            if place > MAX_FILE_BYTES:
                raise PickleError("it ends before its last storage")
            stream.seek(place)
            place += _NUMBER.size + _count(stream) * self._itemsize[key]
        return found


def _count(stream: IO[bytes]) -> int:
    content = stream.read(_NUMBER.size)
    if len(content) < _NUMBER.size:
        raise PickleError("it ends before its last storage")
    count: int = _NUMBER.unpack(content)[0]
    if count < 0:
        raise PickleError("a storage of negative size")
    return count


def storage_at(stream: IO[bytes], places: Mapping[str, int], storage: StorageRef) -> bytearray:
    """The bytes of a storage of a stream."""
    if storage.key not in places:
        raise PickleError(f"the storage {storage.key[:40]} is missing")
    stream.seek(places[storage.key])
    size = min(_count(stream), storage.elements) * storage.dtype.itemsize
    if size > MAX_STORAGE_BYTES:
        raise LimitError(f"a storage of {size} bytes")
    return read_exactly(stream, size)


def read_exactly(stream: IO[bytes], size: int) -> bytearray:
    """``size`` bytes, taken piece by piece: memory grows with what is there, not with the claim."""
    content = bytearray()
    while len(content) < size and (piece := stream.read(min(1 << 20, size - len(content)))):
        content += piece
    return content
