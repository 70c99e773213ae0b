"""Bringing a runtime to a target: found there, installed by its pip, or pushed from here.

``Provision.environment`` is the one entry. Every way ends with a proof: the target's own Python
reports the pinned versions and imports the modules, or the way did not work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from shufflenet_deploy.errors import MissingRuntimeError, TargetError
from shufflenet_deploy.records import TargetFacts
from shufflenet_deploy.target import bundle, remote_root, wheels
from shufflenet_deploy.target.bundled_python import LIBC, PYTHON, interpreter_for
from shufflenet_deploy.target.bundled_python import BundledPython as OwnInterpreter
from shufflenet_deploy.target.environment import (
    PROOF_PROGRAM,
    Environment,
    Mode,
    Payload,
    PayloadOf,
    environment_key,
    missing_from,
    name_of,
    proof_argument,
)
from shufflenet_deploy.target.facts import Interpreter, Survey
from shufflenet_deploy.target.file_cache import FileCache
from shufflenet_deploy.transport import Progress

#: Importing a runtime takes 15 s on an emulated board, and its first start far longer.
_PROOF_SECS = 300.0
_VENV_SECS = 600.0
_PIP_SECS = 1800.0
_UNPACK_SECS = 900.0

#: The first pip that knows all platform tags of today's wheels (PEP 600).
_ARM_PIP = "20.3"
#: All releases of this Python come with a newer one.
_FIRST_WITH_ARM_PIP = (3, 10)

_STANDALONE = "programs that need neither Python nor a runtime on the target"

OnMessage = Callable[[str], object]


class _Unfit(TargetError):
    """The target's own Python cannot serve; one that we bring may."""


