"""The seam between this package and a machine: run a program, move a file, nothing else.

A transport knows no models and keeps no state about the target. Each concrete transport lives in
one file beside this one and passes ``tests/contract/test_transport.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self


@dataclass(frozen=True, kw_only=True)
class CommandResult:
    """What a finished program left: its exit status and both streams, kept apart."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: bytes
    stderr: bytes
    duration_secs: float

    @property
    def text(self) -> str:
        """Standard output decoded as UTF-8, undecodable bytes replaced."""
        return self.stdout.decode("utf-8", "replace")


class Transport(Protocol):
    """A connection to one machine. Connects in ``__enter__``, never in the constructor."""

    #: What the user typed to name the machine, for messages and records.
    host: str
    #: ``"local"``, ``"ssh"`` or ``"adb"``.
    kind: str

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 60.0,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
    ) -> CommandResult:
        """Run a program; every element of ``argv`` reaches it unchanged, whatever it contains.

        A non-zero exit is a result, not an exception.

        Raises:
            CommandTimeout: it ran longer than ``timeout_s``; it was killed with its children.
            ConnectError: the connection was lost.
        """
        ...

    def push(self, local: Path, remote: str, *, executable: bool = False) -> None:
        """Copy a file to ``remote``, whole or not at all (temporary name, checked, renamed).

        Raises:
            TransferError: it did not arrive whole; ``remote`` is untouched.
            TargetError: the target refused it: disk full, read-only, no such folder.
        """
        ...

    def pull(self, remote: str, local: Path) -> None:
        """Copy a file from the target to ``local``, whole or not at all.

        Raises:
            TransferError: it did not arrive whole; ``local`` is untouched.
            TargetError: there is no such file, or it cannot be read.
        """
        ...

    def close(self) -> None:
        """Drop the connection; harmless when it is already gone."""
        ...
