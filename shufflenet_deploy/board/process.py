"""A process that outlives its starter: found again later, and never mistaken for another.

A process id alone is reused by the kernel. A birth is a process id together with the boot and the
tick in which it started; a signal is sent only through a handle whose birth was checked.
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from pathlib import Path

from shufflenet_deploy.records import Record

_START_TIME_FIELD = 19  # of /proc/PID/stat, counted after the command's closing bracket
_STATE_FIELD = 0
_PROC = Path("/proc")


class ProcessIdentity(Record):
    """One process, for all time."""

    pid: int
    start_ticks: int
    boot_id: str

    @property
    def alive(self) -> bool:
        """True while exactly this process runs."""
        return identity_of(self.pid) == self


def identity_of(pid: int) -> ProcessIdentity | None:
    """Identify the process that has this process id now; None when there is none, or a zombie."""
    try:
        # The command may hold spaces and brackets; what follows its last bracket does not.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        boot_id = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except (OSError, ValueError):
        return None
    if len(fields) <= _START_TIME_FIELD or fields[_STATE_FIELD] in {"Z", "X"}:
        return None
    return ProcessIdentity(pid=pid, start_ticks=int(fields[_START_TIME_FIELD]), boot_id=boot_id)


def stop(birth: ProcessIdentity, *, patience_secs: float = 5.0) -> bool:
    """End a process: ask, wait, then insist. False when it was gone already."""
    try:
        handle = os.pidfd_open(birth.pid)
    except ProcessLookupError:
        return False
    try:
        # Checked after opening: from here on the handle means this process and no other.
        if not birth.alive:
            return False
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)
            if _ended(handle, patience_secs):
                return True
        return not birth.alive
    finally:
        os.close(handle)


def _ended(handle: int, patience_secs: float) -> bool:
    poller = select.poll()
    poller.register(handle, select.POLLIN)
    return bool(poller.poll(patience_secs * 1000))
