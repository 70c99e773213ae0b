"""One program over an SSH channel: its three streams, each on a thread, under a time limit.

``Channel`` and ``Link`` are the interface that both clients implement: paramiko in
``ssh_connection``, OpenSSH in ``openssh``.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from shufflenet_deploy.transport import shell_scripts

CHUNK_BYTES = 32 * 1024


class Channel(Protocol):
    """One running program, with either client. Reading returns nothing at the end."""

    def recv(self, size: int, /) -> bytes:
        """Read standard output."""
        ...

    def recv_stderr(self, size: int, /) -> bytes:
        """Read standard error."""
        ...

    def sendall(self, content: bytes, /) -> None:
        """Write to standard input."""
        ...

    def shutdown_write(self) -> None:
        """End standard input."""
        ...

    def close(self) -> None:
        """End the session."""
        ...

    def wait(self, timeout_secs: float) -> bool:
        """Wait for the end; return True if it came in time."""
        ...

    def exit_code(self) -> int | None:
        """The exit status after the end; None when the connection was lost before it."""
        ...


class Link(Protocol):
    """An authenticated connection."""

    #: What using a connection that is gone raises.
    broken: tuple[type[Exception], ...]

    def start(self, line: bytes, host: str) -> Channel:
        """Run a command line."""
        ...

    def close(self) -> None:
        """Drop the connection."""
        ...


class OutOfTime(Exception):
    """The limit passed before the program ended."""


class Exchange:
    """One running program: its three streams, each on a thread, so that none can block another."""

    def __init__(
        self,
        channel: Channel,
        launch: shell_scripts.Launch,
        stdin: Iterable[bytes],
        sink: Callable[[bytes], object],
        limit_secs: float,
        *,
        renew: bool,
        broken: tuple[type[Exception], ...],
    ) -> None:
        self._channel = channel
        self._broken = broken
        self._errors = bytearray()
        self._stdout = shell_scripts.Announced(launch, sink)
        self._stderr = shell_scripts.Announced(launch, self._errors.extend)
        self._limit_secs = limit_secs
        self._renew = renew
        self._deadline = time.monotonic() + limit_secs
        self._failure: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._guarded, args=(work, *args), daemon=True)
            for work, *args in (
                (self._read, channel.recv, self._stdout),
                (self._read, channel.recv_stderr, self._stderr),
                (self._write, stdin),
            )
        ]
        for thread in self._threads:
            thread.start()

    @property
    def stderr(self) -> bytes:
        """Standard error of the program so far."""
        return bytes(self._errors)

    @property
    def pid(self) -> int | None:
        """The program's process id on the target, once it was announced."""
        return self._stderr.pid or self._stdout.pid

    @property
    def login_complaint(self) -> str:
        """Explanation of why the login shell started no program."""
        return self._stderr.login_complaint or self._stdout.login_complaint

    def finish(self) -> int | None:
        """Wait for the end; the exit status, or None when the connection was lost before it.

        Raises:
            OutOfTime: the limit passed first.
        """
        for thread in self._threads:
            while thread.is_alive():
                thread.join(self._left_secs())
        while not self._channel.wait(self._left_secs()):
            pass
        if self._failure is not None:
            raise self._failure
        code = self._channel.exit_code()
        self.abandon()
        return code

    def abandon(self) -> None:
        """Close the channel; its threads end by themselves."""
        with contextlib.suppress(*self._broken):
            self._channel.close()

    def _left_secs(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise OutOfTime
        return left

    def _guarded(self, work: Callable[..., None], *args: Any) -> None:
        """Run one thread; a failure to read or write a local file is raised by ``finish``."""
        try:
            work(*args)
        except BaseException as error:  # noqa: BLE001 - it crosses threads, and is raised again
            self._failure = error
            self.abandon()

    def _moved(self) -> None:
        if self._renew:
            self._deadline = time.monotonic() + self._limit_secs

    def _read(self, receive: Callable[[int], bytes], stream: shell_scripts.Announced) -> None:
        try:
            while chunk := receive(CHUNK_BYTES):
                self._moved()
                stream.feed(chunk)
        except BaseException:
            self.abandon()
            # Drain to the end, where the channel closes the pipe.
            with contextlib.suppress(*self._broken):
                while receive(CHUNK_BYTES):
                    pass
            raise

    def _write(self, stdin: Iterable[bytes]) -> None:
        for chunk in stdin:
            # A program may end without reading its input; its exit status shows that, not this.
            try:
                self._channel.sendall(chunk)
            except self._broken:
                return
            self._moved()
        with contextlib.suppress(*self._broken):
            self._channel.shutdown_write()
