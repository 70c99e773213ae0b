"""The file boundary: what users' files hold as checked values or one ``UsageError``.

Every reader of a user's file goes through ``read_bytes`` or one of its siblings, which stop at a
stated size whatever the file is (``/dev/zero``, a pipe that never ends) and within the limits of
``bounded``. Writing is whole or not at all; files are known by their sha256, and those of the
package are found wherever it is installed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

from shufflenet_deploy import printing
from shufflenet_deploy.errors import UsageError

_CHUNK_BYTES = 1 << 20
#: Size limit of TOML files; the largest written by hand have a hundredth of it.
MAX_TOML_BYTES = 1 << 20
#: Size limit of other text files: manifests, labels.
MAX_TEXT_BYTES = 64 << 20
#: Size limit of exported runs: about 2000 runs of 10,000 samples.
MAX_IMPORT_BYTES = 256 << 20
#: Size limit of exported networks: protobuf and flatbuffers end here, too.
MAX_MODEL_BYTES = 2 << 30


def user_path(name: str | Path) -> Path:
    """A path as the user wrote it, ``~`` and ``~user`` expanded.

    Raises:
        UsageError: there is no such user, or no file system takes the name.
    """
    try:
        path = Path(name).expanduser()
    except RuntimeError as error:
        first = printing.first_line(str(name).partition("/")[0], 80)
        raise UsageError(f"no home folder is known for '{first}': write the path out") from error
    if problem := path_problem(path):
        raise UsageError(f"{printing.first_line(str(path), 60)}: {problem}")
    return path


def path_problem(path: Path) -> str | None:
    """The reason why no Linux file system accepts a path; None for a possible path."""
    try:
        whole = os.fsencode(path)
    except UnicodeEncodeError:
        return "a lone surrogate, which no path holds"
    if b"\0" in whole:
        return "no path holds a NUL byte"
    if len(whole) >= 4096 or any(len(part) > 255 for part in whole.split(b"/")):
        return "a name may have 255 bytes, a path 4095"
    return None


def read_bytes(path: Path, *, what: str, limit_bytes: int = MAX_TEXT_BYTES) -> bytes:
    """All bytes of a file or pipe; ``what`` names it in messages, such as "the suite".

    Raises:
        UsageError: it cannot be read, or holds more than ``limit_bytes``.
    """
    try:
        with _opened(path) as stream:
            content = stream.read(limit_bytes + 1)
    except FileNotFoundError as error:
        raise _NotThere(f"cannot read {what} {path}: {error.strerror}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot read {what} {path}: {reason}") from error
    if len(content) > limit_bytes:
        raise UsageError(
            f"cannot read {what} {path}: it is larger than {limit_bytes >> 20} MiB, or endless"
        )
    return content


def read_text(path: Path, *, what: str, limit_bytes: int = MAX_TEXT_BYTES) -> str:
    """A file of UTF-8 text; see ``read_bytes``.

    Raises:
        UsageError: as there, or it is not UTF-8.
    """
    try:
        return read_bytes(path, what=what, limit_bytes=limit_bytes).decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{what} {path} is not UTF-8 text") from error


def read_json(path: Path, *, what: str, limit_bytes: int = MAX_TEXT_BYTES) -> Any:
    """A file of JSON within the limits of ``bounded``; see ``read_bytes``.

    Raises:
        UsageError: as there, or it is no such JSON.
    """
    content = read_bytes(path, what=what, limit_bytes=limit_bytes)
    from shufflenet_deploy import bounded  # noqa: PLC0415 - pydantic comes with it

    try:
        return bounded.parse_json(content.decode())
    except ValueError as error:
        raise UsageError(f"{what} {path} is not JSON: {error}") from error


def read_toml(path: Path, *, what: str, limit_bytes: int = MAX_TOML_BYTES) -> dict[str, Any]:
    """A file of TOML within the limits of ``bounded``; see ``read_bytes``.

    Raises:
        UsageError: as there, or it is no such TOML.
    """
    content = read_bytes(path, what=what, limit_bytes=limit_bytes)
    from shufflenet_deploy import bounded  # noqa: PLC0415 - pydantic comes with it

    try:
        return bounded.parse_toml(content.decode())
    except ValueError as error:
        raise UsageError(f"{what} {path} is not TOML: {error}") from error


def read_lines(path: Path | None, *, limit_bytes: int = MAX_IMPORT_BYTES) -> Iterator[str]:
    """The lines of a file of UTF-8 text, or of standard input, as they are read.

    Raises:
        UsageError: it cannot be read, is not UTF-8, or holds more than ``limit_bytes``.
    """
    name = "standard input" if path is None else str(path)
    left_bytes = limit_bytes
    try:
        with _opened(path) if path is not None else nullcontext(sys.stdin.buffer) as stream:
            while line := stream.readline(left_bytes + 1):
                left_bytes -= len(line)
                if left_bytes < 0:
                    raise UsageError(
                        f"cannot read {name}: it is larger than {limit_bytes >> 20} MiB, or "
                        "endless; split it"
                    )
                yield line.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not text, let alone JSON lines") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot read {name}: {reason}") from error


def check_file(path: Path, *, limit_bytes: int = MAX_MODEL_BYTES) -> None:
    """Refuse what is no regular file or too large, before it is opened.

    Raises:
        UsageError: the file is missing, endless (a device, a pipe), or larger than ``limit_bytes``.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no such name"
        raise UsageError(f"cannot read {path}: {reason}") from error
    if stat.S_ISDIR(found.st_mode):
        raise UsageError(f"cannot read {path}: Is a directory")
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"cannot read {path}: not a regular file")
    if found.st_size > limit_bytes:
        raise UsageError(
            f"cannot read {path}: {found.st_size >> 20} MB, more than {limit_bytes >> 20} MB"
        )


def exists(path: Path) -> bool:
    """True if ``read_bytes`` could open the path; impossible paths give False, not an error."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """True for a regular file; impossible paths give False, not an error."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


class _NotThere(UsageError, FileNotFoundError):
    """There is no such file: for callers to whom that means something."""


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading; a named pipe that nobody writes to is empty instead of waited for.

    Raises:
        OSError: it cannot be opened, or is a folder.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as stream:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        os.set_blocking(handle, True)
        yield stream


def sha256_file(path: Path) -> str:
    """Hex sha256 of a regular file's bytes, read in chunks.

    Raises:
        OSError: it cannot be read, or is a device or pipe, which may never end.
    """
    digest = hashlib.sha256()
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to ``path``; rename it over ``path`` when the block succeeds.

    When the block raises, the temporary file is removed, with folders that were made for it, and
    ``path`` stays as it was. What the block makes executable stays so.

    Raises:
        UsageError: the folder cannot be created or written, or ``path`` is a folder, a device or a
            pipe, whose place no file takes.
    """
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"cannot write to {path}: it is no regular file; name a file")
        made = [folder for folder in path.parents if not folder.exists()]
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
        with contextlib.suppress(OSError):
            for folder in made:
                folder.rmdir()
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