class _Lacking(_Unfit, MissingRuntimeError):
    """The same, since there is no release of the runtime for it."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """Payload to make importable on the target, and the callback for progress messages."""

    payload_of: PayloadOf
    on_message: OnMessage
    on_progress: Progress | None = None


@dataclass(frozen=True, kw_only=True)
class ProvisioningPlan:
    """Source that provisioning would use, with a short reason; ``how`` is None if there is none.

    ``standalone``: its files are programs that need neither Python nor anything else.
    ``installed`` is the environment that has the runtime already, None if it is to be made.
    ``remedy`` says what to do where there is no source, if that is known.
    """

    how: Mode | None
    text: str
    standalone: bool = False
    installed: Environment | None = None
    remedy: str = ""


class Provision:
    """Environments of one target."""

    def __init__(self, storage: FileCache, survey: Callable[[], Survey]) -> None:
        self._storage = storage
        self._transport = storage.transport
        self._survey = survey
        self._known: dict[object, Environment | _Unfit] = {}

    def forget(self) -> None:
        """Our folder was removed: nothing is known to be installed any more."""
        self._known.clear()

    @property
    def _host(self) -> str:
        return self._transport.host

    @property
    def python(self) -> Interpreter:
        """The target's own Python.

        Raises:
            MissingRuntimeError: it has none that is new enough.
        """
        found = self._survey().python
        if found is None:
            also = ""
            if interpreter_for(self._survey().machine):
                also = ", or bring one with --payload self-contained"
            raise MissingRuntimeError(
                f"{self._host} has no Python 3.7 or newer: install it there "
                f"(on Debian and Raspberry Pi OS: sudo apt-get install python3){also}"
            )
        return found

    def environment(self, request: Request, mode: Mode) -> Environment:
        """See ``Target.environment``."""
        if mode is Mode.SELF_CONTAINED:
            return self._self_contained(request)
        if mode is not Mode.AUTO:
            return self._of_the_targets_python(request, mode)
        if self._survey().python is None and interpreter_for(self._survey().machine):
            return self._self_contained(request)
        try:
            return self._of_the_targets_python(request, mode)
        except _Unfit as error:
            if interpreter_for(self._survey().machine) is None:
                raise
            request.on_message(f"{error}; bringing a Python of our own instead")
            try:
                return self._self_contained(request)
            except _Unfit:
                raise error from None

    def plan(self, payload_of: PayloadOf) -> ProvisioningPlan:
        """Predict the choice of ``Mode.AUTO``; nothing is fetched, pushed or written.

        Whether the target's pip reaches an index, or whether there is a wheel, shows only then.
        """
        own = interpreter_for(self._survey().machine)
        try:
            payload = _payload(payload_of, self._survey().facts)
            if not payload.imports:
                return ProvisioningPlan(how=Mode.SYSTEM, text=_STANDALONE, standalone=True)
            _ = self.python
        except TargetError as error:
            return _last_resort(own, str(error))
        return self._foreseen(payload, own)

    def _foreseen(self, payload: Payload, own: OwnInterpreter | None) -> ProvisioningPlan:
        """The same, where the target's own Python is new enough."""
        for environment in self._places(payload):
            if _folder_of(environment) in remote_root.ready_among(
                self._transport, [_folder_of(environment)]
            ):
                return _as_installed(payload, environment, "installed already")
        system = Environment(python=(self.python.executable,), how=Mode.SYSTEM)
        problem = self._missing(payload, system)
        if problem is None:
            return _as_installed(payload, system, "its own Python has it")
        if self.python.venv:
            return ProvisioningPlan(
                how=Mode.VENV, text="its pip is asked first, else wheels are pushed from here"
            )
        if self._survey().facts.libc is None:
            return _last_resort(own, "its C library is unknown, so that no wheel can be chosen")
        return ProvisioningPlan(how=Mode.WHEELS, text="wheels are fetched here and pushed")

    # --- with the target's own Python ------------------------------------------------------------

    def _places(self, payload: Payload) -> tuple[Environment, Environment]:
        """Paths of a payload's virtual environment and pushed wheels, existing or not."""
        key = environment_key(payload, self.python.version)
        return (
            self._venv(f"{self._storage.root}/environments/{key}-venv"),
            self._unpacked(f"{self._storage.root}/environments/{key}-wheels"),
        )

    def _once(
        self, payload: Payload, mode: Mode, install: Callable[[], Environment]
    ) -> Environment:
        """Install what was not asked for before in this session, or found not to fit."""
        memo = (payload.name, payload.requirements, payload.imports, mode)
        if memo not in self._known:
            try:
                found = install()
                places = {
                    variable: self._storage.install(make())
                    for variable, make in payload.companions.items()
                }
                self._known[memo] = replace(found, env={**payload.env, **found.env, **places})
            except _Unfit as error:
                self._known[memo] = error
        known = self._known[memo]
        if isinstance(known, _Unfit):
            raise known
        return known

    def _of_the_targets_python(self, request: Request, mode: Mode) -> Environment:
        _ = self.python
        payload = _payload(request.payload_of, self._survey().facts)
        return self._once(payload, mode, lambda: self._installed(payload, request, mode))

    def _installed(self, payload: Payload, request: Request, mode: Mode) -> Environment:
        venv, pushed = self._places(payload)
        choices = {Mode.AUTO: (venv, pushed), Mode.VENV: (venv,), Mode.WHEELS: (pushed,)}
        # What was installed and proved before is not asked again: a Python takes long to start.
        folders = map(_folder_of, choices.get(mode, ()))
        ready = remote_root.ready_among(self._transport, folders)
        for environment in choices.get(mode, ()):
            if _folder_of(environment) in ready:
                self._storage.count_present()
                return environment
        if mode in {Mode.AUTO, Mode.SYSTEM}:
            own = Environment(python=(self.python.executable,), how=Mode.SYSTEM)
            problem = self._missing(payload, own)
            if problem is None:
                return own
            if mode is Mode.SYSTEM:
                raise MissingRuntimeError(
                    f"the Python of {self._host} ({self.python.executable}) does not serve for "
                    f"{payload.name}: {problem}"
                )
        self._storage.require_programs(payload.name)
        if mode is not Mode.WHEELS:
            problem = self._fill_venv(payload, venv, request.on_message)
            if problem is None:
                return venv
            if mode is Mode.VENV:
                raise TargetError(
                    f"{self._host} cannot make a virtual environment for {payload.name}: {problem}"
                )
        facts = self._survey().facts
        if facts.libc is None:
            raise _Lacking(
                f"{self._host} does not report its C library, so that no wheel can be chosen: "
                f"install {payload.name} there by hand"
            )
        platform = wheels.Platform(arch=facts.arch, libc=facts.libc, python=self.python.version)
        return self._push_wheels(payload, pushed, platform, request)

    def _venv(self, path: str) -> Environment:
        return Environment(python=(f"{path}/bin/python",), how=Mode.VENV)

    def _unpacked(self, path: str) -> Environment:
        # The user's own site-packages must not shadow or repair what was pushed.
        variables = {"PYTHONPATH": path, "PYTHONNOUSERSITE": "1"}
        return Environment(python=(self.python.executable,), env=variables, how=Mode.WHEELS)

    def _fill_venv(
        self, payload: Payload, environment: Environment, on_message: OnMessage
    ) -> str | None:
        """Make a virtual environment with the target's own pip; return the error, if any."""
        if not self.python.venv:
            return "its Python lacks venv or ensurepip (on Debian: apt-get install python3-venv)"
        on_message(f"installing {payload.name} on {self._host}")
        path = _folder_of(environment)
        make = (self.python.executable, "-m", "venv", "--clear", path)
        pip = (
            *(*environment.python, "-m", "pip", "install", "--quiet", "--no-input"),
            *("--disable-pip-version-check", "--only-binary=:all:", "--retries=1", "--timeout=10"),
        )
        fill = (*pip, "--no-deps", *payload.requirements)
        result = self._transport.run(make, timeout_s=_VENV_SECS)
        if not result.exit_code:
            result = self._transport.run(fill, timeout_s=_PIP_SECS)
            if b"No matching distribution" in result.stderr and self._brings_old_pip:
                # It knows no wheels of ARM: their platform tags are of 2019 and 2020.
                newer = (*pip, "--upgrade", f"pip>={_ARM_PIP}")
                if not self._transport.run(newer, timeout_s=_PIP_SECS).exit_code:
                    result = self._transport.run(fill, timeout_s=_PIP_SECS)
        if result.exit_code:
            remote_root.discard(self._transport, path)
            return wheels.complaint(result.stderr)
        problem = self._missing(payload, environment)
        if problem:
            remote_root.discard(self._transport, path)
            return problem
        remote_root.mark_ready(self._transport, path)
        return None

    @property
    def _brings_old_pip(self) -> bool:
        version = tuple(int(part) for part in self.python.version.split(".")[:2])
        return version < _FIRST_WITH_ARM_PIP

    # --- with one that we bring ------------------------------------------------------------------

    def _self_contained(self, request: Request) -> Environment:
        machine = self._survey().machine
        own = interpreter_for(machine)
        if own is None:
            raise MissingRuntimeError(
                f"there is no self-contained payload for {machine} ({self._host}), only for "
                "aarch64 and armv7l: install Python there, and leave --payload out"
            )
        facts = self._survey().facts.model_copy(
            update={"arch": own.arch, "python": PYTHON, "libc": LIBC}
        )
        payload = _with_provided(_payload(request.payload_of, facts), own)
        return self._once(
            payload, Mode.SELF_CONTAINED, lambda: self._brought(payload, request, own)
        )

    def _brought(self, payload: Payload, request: Request, own: OwnInterpreter) -> Environment:
        self._storage.require_programs(payload.name)
        argv = self._bring(own, request)
        key = environment_key(payload, f"self-contained {own.key}")
        path = f"{self._storage.root}/environments/{key}-self-contained"
        platform = wheels.Platform(arch=own.arch, libc=LIBC, python=PYTHON)
        environment = Environment(
            python=argv,
            env={"PYTHONPATH": path, "PYTHONNOUSERSITE": "1"},
            how=Mode.SELF_CONTAINED,
        )
        if path in remote_root.ready_among(self._transport, [path]):
            self._storage.count_present()
            return environment
        return self._push_wheels(payload, environment, platform, request, own=own)

    def _bring(self, own: OwnInterpreter, request: Request) -> tuple[str, ...]:
        """Make sure that our Python lies on the target and runs there; its argv."""
        path = f"{self._storage.root}/interpreters/{own.arch}-{own.key}"
        argv = own.argv(path)
        if path in remote_root.ready_among(self._transport, [path]):
            self._storage.count_present()
            return argv
        request.on_message(f"making a Python for {own.arch}, once")
        packed = own.bundle()
        request.on_message(f"pushing Python {PYTHON} for {own.arch} ({_megabytes(packed)})")
        remote = self._storage.push_bundle(
            packed,
            unpacked_bytes=bundle.unpacked_bytes(packed),
            on_progress=request.on_progress,
        )
        request.on_message(f"unpacking Python {PYTHON} on {self._host}")
        if remote_root.reads_gzip(self._transport):
            unpacker: tuple[str, ...] = ("tar", "-xzf")
        else:
            request.on_message(f"{self._host} has no tar that reads gzip: a busybox follows")
            unpacker = (self._storage.install(own.busybox()), "tar", "-xzf")
        remote_root.unpack(self._transport, remote, path, unpacker, timeout_s=_UNPACK_SECS)
        result = self._transport.run((*argv, "-c", "import lzma, json"), timeout_s=_PROOF_SECS)
        if result.exit_code:
            remote_root.discard(self._transport, path)
            raise TargetError(
                f"our own Python does not run on {self._host}: {result.complaint}; set "
                "SHUFFLENET_DEPLOY_ROOT to a folder from which programs may be started"
            )
        remote_root.mark_ready(self._transport, path)
        return argv

    # --- for both --------------------------------------------------------------------------------

    def _push_wheels(
        self,
        payload: Payload,
        environment: Environment,
        platform: wheels.Platform,
        request: Request,
        own: OwnInterpreter | None = None,
    ) -> Environment:
        path = _folder_of(environment)
        request.on_message(f"fetching {payload.name} for {platform}")
        try:
            brought = own.provides if own else {}
            wanted = [text for text in payload.requirements if name_of(text) not in brought]
            packed = wheels.bundle(wanted, platform, lean=own is not None)
        except TargetError as error:
            raise _Unfit(str(error)) from error
        request.on_message(f"pushing {payload.name} to {self._host} ({_megabytes(packed)})")
        remote = self._storage.push_bundle(
            packed,
            unpacked_bytes=bundle.unpacked_bytes(packed),
            on_progress=request.on_progress,
        )
        request.on_message(f"unpacking {payload.name} on {self._host}")
        unpacker = (*environment.python, "-m", "tarfile", "-e")
        remote_root.unpack(self._transport, remote, path, unpacker, timeout_s=_UNPACK_SECS)
        problem = self._missing(payload, environment)
        if problem:
            remote_root.discard(self._transport, path)
            raise _Unfit(
                f"{payload.name} was pushed to {self._host} but does not work there: {problem}"
            )
        remote_root.mark_ready(self._transport, path)
        size_bytes = packed.stat().st_size + (own.bundle().stat().st_size if own else 0)
        return replace(environment, size_bytes=size_bytes)

    def _missing(self, payload: Payload, environment: Environment) -> str | None:
        argv = (*environment.python, "-c", PROOF_PROGRAM, proof_argument(payload))
        variables = {**payload.env, **environment.env}
        result = self._transport.run(argv, env=variables, timeout_s=_PROOF_SECS)
        if result.exit_code:
            return result.complaint
        return missing_from(payload, result.text)


