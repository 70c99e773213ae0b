"""Files: whole or not at all, known by their sha256, found wherever the package is installed."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shufflenet_deploy.errors import UsageError

_CHUNK_BYTES = 1 << 20


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it over ``path`` when the block succeeds.

    When the block raises, the temporary file is removed and ``path`` stays as it was. What the
    block makes executable stays so.

    Raises:
        UsageError: the folder cannot be created or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix
        )
    except OSError as error:
        raise UsageError(
            f"cannot write to {path.parent}: {error.strerror}; choose another folder"
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        program = os.access(temporary, os.X_OK)
        temporary.chmod((0o777 if program else 0o666) & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file whole or not at all.

    Raises:
        UsageError: the folder cannot be created or written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def resource(folder: str, name: str = "") -> Path:
    """A file of ``device_scripts``, ``models`` or ``benchmarks``: in the wheel, or the checkout."""
    package = Path(__file__).parent
    installed = package / folder
    return (installed if installed.is_dir() else package.parent / folder) / name


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
