"""Runs the sessions of several targets side by side, each in a process of its own.

A target that fails does not stop the others. An interruption is passed on to all, once, and their
ends are waited for: each gives its target back. Sessions that outlive their controller end by
themselves, because their standard input closes.
"""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, NamedTuple

from pydantic import ValidationError

from shufflenet_deploy.fleet.messages import MESSAGE, Ended, Progress
from shufflenet_deploy.fleet.session_job import SessionJob

#: The longest line of a session that is read; longer ones are no messages.
_MAX_LINE = 1 << 20
#: How long sessions have to give their targets back after an interruption.
_LAST_SECS = 60.0

OnProgress = Callable[[str, Progress | Ended], object]


@dataclass(frozen=True)
class Outcome:
    """The end of one target's session."""

    label: str
    ended: Ended


class _Heard(NamedTuple):
    session: int
    message: Progress | Ended | None
    """None when the session says no more."""


class Controller:
    """Starts a session for each job, and listens until all have ended."""

    def __init__(self, jobs: Sequence[SessionJob]) -> None:
        self._jobs = jobs
        self._heard: queue.Queue[_Heard] = queue.Queue()
        self._ended: dict[int, Ended] = {}
        self._silent: set[int] = set()
        self._processes: list[subprocess.Popen[str]] = []
        self._is_interrupted = False

    def run(self, on_progress: OnProgress) -> list[Outcome]:
        """Run all sessions; ``on_progress`` is called with a label and each message.

        After KeyboardInterrupt every session is interrupted and waited for; the exception goes on
        to the caller only when it comes again.
        """
        try:
            for index, job in enumerate(self._jobs):
                self._start(index, job)
            try:
                self._listen(on_progress)
            except KeyboardInterrupt:
                self._interrupt()
                self._listen(on_progress, timeout_secs=_LAST_SECS)
        finally:
            self._kill()
        silent = Ended(error="its process ended without a word: see the lines above")
        if self._is_interrupted:
            silent = Ended(error="interrupted", interrupted=True)
        return [
            Outcome(job.label, self._ended.get(index, silent))
            for index, job in enumerate(self._jobs)
        ]

    def _start(self, index: int, job: SessionJob) -> None:
        # In a group of its own: Ctrl-C reaches the sessions through this process only, once.
        process = subprocess.Popen(
            [sys.executable, "-m", "shufflenet_deploy.fleet.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self._processes.append(process)
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write(job.model_dump_json() + "\n")
            process.stdin.flush()
        threading.Thread(target=self._read, args=(index, process.stdout), daemon=True).start()

    def _read(self, index: int, stream: IO[str]) -> None:
        with stream:
            while line := stream.readline(_MAX_LINE):
                with suppress(ValidationError):  # What a library prints is no message.
                    self._heard.put(_Heard(index, MESSAGE.validate_json(line)))
        self._heard.put(_Heard(index, None))

    def _listen(self, on_progress: OnProgress, timeout_secs: float | None = None) -> None:
        """Pass messages on until every session has ended, or none spoke for so long."""
        while len(self._silent) < len(self._processes):
            try:
                session, message = self._heard.get(timeout=timeout_secs)
            except queue.Empty:
                return
            if message is None:
                self._silent.add(session)
                continue
            if isinstance(message, Ended):
                self._ended[session] = message
            on_progress(self._jobs[session].label, message)

    def _interrupt(self) -> None:
        """Ask every session to end; one that has only begun ends at once, and holds nothing yet."""
        self._is_interrupted = True
        for process in self._processes:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    process.terminate()

    def _kill(self) -> None:
        """End what is left: by closing its input, by force where that does not help."""
        for process in self._processes:
            if process.stdin is not None:
                with suppress(BrokenPipeError):
                    process.stdin.close()
        for process in self._processes:
            try:
                process.wait(timeout=_LAST_SECS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
