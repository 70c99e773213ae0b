"""``Target``: one machine, with what we keep in one folder of its disk."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from shufflenet_deploy.errors import TargetError, TransportError, UsageError
from shufflenet_deploy.files import sha256_file
from shufflenet_deploy.records import TargetFacts
from shufflenet_deploy.target import facts as survey
from shufflenet_deploy.target import folder, wheels
from shufflenet_deploy.target.environment import (
    PROOF_PROGRAM,
    Environment,
    Mode,
    Payload,
    environment_key,
    missing_from,
    proof_argument,
)
from shufflenet_deploy.target.facts import Interpreter, Survey
from shufflenet_deploy.target.lock import Lock
from shufflenet_deploy.transport import CommandResult, Progress, Transport
from shufflenet_deploy.transport.posix import shell

ROOT_VARIABLE = "SHUFFLENET_DEPLOY_ROOT"

_SURVEY_SECS = 60.0
#: Importing a runtime takes 15 s on an emulated board, and its first start far longer.
_PROOF_SECS = 300.0
_VENV_SECS = 600.0
_PIP_SECS = 1800.0
_UNPACK_SECS = 900.0
#: What must stay free on the target after a push.
_RESERVE_BYTES = 16 << 20

# taskset wants a mask in hexadecimal everywhere, a list of cores only in some versions.
_PIN_PROGRAM = (
    "import os, sys; os.sched_setaffinity(0, map(int, sys.argv[1].split(','))); "
    "os.execvp(sys.argv[2], sys.argv[2:])"
)


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What travelled to the target in this session, and what was there already."""

    files_pushed: int = 0
    bytes_pushed: int = 0
    files_present: int = 0


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """What ``clean`` removed: a folder of the target and the bytes its disk got back."""

    root: str
    freed_bytes: int


