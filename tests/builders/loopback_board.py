"""A machine on loopback behind a relay, and what it would not have without us."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from cutting import Relay
from fake_sysfs import Cpus

#: A server that lost its client notices within that, even when the machine is busy.
PATIENCE_SECS = 20.0
GOVERNOR = "ondemand"


class LoopbackBoard:
    """A running sshd as a board: ``root`` is our folder there, ``relay`` the link that breaks."""

    def __init__(self, folder: Path, sshd: Any, cpus: Cpus) -> None:
        self.folder, self.sshd, self.cpus = folder, sshd, cpus
        self.root = folder / "target"
        self.relay = Relay(sshd.port)
        self.known_hosts = folder / "known_hosts"
        key = sshd.known_hosts.read_text().split(" ", 1)[1]
        self.known_hosts.write_text(
            f"[127.0.0.1]:{self.relay.port} {key}[127.0.0.1]:{sshd.port} {key}"
        )

    def kill_servers(self) -> None:
        """Kill what serves each connection, as a board that loses its power does."""
        pid = self.sshd.process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)

    def left_behind(self) -> list[str]:
        """Processes of ours, and governors that are not the board's own."""
        found = []
        for place in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = place.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if str(self.root) in words:
                found.append(f"process {place.parent.name}: {words[:60]}...{words[-100:]}")
        if set(self.cpus.governors) != {GOVERNOR}:
            found.append(f"governors {self.cpus.governors}")
        return found

    def await_clean(self) -> str:
        """Wait for what ends when its connection does, else when its lease does.

        Says which it was. The lease takes minutes: it is written over, as if they had passed.
        """
        if not self._await(PATIENCE_SECS):
            return "with the connection"
        for lease in self.root.glob("*.lease"):
            lease.write_text("0\n")
        left = self._await(PATIENCE_SECS)
        assert not left
        return "with the lease"

    def _await(self, secs: float) -> list[str]:
        deadline = time.monotonic() + secs
        while (left := self.left_behind()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return left
