"""The machine this runs on, behind the same seam as a board."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from shufflenet_deploy.atomic_files import replacing, sha256_file
from shufflenet_deploy.errors import CommandTimeout, DeployError, TargetError, UsageError
from shufflenet_deploy.transport import shell_scripts
from shufflenet_deploy.transport.base import SIGNAL_BASE, CommandResult, Progress, Transport
from shufflenet_deploy.transport.streams import communicate

_CHUNK_BYTES = 1 << 20
_NOT_EXECUTABLE = 126
_NOT_FOUND = 127
#: A killed family that escaped its group may keep the pipes open; wait no longer for it.
_REAP_SECS = 5.0


class LocalTransport(Transport):
    """Runs programs as children in a session of their own; copies files within this machine."""

    kind = "local"
    compressing = True

    def __init__(self) -> None:
        self.host = "local"

    def __enter__(self) -> Self:
        return self

    def close(self) -> None:
        """Nothing to drop."""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 60.0,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
    ) -> CommandResult:
        """See ``Transport.run``."""
        if not argv:
            raise UsageError("there is no program to run")
        if any("\0" in text for text in argv):
            raise UsageError("an argument contains a NUL byte, which no program can receive")
        shell_scripts.assignments(env)
        started = time.monotonic()
        try:
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        except OSError as error:
            code = _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE
            return CommandResult(
                argv=tuple(argv),
                exit_code=code,
                stdout=b"",
                stderr=f"{argv[0]}: {error.strerror}\n".encode(),
                duration_secs=time.monotonic() - started,
            )
        with process:
            try:
                stdout, stderr = communicate(process, stdin, timeout_s, host=self.host)
            except subprocess.TimeoutExpired as error:
                _kill(process)
                raise CommandTimeout(
                    f"{argv[0]} ran longer than {timeout_s:g} s on local and was killed: "
                    "raise its time limit"
                ) from error
            except BaseException:
                _kill(process)
                raise
        code = process.returncode
        return CommandResult(
            argv=tuple(argv),
            exit_code=code if code >= 0 else SIGNAL_BASE - code,
            stdout=stdout,
            stderr=stderr,
            duration_secs=time.monotonic() - started,
        )

    def push(
        self,
        local: Path,
        remote: str,
        *,
        executable: bool = False,
        on_progress: Progress | None = None,
    ) -> None:
        """See ``Transport.push``."""
        final = Path(remote)
        if final.is_dir():
            raise shell_scripts.refusal(
                shell_scripts.IS_A_FOLDER, "", host=self.host, path=remote, size_bytes=0
            )
        if not final.parent.is_dir():
            raise shell_scripts.refusal(
                shell_scripts.NOT_FOUND, "", host=self.host, path=remote, size_bytes=0
            )
        size_bytes = _readable_size(local)
        temporary = Path(shell_scripts.temporary_name(str(final.absolute())))
        try:
            digest = _copy(local, temporary, size_bytes, on_progress)
            if sha256_file(temporary) != digest:
                raise shell_scripts.refusal(
                    shell_scripts.DIFFERS, "", host=self.host, path=remote, size_bytes=size_bytes
                )
            temporary.chmod(0o755 if executable else 0o644)
            temporary.replace(final)
        except OSError as error:
            raise shell_scripts.denied(
                error.strerror or str(error), host=self.host, path=remote, size_bytes=size_bytes
            ) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()

    def pull(self, remote: str, local: Path) -> None:
        """See ``Transport.pull``."""
        source = Path(remote)
        if not source.is_file():
            code = shell_scripts.IS_A_FOLDER if source.is_dir() else shell_scripts.NOT_FOUND
            raise shell_scripts.refusal(code, "", host=self.host, path=remote, size_bytes=0)
        if not os.access(source, os.R_OK):
            raise TargetError(f"permission denied for {remote} on local: check its owner and mode")
        with replacing(local) as temporary:
            try:
                shutil.copyfile(source, temporary)
            except OSError as error:
                raise _unwritable(local, error) from error


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a child with everything in its session, even what left its process group."""
    subprocess.run(
        shell_scripts.shell(shell_scripts.KILL, str(process.pid)), check=False, capture_output=True
    )
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=_REAP_SECS)


def _readable_size(local: Path) -> int:
    """Size in bytes of a file that is about to be pushed.

    Raises:
        UsageError: it is no readable file.
    """
    try:
        with local.open("rb") as stream:
            return os.fstat(stream.fileno()).st_size
    except OSError as error:
        raise UsageError(f"cannot read {local}: {error.strerror}") from error


def _copy(local: Path, remote: Path, size_bytes: int, on_progress: Progress | None) -> str:
    """Copy in chunks; the sha256 of what was read."""
    digest, sent_bytes = hashlib.sha256(), 0
    with local.open("rb") as source, remote.open("xb") as copy:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
            copy.write(chunk)
            sent_bytes += len(chunk)
            if on_progress:
                on_progress(sent_bytes, size_bytes)
        copy.flush()
        os.fsync(copy.fileno())
    return digest.hexdigest()


def _unwritable(local: Path, error: OSError) -> DeployError:
    return UsageError(f"cannot write {local}: {error.strerror}; choose another folder")
