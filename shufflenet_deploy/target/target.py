"""``Target``: one machine, with what we keep in one folder of its disk."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from shufflenet_deploy.errors import TargetError, TransportError, UsageError
from shufflenet_deploy.records import TargetFacts
from shufflenet_deploy.target import facts as survey
from shufflenet_deploy.target import remote_root
from shufflenet_deploy.target.environment import Environment, Mode, Payload, PayloadOf
from shufflenet_deploy.target.facts import Survey
from shufflenet_deploy.target.file_cache import ROOT_VARIABLE, FileCache, TransferStats
from shufflenet_deploy.target.governor import BENCH, TUNED, Governor, Governors
from shufflenet_deploy.target.health import CLOCK_PROGRAM, HealthProbe, read_health
from shufflenet_deploy.target.health import SCRIPT as VITALS_SCRIPT
from shufflenet_deploy.target.lock import Lock
from shufflenet_deploy.target.place import Place
from shufflenet_deploy.target.provision import Provision, ProvisioningPlan, Request
from shufflenet_deploy.target.sensors import SCRIPT as STATE_SCRIPT
from shufflenet_deploy.target.sensors import SensorReading, read_sensors
from shufflenet_deploy.transport import CommandResult, Progress, Transport
from shufflenet_deploy.transport.shell_scripts import shell

_SURVEY_SECS = 60.0

# taskset wants a mask in hexadecimal everywhere, a list of cores only in some versions.
_PIN_PROGRAM = (
    "import os, sys; os.sched_setaffinity(0, map(int, sys.argv[1].split(','))); "
    "os.execvp(sys.argv[2], sys.argv[2:])"
)


@dataclass(frozen=True, kw_only=True)
class CleanResult:
    """Result of ``clean``: a removed folder of the target and the bytes of disk freed."""

    root: str
    freed_bytes: int


class Target:
    """A machine over an entered transport; nothing is written there before it is needed.

    ``root`` is our folder on the target: ``SHUFFLENET_DEPLOY_ROOT``, or one in the user's cache.
    """

    def __init__(self, transport: Transport, root: str | None = None) -> None:
        self.transport = transport
        self._wanted_root = root or os.environ.get(ROOT_VARIABLE, "")
        self._storage = FileCache(transport, lambda: self._survey.root)
        self._provision = Provision(self._storage, lambda: self._survey)
        self._governor = Governor(transport, lambda: self._storage.prepared_root)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing of ours keeps running on the target; the transport is the caller's to close."""

    @property
    def host(self) -> str:
        """Host as the user typed it."""
        return self.transport.host

    def facts(self) -> TargetFacts:
        """Facts about the machine, queried once in one round trip.

        Raises:
            TransportError: the link failed.
            TargetError: it has no POSIX shell.
        """
        return self._survey.facts

    def sensors(self) -> SensorReading:
        """Temperatures, battery and screen at this moment.

        Raises:
            TransportError: the link failed.
        """
        return read_sensors(self.transport.run(shell(STATE_SCRIPT)).text)

    def health(self) -> HealthProbe:
        """Check for possible disturbances of a measurement; takes a second.

        Raises:
            TransportError: the link failed.
        """
        argv = shell(VITALS_SCRIPT, self.root, CLOCK_PROGRAM, *self.python)
        return read_health(self.transport.run(argv, timeout_s=_SURVEY_SECS).text)

    def place(self) -> Place:
        """Check that the tool's folder can be at its location; nothing is written.

        Raises:
            TransportError: the link failed.
        """
        return remote_root.place_of(self.transport, self.root)

    def plan_provisioning(self, payload: PayloadOf) -> ProvisioningPlan:
        """Predict the source of a runtime; nothing is written.

        Raises:
            TransportError: the link failed.
        """
        return self._provision.plan(payload)

    @property
    def traffic(self) -> TransferStats:
        """Transfer statistics of this session."""
        return self._storage.traffic

    @property
    def root(self) -> str:
        """Our folder on the target, whether it exists yet or not."""
        return self._survey.root

    def install(self, path: Path, *, on_progress: Progress | None = None) -> str:
        """Bring a file to the target, unless it is there already; its path there.

        It lies under its own sha256, which is checked there, so the same bytes travel once.

        Raises:
            UsageError: ``path`` cannot be read.
            TargetError: the disk of the target is full or cannot be written.
            TransferError: it did not arrive whole.
        """
        return self._storage.install(path, on_progress=on_progress)

    def require_programs(self, what: str) -> None:
        """Refuse ``what`` before it is made, where no program may be started from our folder.

        Raises:
            TargetError: our folder cannot be made, or its file system is mounted noexec.
        """
        self._storage.require_programs(what)

    def environment(
        self,
        payload: Payload | PayloadOf,
        *,
        mode: Mode = Mode.AUTO,
        on_progress: Progress | None = None,
        on_stage: Callable[[str], object] | None = None,
    ) -> Environment:
        """A Python on the target that imports a payload, installed there when it must be.

        Tried in turn: what an earlier session installed; the target's own Python when it has
        exactly the wanted versions; a virtual environment that its pip fills, if it reaches an
        index; wheels that are downloaded here and pushed as one bundle; and a Python of our own
        with its wheels, where the target has none that serves. ``on_stage`` gets a message for
        each step.

        ``payload`` is what to install, or a function that returns it for the facts of the Python
        that is going to import it.

        Raises:
            TargetError: there is no Python, no fitting wheel, or the modules do not import.
        """
        choose = payload if callable(payload) else lambda _: payload
        request = Request(
            payload_of=choose, on_message=on_stage or (lambda _: None), on_progress=on_progress
        )
        return self._provision.environment(request, mode)

    def invoke(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
        cpus: Sequence[int] | None = None,
        stdin: bytes | None = None,
    ) -> CommandResult:
        """Run a program on the target, on certain cores only when ``cpus`` names them.

        Raises:
            UsageError: there is no such core.
            TargetError: the target has neither taskset nor Python to bind a program to cores.
            CommandTimeout: it ran past its limit and was killed.
            ConnectError: the connection was lost.
        """
        pinned = (*self._pinning(cpus), *argv) if cpus else tuple(argv)
        return self.transport.run(pinned, env=env, timeout_s=timeout_s, stdin=stdin)

    @contextmanager
    def exclusive(
        self, *, wait_secs: float = 0.0, on_wait: Callable[[str], object] | None = None
    ) -> Iterator[None]:
        """Hold the target for one measurement, so that two benches do not disturb each other.

        The lock ends with our connection, however that ends.

        Raises:
            TargetError: somebody else holds it; names who and for how long.
        """
        lock = Lock(self.transport, f"{self._storage.prepared_root}/lock")
        lock.acquire(wait_secs=wait_secs, on_wait=on_wait)
        try:
            yield
        finally:
            # On a lost connection there is nothing to give back: the lock went with it.
            with suppress(TransportError):
                lock.release()

    def set_governor(self, governor: str) -> Governors:
        """Set the frequency governor until ``restore`` or a restart of the target.

        Raises:
            UsageError: the kernel has no such governor, or none at all.
            TargetError: we may not set it.
        """
        return self._governor.set(governor)

    def check_governor(self, governor: str) -> None:
        """Find out whether the frequency governor could be set; nothing is changed.

        Raises:
            UsageError: the kernel has no such governor, or none at all.
            TargetError: we may not set it.
        """
        self._governor.check(governor)

    @contextmanager
    def governor(self, governor: str, *, lease_secs: float) -> Iterator[Governor]:
        """Set the frequency governor for a while; it is put back however that ends.

        Where we cannot do it (lost connection, killed process), the target itself does: at once
        when it sees the connection end, else when ``lease_secs`` have passed without ``renew``.

        Raises:
            UsageError: the kernel has no such governor, or none at all.
            TargetError: we may not set it.
        """
        self._governor.set(governor, BENCH, lease_secs=lease_secs)
        try:
            yield self._governor
        finally:
            self._governor.release()

    def restore(self, *, force: bool = False) -> tuple[str, ...] | None:
        """Put back the governors that stood before ``set_governor``, or before a bench that died.

        Returns:
            The governors put back; none when a restart did it, None when nothing was changed.

        Raises:
            TargetError: we may not, or somebody measures there (unless ``force``).
        """
        if not remote_root.is_ours(self.transport, self.root):
            return None
        self._refuse_while_measuring(force=force)
        found = [self._governor.restore(note) for note in (BENCH, TUNED)]
        done = [one for one in found if one is not None]
        return done[-1] if done else None

    def clean(self, *, force: bool = False) -> CleanResult:
        """Remove everything of ours from the target, and nothing else; governors are put back.

        Raises:
            TargetError: the folder is not ours, or somebody measures there (unless ``force``).
        """
        self._refuse_while_measuring(force=force)
        try:
            self.restore(force=True)
        except TargetError:
            if not force:
                raise
        freed_bytes = remote_root.remove(self.transport, self.root)
        self._storage.forget()
        self._provision.forget()
        return CleanResult(root=self.root, freed_bytes=freed_bytes)

    @property
    def python(self) -> tuple[str, ...]:
        """Command prefix of the target's own Python; empty where it has none."""
        python = self._survey.python
        return () if python is None else (python.executable,)

    def measuring_for(self) -> str | None:
        """Return the process that holds the target's lock and since when; None when it is free."""
        return Lock(self.transport, f"{self.root}/lock").holder()

    def _refuse_while_measuring(self, *, force: bool) -> None:
        holder = self.measuring_for()
        if holder and not force:
            raise TargetError(
                f"{self.host} is measuring for {holder}: wait for it to end, or add --force"
            )

    @cached_property
    def _survey(self) -> Survey:
        local = self.transport.kind == "local"
        names = (sys.executable,) if local else survey.PYTHON_NAMES
        argv = shell(survey.SCRIPT, self._wanted_root, survey.INTERPRETER_PROGRAM, *names)
        result = self.transport.run(argv, timeout_s=_SURVEY_SECS)
        if result.exit_code:
            raise TargetError(f"{self.host} cannot say what it is: {result.complaint}")
        return survey.read_survey(result.text, host=self.host, transport=self.transport.kind)

    def _pinning(self, cpus: Sequence[int]) -> tuple[str, ...]:
        known = {core.index for core in self.facts().cores}
        if wrong := [index for index in cpus if known and index not in known]:
            raise UsageError(
                f"{self.host} has no core {wrong[0]}: choose among "
                f"{', '.join(map(str, sorted(known)))}"
            )
        if self._has_taskset:
            return ("taskset", f"{sum(1 << index for index in set(cpus)):x}")
        return (self._provision.python.executable, "-c", _PIN_PROGRAM, ",".join(map(str, cpus)))

    @cached_property
    def _has_taskset(self) -> bool:
        return self.transport.run(shell("command -v taskset")).exit_code == 0
