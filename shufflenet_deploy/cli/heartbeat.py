"""Periodic progress lines of long work whose output goes to a log, not to a terminal."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Self

import typer

#: Nothing is printed about work that takes less; a log then grows by two lines a minute.
EVERY_SECS = 30.0


class Heartbeat:
    """Prints the current step and its duration to standard error while nothing else is printed.

    A context manager. Silent on a terminal, where a progress line shows it already.
    """

    def __init__(self, *, every_secs: float = EVERY_SECS, quiet: bool = False) -> None:
        self._every_secs = every_secs
        self._silent = quiet or sys.stderr.isatty()
        self._text = ""
        self._began_at = self._spoke_at = time.monotonic()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if not self._silent:
            self._thread = threading.Thread(target=self._beat, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def doing(self, text: str) -> None:
        """Set the current step."""
        self._text = text

    def spoke(self) -> None:
        """Note that a line was written just now: the next beat waits its whole time."""
        self._spoke_at = time.monotonic()

    def _beat(self) -> None:
        while not self._ended.wait(self._spoke_at + self._every_secs - time.monotonic()):
            now = time.monotonic()
            if self._text and now - self._spoke_at >= self._every_secs:
                typer.echo(f"{self._text} ({duration(now - self._began_at)})", err=True)
            if now - self._spoke_at >= self._every_secs:
                self._spoke_at = now


def duration(secs: float) -> str:
    """``45 s``, ``12 min 5 s``, ``3 h 10 min``."""
    whole = round(secs)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
