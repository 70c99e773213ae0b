"""Bundles: many files as one compressed tar whose bytes depend on the files alone."""

from __future__ import annotations

import gzip
import io
import lzma
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

#: 1980: zip files know no earlier time, and some tools distrust the epoch.
_MTIME = 315532800
_GZIP_LEVEL = 6
_XZ_PRESET = 6


@dataclass(frozen=True)
class ArchiveEntry:
    """One regular file; ``name`` is relative to where the bundle is unpacked."""

    name: str
    content: bytes
    executable: bool = False


def write(path: Path, entries: Iterable[ArchiveEntry]) -> None:
    """Write entries in the order they come; ``path`` ends in ``.gz`` or ``.xz``."""
    with (
        path.open("wb") as raw,
        _compressed(raw, path.suffix) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for entry in entries:
            info = tarfile.TarInfo(entry.name)
            info.size, info.mtime = len(entry.content), _MTIME
            info.mode = 0o755 if entry.executable else 0o644
            tar.addfile(info, io.BytesIO(entry.content))


@contextmanager
def uncompressed(path: Path) -> Iterator[Path]:
    """The same bundle as a plain tar, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="shufflenet-deploy-") as folder:
        plain = Path(folder, path.with_suffix("").name)
        opened = lzma.LZMAFile if path.suffix == ".xz" else gzip.GzipFile
        with opened(path) as content, plain.open("wb") as stream:
            shutil.copyfileobj(content, stream)
        yield plain


def unpacked_bytes(path: Path) -> int:
    """Sum the disk usage of a bundle's files."""
    with tarfile.open(path) as tar:
        return sum(entry.size for entry in tar)


def _compressed(raw: IO[bytes], suffix: str) -> IO[bytes]:
    if suffix == ".xz":
        return lzma.LZMAFile(raw, "wb", preset=_XZ_PRESET)
    packed = gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=_GZIP_LEVEL, mtime=0)
    return cast("IO[bytes]", packed)
