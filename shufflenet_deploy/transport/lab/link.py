"""The transport to a board of a lab: a lease of its place, and SSH to where the lab says it is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from shufflenet_deploy.errors import ConnectError
from shufflenet_deploy.host_names import LAB_PREFIX
from shufflenet_deploy.transport.base import CommandResult, Progress, Transport
from shufflenet_deploy.transport.lab.lease import Lease
from shufflenet_deploy.transport.lab.wanted import Wanted

#: Names the coordinator, as for labgrid's own programs; so does the default.
COORDINATOR_VARIABLE = "LG_COORDINATOR"
_DEFAULT_COORDINATOR = "127.0.0.1:20408"
#: A board that was switched on answers within this time.
_BOOT_SECS = 180.0
_PAUSE_SECS = 2.0


@dataclass(frozen=True, kw_only=True)
class Lab:
    """How places are leased.

    Attributes:
        coordinator: ``HOST[:PORT]``; ``LG_COORDINATOR`` or this machine where it is empty.
        power_cycle: switch boards off and on before, and off afterwards.
        wait: wait for a turn; otherwise a place in use is refused.
    """

    coordinator: str = ""
    power_cycle: bool = False
    wait: bool = True

    @property
    def address(self) -> str:
        """Where the coordinator is."""
        return self.coordinator or os.environ.get(COORDINATOR_VARIABLE) or _DEFAULT_COORDINATOR


class LabTransport(Transport):
    """A place of a lab; see ``Transport``. Leaving it gives the place back, ``close`` does not.

    Nothing is returned of a program during which the lease was lost: somebody else may have used
    the board meanwhile.
    """

    kind = "ssh"
    compressing = True

    def __init__(
        self,
        host: str,
        *,
        name: str | None,
        lab: Lab,
        connect: Callable[[str, str], Transport],
        on_stage: Callable[[str], None],
    ) -> None:
        """``connect`` makes the transport to an SSH destination, given what to call it."""
        self._wanted = Wanted.parse(host)
        self.host = name or host
        self._lab, self._connect, self._on_stage = lab, connect, on_stage
        self._lease: Lease | None = None
        self._link: Transport | None = None

    def __enter__(self) -> Self:
        if self._lease is not None:
            self._lease.check()
            self._held.__enter__()
            return self
        self._lease = Lease(
            self._wanted,
            coordinator=self._lab.address,
            wait=self._lab.wait,
            power_cycle=self._lab.power_cycle,
            on_stage=self._on_stage,
        )
        try:
            granted = self._lease.ask()
            if self._wanted.tags:
                # Which board it is decides what its figures are compared with.
                self.host = f"{LAB_PREFIX}{granted.place}"
            self._link = self._connect(granted.destination, self.host)
            self._reach(granted.proxy)
        except BaseException:
            self._give_back()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._give_back()

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 60.0,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
    ) -> CommandResult:
        """See ``Transport.run``.

        Raises:
            LeaseError: the place is not ours any more.
        """
        link = self._held
        result = link.run(argv, timeout_s=timeout_s, stdin=stdin, env=env)
        self._check()
        return result

    def push(
        self,
        local: Path,
        remote: str,
        *,
        executable: bool = False,
        on_progress: Progress | None = None,
    ) -> None:
        """See ``Transport.push``."""
        self._held.push(local, remote, executable=executable, on_progress=on_progress)

    def pull(self, remote: str, local: Path) -> None:
        """See ``Transport.pull``."""
        self._held.pull(remote, local)

    def close(self) -> None:
        """Drop the connection; the place stays ours."""
        if self._link is not None:
            self._link.close()

    @property
    def _held(self) -> Transport:
        if self._link is None:
            raise ConnectError(f"{self.host} is not connected: its lease ended")
        self._check()
        return self._link

    def _check(self) -> None:
        if self._lease is not None:
            self._lease.check()

    def _reach(self, proxy: str) -> None:
        """Connect; a board that was just switched on has time to start."""
        deadline = time.monotonic() + (_BOOT_SECS if self._lab.power_cycle else 0.0)
        while True:
            try:
                self._held.__enter__()
            except ConnectError as error:
                if time.monotonic() >= deadline:
                    raise ConnectError(f"{error}{_way(proxy)}") from error
                self._on_stage(f"waiting for {self.host} to start")
                time.sleep(_PAUSE_SECS)
            else:
                return

    def _give_back(self) -> None:
        link, lease = self._link, self._lease
        self._link = self._lease = None
        try:
            if link is not None:
                link.close()
        finally:
            if lease is not None:
                lease.release()


def _way(proxy: str) -> str:
    if not proxy:
        return ""
    return (
        f"; its exporter says that it is reached through {proxy} only: write ProxyJump {proxy} for"
        " its address into ~/.ssh/config"
    )