def _as_installed(payload: Payload, environment: Environment, text: str) -> ProvisioningPlan:
    with_variables = replace(environment, env={**payload.env, **environment.env})
    return ProvisioningPlan(how=environment.how, text=text, installed=with_variables)


def _last_resort(own: OwnInterpreter | None, why: str) -> ProvisioningPlan:
    if own is None:
        return ProvisioningPlan(how=None, text=why)
    return ProvisioningPlan(how=Mode.SELF_CONTAINED, text=f"a Python of our own is pushed ({why})")


@dataclass(frozen=True, kw_only=True)
class _Pins:
    """A payload of our own; see ``environment.Payload``."""

    name: str
    requirements: tuple[str, ...]
    imports: tuple[str, ...]
    env: Mapping[str, str]
    companions: Mapping[str, Callable[[], Path]]


def _payload(payload_of: PayloadOf, facts: TargetFacts) -> Payload:
    try:
        return payload_of(facts)
    except MissingRuntimeError as error:
        raise _Lacking(str(error)) from error
    except TargetError as error:
        raise _Unfit(str(error)) from error


def _with_provided(payload: Payload, own: OwnInterpreter) -> Payload:
    """The same, with the versions of what our Python brings itself."""
    requirements = (
        f"{name}=={own.provides[name]}" if (name := name_of(text)) in own.provides else text
        for text in payload.requirements
    )
    return _Pins(
        name=payload.name,
        requirements=tuple(requirements),
        imports=payload.imports,
        env=payload.env,
        companions=payload.companions,
    )


def _folder_of(environment: Environment) -> str:
    path = environment.env.get("PYTHONPATH")
    return path or environment.python[0].removesuffix("/bin/python")


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"
