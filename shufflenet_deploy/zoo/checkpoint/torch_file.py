"""PyTorch checkpoints without ``torch.load``: the zip archive, and the stream of before 1.6.

An archive is a zip of ``NAME/data.pkl`` (names and shapes) and ``NAME/data/KEY`` (numbers); for the
stream see ``storages``. Only what a chosen state dict needs is read, and never more than the file
really holds.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from shufflenet_deploy.zoo.checkpoint.limits import (
    MAX_PICKLE_BYTES,
    MAX_STORAGE_BYTES,
    BoundedReader,
    LimitError,
    read_at_most,
)
from shufflenet_deploy.zoo.checkpoint.pickle_reader import PickleError, read_pickle
from shufflenet_deploy.zoo.checkpoint.storages import (
    StorageRef,
    read_exactly,
    read_stream,
    storage_at,
)

StorageBytes = Callable[[StorageRef], bytearray]


@dataclass(frozen=True, kw_only=True)
class TorchFile:
    """Saved object of a PyTorch file, with stand-ins for instances.

    ``opened`` is a context in which the bytes of storages can be read.
    """

    content: object
    opened: Callable[[], AbstractContextManager[StorageBytes]]


def read_archive(path: Path) -> TorchFile:
    """A zip that ``torch.save`` wrote.

    Raises:
        PickleError, LimitError, zipfile.BadZipFile, OSError: it is damaged or out of bounds.
    """
    with opened_archive(path) as archive:
        pickled = next(name for name in archive.namelist() if is_root_member(name, "data.pkl"))
        root = pickled.removesuffix("data.pkl")
        with archive.open(pickled) as stream:
            content = read_pickle(io.BytesIO(read_at_most(stream, MAX_PICKLE_BYTES)))
        if f"{root}byteorder" in archive.namelist():
            with archive.open(f"{root}byteorder") as stream:
                if stream.read(10).strip() != b"little":
                    raise PickleError("it was saved on a big-endian machine")

    @contextmanager
    def opened() -> Iterator[StorageBytes]:
        with opened_archive(path) as archive:
            yield partial(_member_bytes, archive, root)

    return TorchFile(content=content, opened=opened)


def _member_bytes(archive: zipfile.ZipFile, root: str, storage: StorageRef) -> bytearray:
    if storage.inline is not None:
        return bytearray(storage.inline)
    try:
        info = archive.getinfo(f"{root}data/{storage.key}")
    except KeyError as error:
        raise PickleError(f"the storage {storage.key[:40]} is missing") from error
    size = min(info.file_size, storage.size_bytes)
    if size > MAX_STORAGE_BYTES:
        raise LimitError(f"a storage of {size} bytes")
    with archive.open(info) as stream:
        return read_exactly(stream, size)


def opened_archive(path: Path) -> zipfile.ZipFile:
    """The zip at ``path``, no single read of which is out of bounds."""
    return _Archive(BoundedReader(io.FileIO(path)))


class _Archive(zipfile.ZipFile):
    """A zip file that closes the stream it was given."""

    def __init__(self, stream: BoundedReader) -> None:
        self._stream = stream
        try:
            super().__init__(stream)
        except BaseException:
            stream.close()
            raise

    def close(self) -> None:
        super().close()
        self._stream.close()


def is_root_member(name: str, file: str) -> bool:
    """True where ``name`` is ``file`` in the archive's one folder (or, once, next to it)."""
    return name == file or (name.count("/") == 1 and name.endswith(f"/{file}"))


def read_legacy(path: Path) -> TorchFile:
    """A file that ``torch.save`` wrote before 1.6, or any other pickle.

    Raises:
        PickleError, LimitError, OSError: it is damaged or out of bounds.
    """
    with BoundedReader(io.FileIO(path)) as stream:
        content, places = read_stream(stream)

    @contextmanager
    def opened() -> Iterator[StorageBytes]:
        with path.open("rb") as stream:
            yield partial(_stream_bytes, stream, places)

    return TorchFile(content=content, opened=opened)


def _stream_bytes(stream: IO[bytes], places: Mapping[str, int], storage: StorageRef) -> bytearray:
    if storage.inline is not None:
        return bytearray(storage.inline)
    return storage_at(stream, places, storage)