class Target:
    """A machine over an entered transport; nothing is written there before it is needed.

    ``root`` is our folder on the target: ``SHUFFLENET_DEPLOY_ROOT``, or one in the user's cache.
    """

    def __init__(self, transport: Transport, root: str | None = None) -> None:
        self.transport = transport
        self.traffic = Traffic()
        self._wanted_root = root or os.environ.get(ROOT_VARIABLE, "")
        self._installed: dict[str, str] = {}
        self._environments: dict[tuple[str, Mode], Environment] = {}

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
        """What the user typed to name the machine."""
        return self.transport.host

    def facts(self) -> TargetFacts:
        """What the machine is; asked once, in one round trip.

        Raises:
            TransportError: the link failed.
            TargetError: it has no POSIX shell.
        """
        return self._survey.facts

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
        try:
            digest, size_bytes = sha256_file(path), path.stat().st_size
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
        remote = f"{self._prepared_root}/objects/{digest}/{path.name}"
        if self._installed.get(remote) != digest:
            found = folder.look_for(self.transport, remote)
            if found.sha256 != digest:
                self._push(path, remote, size_bytes, found.free_bytes, on_progress)
                self._installed[remote] = digest
                return remote
            self._installed[remote] = digest
        self.traffic = replace(self.traffic, files_present=self.traffic.files_present + 1)
        return remote

    def environment(
        self,
        payload: Payload,
        *,
        mode: Mode = Mode.AUTO,
        on_progress: Progress | None = None,
        on_stage: Callable[[str], object] | None = None,
    ) -> Environment:
        """A Python on the target that imports a payload, installed there when it must be.

        Tried in turn: what an earlier session installed; the target's own Python when it has
        exactly the wanted versions; a virtual environment that its pip fills, if it reaches an
        index; wheels that are downloaded here and pushed as one bundle. ``on_stage`` is told
        what is being done.

        Raises:
            TargetError: there is no Python, no fitting wheel, or the modules do not import.
        """
        memo = (f"{payload.name}:{payload.requirements}:{payload.imports}", mode)
        if memo not in self._environments:
            tell = on_stage or (lambda _: None)
            self._environments[memo] = self._environment(payload, mode, on_progress, tell)
        return self._environments[memo]

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
            TargetError: somebody else holds it; says who and for how long.
        """
        lock = Lock(self.transport, f"{self._prepared_root}/lock")
        lock.acquire(wait_secs=wait_secs, on_wait=on_wait)
        try:
            yield
        finally:
            # On a lost connection there is nothing to give back: the lock went with it.
            with suppress(TransportError):
                lock.release()

    def clean(self, *, force: bool = False) -> Cleaned:
        """Remove everything of ours from the target, and nothing else.

        Raises:
            TargetError: the folder is not ours, or somebody measures there (unless ``force``).
        """
        holder = Lock(self.transport, f"{self.root}/lock").holder()
        if holder and not force:
            raise TargetError(
                f"{self.host} is measuring for {holder}: wait for it to end, or add --force"
            )
        freed_bytes = folder.remove(self.transport, self.root)
        self._installed.clear()
        self._environments.clear()
        self.__dict__.pop("_prepared_root", None)
        return Cleaned(root=self.root, freed_bytes=freed_bytes)

    @cached_property
    def _survey(self) -> Survey:
        local = self.transport.kind == "local"
        names = (sys.executable,) if local else survey.PYTHON_NAMES
        argv = shell(survey.SCRIPT, self._wanted_root, survey.INTERPRETER_PROGRAM, *names)
        result = self.transport.run(argv, timeout_s=_SURVEY_SECS)
        if result.exit_code:
            raise TargetError(f"{self.host} cannot say what it is: {result.complaint}")
        return survey.read_survey(result.text, host=self.host, transport=self.transport.kind)

    @cached_property
    def _prepared_root(self) -> str:
        folder.prepare(self.transport, self.root)
        return self.root

    @property
    def _python(self) -> Interpreter:
        if self._survey.python is None:
            raise TargetError(
                f"{self.host} has no Python 3.7 or newer: install it there "
                "(on Debian and Raspberry Pi OS: sudo apt-get install python3)"
            )
        return self._survey.python

    def _push(
        self,
        path: Path,
        remote: str,
        size_bytes: int,
        free_bytes: int | None,
        on_progress: Progress | None,
        *,
        unpacked_bytes: int = 0,
    ) -> None:
        need_bytes = size_bytes + unpacked_bytes + _RESERVE_BYTES
        if free_bytes is not None and size_bytes > 0 and free_bytes < need_bytes:
            raise TargetError(
                f"the disk of {self.host} has {free_bytes / 1e6:.0f} MB free at {self.root}, but "
                f"{path.name} needs {need_bytes / 1e6:.0f} MB: free some space, or set "
                f"{ROOT_VARIABLE} to a folder on another disk"
            )
        self.transport.push(
            path, remote, executable=os.access(path, os.X_OK), on_progress=on_progress
        )
        self.traffic = replace(
            self.traffic,
            files_pushed=self.traffic.files_pushed + 1,
            bytes_pushed=self.traffic.bytes_pushed + size_bytes,
        )

    def _pinning(self, cpus: Sequence[int]) -> tuple[str, ...]:
        known = {core.index for core in self.facts().cores}
        if wrong := [index for index in cpus if known and index not in known]:
            raise UsageError(
                f"{self.host} has no core {wrong[0]}: choose among "
                f"{', '.join(map(str, sorted(known)))}"
            )
        if self._has_taskset:
            return ("taskset", f"{sum(1 << index for index in set(cpus)):x}")
        return (self._python.executable, "-c", _PIN_PROGRAM, ",".join(map(str, cpus)))

    @cached_property
    def _has_taskset(self) -> bool:
        return self.transport.run(shell("command -v taskset")).exit_code == 0

    def _environment(
        self,
        payload: Payload,
        mode: Mode,
        on_progress: Progress | None,
        tell: Callable[[str], object],
    ) -> Environment:
        key = environment_key(payload, self._python.version)
        venv = self._venv(f"{self.root}/environments/{key}-venv")
        pushed = self._unpacked(f"{self.root}/environments/{key}-wheels")
        choices = {Mode.AUTO: (venv, pushed), Mode.VENV: (venv,), Mode.WHEELS: (pushed,)}
        # What was installed and proved before is not asked again: a Python takes long to start.
        ready = folder.ready_among(self.transport, map(_folder_of, choices.get(mode, ())))
        for environment in choices.get(mode, ()):
            if _folder_of(environment) in ready:
                self.traffic = replace(self.traffic, files_present=self.traffic.files_present + 1)
                return environment
        if mode in {Mode.AUTO, Mode.SYSTEM}:
            own = Environment(python=(self._python.executable,), how=Mode.SYSTEM)
            problem = self._missing(payload, own)
            if problem is None:
                return own
            if mode is Mode.SYSTEM:
                raise TargetError(
                    f"the Python of {self.host} ({self._python.executable}) does not serve for "
                    f"{payload.name}: {problem}"
                )
        _ = self._prepared_root
        if mode is not Mode.WHEELS:
            problem = self._fill_venv(payload, venv, tell)
            if problem is None:
                return venv
            if mode is Mode.VENV:
                raise TargetError(
                    f"{self.host} cannot make a virtual environment for {payload.name}: {problem}"
                )
        self._push_wheels(payload, pushed, on_progress, tell)
        return pushed

    def _missing(self, payload: Payload, environment: Environment) -> str | None:
        argv = (*environment.python, "-c", PROOF_PROGRAM, proof_argument(payload))
        result = self.transport.run(argv, env=environment.env, timeout_s=_PROOF_SECS)
        if result.exit_code:
            return result.complaint
        return missing_from(payload, result.text)

    def _venv(self, path: str) -> Environment:
        return Environment(python=(f"{path}/bin/python",), how=Mode.VENV)

    def _unpacked(self, path: str) -> Environment:
        # The user's own site-packages must not shadow or repair what was pushed.
        variables = {"PYTHONPATH": path, "PYTHONNOUSERSITE": "1"}
        return Environment(python=(self._python.executable,), env=variables, how=Mode.WHEELS)

    def _fill_venv(
        self, payload: Payload, environment: Environment, tell: Callable[[str], object]
    ) -> str | None:
        """Make a virtual environment with the target's own pip; what went wrong, if anything."""
        if not self._python.venv:
            return "its Python lacks venv or ensurepip (on Debian: apt-get install python3-venv)"
        tell(f"installing {payload.name} on {self.host}")
        path = _folder_of(environment)
        make = (self._python.executable, "-m", "venv", "--clear", path)
        fill = (
            *(*environment.python, "-m", "pip", "install", "--quiet", "--no-input", "--no-deps"),
            *("--disable-pip-version-check", "--only-binary=:all:", "--retries=1", "--timeout=10"),
            *payload.requirements,
        )
        for argv, limit_secs in ((make, _VENV_SECS), (fill, _PIP_SECS)):
            result = self.transport.run(argv, timeout_s=limit_secs)
            if result.exit_code:
                folder.discard(self.transport, path)
                return wheels.complaint(result.stderr)
        problem = self._missing(payload, environment)
        if problem:
            folder.discard(self.transport, path)
            return problem
        folder.mark_ready(self.transport, path)
        return None

    def _push_wheels(
        self,
        payload: Payload,
        environment: Environment,
        on_progress: Progress | None,
        tell: Callable[[str], object],
    ) -> None:
        facts, path = self.facts(), _folder_of(environment)
        if facts.libc is None:
            raise TargetError(
                f"{self.host} does not tell its C library, so that no wheel can be chosen: "
                f"install {payload.name} there by hand"
            )
        platform = wheels.Platform(arch=facts.arch, libc=facts.libc, python=self._python.version)
        tell(f"fetching {payload.name} for {platform}")
        bundle = wheels.bundle(payload.requirements, platform)
        packed = f"{self._prepared_root}/incoming/{sha256_file(bundle)}.tar.gz"
        found = folder.look_for(self.transport, packed)
        tell(f"pushing {payload.name} to {self.host}")
        self._push(
            bundle,
            packed,
            bundle.stat().st_size,
            found.free_bytes,
            on_progress,
            unpacked_bytes=wheels.unpacked_bytes(bundle),
        )
        tell(f"unpacking {payload.name} on {self.host}")
        folder.unpack(self.transport, packed, path, self._python.executable, timeout_s=_UNPACK_SECS)
        problem = self._missing(payload, environment)
        if problem:
            folder.discard(self.transport, path)
            raise TargetError(
                f"{payload.name} was pushed to {self.host} but does not work there: {problem}"
            )
        folder.mark_ready(self.transport, path)


def _folder_of(environment: Environment) -> str:
    path = environment.env.get("PYTHONPATH")
    return path or environment.python[0].removesuffix("/bin/python")
