"""The seam between this package and a machine: run a program, move a file, nothing else.

A transport knows no models and keeps no state about the target. Each concrete transport lives in
one file beside this one and passes ``tests/contract/test_transport.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from shufflenet_deploy.printing import first_line, masked

#: Called with (bytes sent so far, bytes in all) while a file travels.
Progress = Callable[[int, int], None]

#: A shell reports a program that signal N ended as exit status 128 + N; so do all transports.
SIGNAL_BASE = 128
_LAST_SIGNAL = 64
_MOST_COMPLAINT = 500


@dataclass(frozen=True, kw_only=True)
class CommandResult:
    """Result of a finished program: its exit status, and both streams separately.

    ``exit_code`` follows the shell: 126 not executable, 127 not found, 128 + N ended by signal N.
    """

    argv: tuple[str, ...]
    exit_code: int
    stdout: bytes
    stderr: bytes
    duration_secs: float

    @property
    def text(self) -> str:
        """Standard output decoded as UTF-8, undecodable bytes replaced."""
        return self.stdout.decode("utf-8", "replace")

    @property
    def complaint(self) -> str:
        """The last line that the program wrote to standard error, or its exit status in words."""
        lines = self.stderr.decode("utf-8", "replace").strip().splitlines()
        if lines:
            return masked(first_line(lines[-1], _MOST_COMPLAINT))
        return f"killed by signal {self.signal}" if self.signal else f"status {self.exit_code}"

    @property
    def signal(self) -> int | None:
        """The number of the signal that ended the program, if one did."""
        number = self.exit_code - SIGNAL_BASE
        return number if 0 < number <= _LAST_SIGNAL else None


class Transport(Protocol):
    """A connection to one machine. Connects in ``__enter__``, never in the constructor.

    After a lost connection the same object may be entered again.
    """

    #: What the user typed to name the machine, for messages and records.
    host: str
    #: ``"local"``, ``"ssh"`` or ``"adb"``.
    kind: str

    @property
    def compressing(self) -> bool:
        """True if bundles travel compressed: not where unpacking takes longer than it saves."""
        ...

    def __enter__(self) -> Self:
        """Connect.

        Raises:
            ConnectError: nothing answers there, or the link broke while connecting.
            HostKeyError: the machine's key is unknown or has changed.
            AuthenticationError: the machine does not accept any of the user's keys.
        """
        ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 60.0,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
    ) -> CommandResult:
        """Run a program; every element of ``argv`` reaches it unchanged, whatever it contains.

        A non-zero exit is a result, not an exception. ``stdin`` is empty unless given; ``env``
        is added to the target's own variables.

        Raises:
            CommandTimeout: it ran longer than ``timeout_s``; it was killed with its children.
            ConnectError: the connection was lost.
            UsageError: an argument contains a NUL byte, which no program can receive.
        """
        ...

    def push(
        self,
        local: Path,
        remote: str,
        *,
        executable: bool = False,
        on_progress: Progress | None = None,
    ) -> None:
        """Copy a file to ``remote``, whole or not at all (temporary name, checked, renamed).

        Raises:
            TransferError: it did not arrive whole; ``remote`` is untouched.
            TargetError: the target refused it: disk full, read-only, no such folder.
            UsageError: ``local`` cannot be read.
        """
        ...

    def pull(self, remote: str, local: Path) -> None:
        """Copy a file from the target to ``local``, whole or not at all.

        Raises:
            TransferError: it did not arrive whole; ``local`` is untouched.
            TargetError: there is no such file, or it cannot be read.
            UsageError: ``local`` cannot be written.
        """
        ...

    def close(self) -> None:
        """Drop the connection; harmless when it is already gone."""
        ...
