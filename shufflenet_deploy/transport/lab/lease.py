"""A lease as whoever uses the board sees it: asked for, checked, given back."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from shufflenet_deploy.errors import ConnectError, DeployError, LeaseError, UsageError
from shufflenet_deploy.printing import first_line, masked
from shufflenet_deploy.transport.lab.messages import MESSAGE, Granted, LeaseJob, Refused, Stage
from shufflenet_deploy.transport.lab.wanted import Wanted

_STATE_VARIABLE = "SHUFFLENET_DEPLOY_STATE"
_FOLDER = "labgrid-leases"
_KEEPER = "shufflenet_deploy.transport.lab.keeper"
_MAX_LINE = 1 << 20
#: Switching a board off and giving its place back takes no longer.
_RELEASE_SECS = 90.0


class Lease:
    """A place held by a keeper. The keeper gives it back when this process is gone, too."""

    def __init__(
        self,
        wanted: Wanted,
        *,
        coordinator: str,
        wait: bool,
        power_cycle: bool,
        on_stage: Callable[[str], None],
    ) -> None:
        """Nothing is asked for yet.

        Raises:
            UsageError: labgrid is not installed.
        """
        if find_spec("labgrid") is None:
            raise UsageError(
                f"labgrid:{wanted} needs labgrid: pip install 'shufflenet-deploy[labgrid]'"
            )
        self._wanted = wanted
        self._job = LeaseJob(
            coordinator=coordinator,
            wanted=wanted,
            wait=wait,
            power_cycle=power_cycle,
            leases=str(_folder()),
        )
        self._on_stage = on_stage
        self._said: queue.Queue[Granted | DeployError] = queue.Queue()
        self._lost: DeployError | None = None
        self._ending = False
        self._keeper: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def ask(self) -> Granted:
        """Wait for the place, however long that takes.

        Raises:
            UsageError: no such place can be had.
            ConnectError: the coordinator does not answer.
        """
        complaints = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        # In a session of its own: Ctrl-C is for us, and the place is given back when we end.
        self._keeper = subprocess.Popen(
            [sys.executable, "-m", _KEEPER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        assert self._keeper.stdin is not None
        with suppress(BrokenPipeError):
            self._keeper.stdin.write(self._job.model_dump_json() + "\n")
            self._keeper.stdin.flush()
        self._reader = threading.Thread(
            target=self._read, args=(self._keeper.stdout, complaints), daemon=True
        )
        self._reader.start()
        answer = self._said.get()
        if isinstance(answer, DeployError):
            raise answer
        return answer

    def check(self) -> None:
        """Make sure that the place is still ours.

        Raises:
            LeaseError: it is not.
        """
        if self._lost is not None:
            raise LeaseError(str(self._lost))

    def release(self) -> None:
        """Give the place back, and wait until it is."""
        self._ending = True
        keeper = self._keeper
        if keeper is None:
            return
        if keeper.stdin is not None:
            with suppress(BrokenPipeError):
                keeper.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            keeper.wait(timeout=_RELEASE_SECS)
        if self._reader is not None:
            self._reader.join(timeout=1.0)

    def _read(self, stream: IO[str], complaints: IO[str]) -> None:
        with stream, complaints:
            while line := stream.readline(_MAX_LINE):
                with suppress(ValidationError):  # What a library prints is no message.
                    self._hear(MESSAGE.validate_json(line))
            if self._ending or self._lost is not None:
                return
            complaints.seek(0)
            last = (complaints.read().strip().splitlines() or ["it was killed"])[-1]
            self._lose(
                ConnectError(
                    f"the process that holds labgrid:{self._wanted} ended: "
                    f"{masked(first_line(last, 300))}"
                )
            )

    def _hear(self, message: Stage | Granted | Refused) -> None:
        match message:
            case Stage(text=text):
                self._on_stage(masked(first_line(text, 500)))
            case Granted():
                self._said.put(message)
            case Refused(text=text, usage=usage):
                kind = UsageError if usage else ConnectError
                self._lose(kind(masked(first_line(text, 500))))

    def _lose(self, error: DeployError) -> None:
        self._lost = error
        self._said.put(error)


def _folder() -> Path:
    """Where keepers note what they hold; see ``leftovers``."""
    import platformdirs  # noqa: PLC0415 - for those who use a lab

    chosen = os.environ.get(_STATE_VARIABLE)
    root = Path(chosen) if chosen else platformdirs.user_state_path("shufflenet-deploy")
    return root.absolute() / _FOLDER
