"""A system for ARM in folders, in which the runtimes of Python are counted under QEMU.

Debian's Python and the libraries under it, unpacked and never installed; beside it the very wheels
of a runtime that a board with this system would get, and the agent that measures there.
"""

from __future__ import annotations

import hashlib
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shufflenet_deploy import debian_packages
from shufflenet_deploy import runtime as runtimes
from shufflenet_deploy.atomic_files import resource, sha256_file
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.predict.compiling import cache_folder
from shufflenet_deploy.predict.counting import Execution
from shufflenet_deploy.predict.plugin import OPENMP_BY_TURNS, openmp_by_turns
from shufflenet_deploy.records import Artifact, BenchmarkSpec, RuntimeSpec, TargetFacts
from shufflenet_deploy.runtime import Runtime
from shufflenet_deploy.runtime.agent_file import FILE_NAME, agent_sha256, write_agent
from shufflenet_deploy.target import wheels

_PYTHON = "3.11"
_LIBC = "glibc 2.36"
#: What Python and wheels load, with nothing that only an installed system needs.
_PACKAGES = (
    *("libc6", "libgcc-s1", "libstdc++6", "libgomp1", "zlib1g", "libffi8", "libexpat1"),
    *("liblzma5", "libbz2-1.0", "libssl3", "libuuid1"),
    *(f"python{_PYTHON}-minimal", f"libpython{_PYTHON}-minimal", f"libpython{_PYTHON}-stdlib"),
)
_SITE = "site"
_SYSTEM = "system"
#: What runs there, and the system call (``getppid``) that it makes before and after an inference:
#: Python itself reads the clock at every turn.
_DRIVER = "counted_inferences.py"
_MARKER = 173
_SPEC = BenchmarkSpec(threads=1)
#: Hashes decide the order of sets, and no byte code is written into folders that are kept.
_ENVIRONMENT = {
    "PYTHONPATH": f"{FILE_NAME}:{_SITE}",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def execution(
    artifact: Artifact,
    runtime: Runtime,
    *,
    threads: int = 1,
    on_stage: Callable[[str], None] = lambda _: None,
) -> tuple[Execution, str]:
    """How an exported file is counted in a runtime of Python, and the release of that runtime.

    The system and the wheels are fetched unless they were before.

    Raises:
        TargetError: the runtime has no wheel for this system.
        ExportError: what it needs besides cannot be compiled.
        DeployError: Debian's or Python's archive cannot be reached.
    """
    payload = runtime.payload(_facts())
    system = _system(on_stage)
    site = _site(payload.requirements, on_stage)
    agent, identity = _agent()
    driver = resource("device_scripts", _DRIVER)
    model = f"model{artifact.path.suffix}"
    shim = {OPENMP_BY_TURNS: openmp_by_turns()} if threads > 1 else {}
    brought = {variable: make() for variable, make in payload.companions.items()}
    interpreter = (f"{_SYSTEM}/usr/bin/python{_PYTHON}", "-S")
    counted = Execution(
        title=f"{artifact.path.name} in {runtime.name}",
        argv=(*interpreter, _DRIVER, RuntimeSpec.parse(runtime.name).name, model, str(threads)),
        files={
            _SYSTEM: system,
            _SITE: site,
            FILE_NAME: agent,
            _DRIVER: driver,
            model: artifact.path,
            **shim,
            **{path.name: path for path in brought.values()},
        },
        sha256=" ".join(
            [
                *(artifact.sha256, identity, sha256_file(driver), site.name, system.name),
                *(path.name for path in (*shim.values(), *brought.values())),
            ]
        ),
        marker=_MARKER,
        environment={
            **runtime.environment(_SPEC),
            **payload.env,
            **{variable: f"./{path.name}" for variable, path in brought.items()},
            **_ENVIRONMENT,
        },
        root=system,
        threads=threads,
        preloaded="".join(shim),
    )
    return counted, payload.requirements[0].partition("==")[2]


def require_followed(runtime: Runtime, threads: int) -> None:
    """Refuse threads that cannot be told apart.

    Raises:
        UsageError: the runtime starts threads of its own.
    """
    if threads > 1 and not runtime.uses_openmp:
        others = [name for name in runtimes.names() if runtimes.get(name).uses_openmp]
        raise UsageError(
            f"--threads {threads}: {runtime.name} divides its work among threads of its own while"
            " it runs, which cannot be followed: choose native,"
            f" {', '.join(others)}, or one thread"
        )


def _agent() -> tuple[Path, str]:
    """The agent's file among what is kept, and its sha256."""
    identity = agent_sha256()
    folder = cache_folder("agents") / identity[:16]
    if not (folder / FILE_NAME).exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_agent(folder)
    return folder / FILE_NAME, identity


def _facts() -> TargetFacts:
    """The system as a target, as far as the choice of a runtime's release goes."""
    return TargetFacts(
        host="a predicted board",
        transport="none",
        arch="aarch64",
        os="Debian",
        kernel="",
        cpu="",
        cores=(),
        libc=_LIBC,
        python=_PYTHON,
    )


def _system(on_stage: Callable[[str], None]) -> Path:
    key = hashlib.sha256(" ".join((debian_packages.SUITE, *_PACKAGES)).encode()).hexdigest()
    folder = cache_folder("systems") / f"{debian_packages.SUITE}-{key[:16]}"
    if folder.exists():
        return folder
    on_stage("fetching Debian's Python for ARM")
    with _made(folder) as (made, scratch):
        apt = debian_packages.Apt(scratch / "apt", "arm64")
        apt.update()
        packages = [one for one in apt.resolve(sorted(_PACKAGES)) if one.name in _PACKAGES]
        for deb in apt.fetch(packages):
            debian_packages.unpack(deb, made)
    return folder


def _site(requirements: tuple[str, ...], on_stage: Callable[[str], None]) -> Path:
    platform = wheels.Platform(arch="aarch64", libc=_LIBC, python=_PYTHON)
    key = hashlib.sha256(f"{' '.join(sorted(requirements))} {platform}".encode()).hexdigest()
    folder = cache_folder("sites") / key[:16]
    if folder.exists():
        return folder
    on_stage(f"fetching {', '.join(requirements)} for ARM")
    with _made(folder) as (made, _):
        packed = wheels.bundle(requirements, platform)
        with tarfile.open(packed) as archive:
            archive.extractall(made, filter="data")
    return folder


@contextmanager
def _made(folder: Path) -> Iterator[tuple[Path, Path]]:
    """A folder that appears whole: what is yielded first becomes it, the second is thrown away.

    Raises:
        UsageError: nothing can be written there.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as name:
            made, scratch = Path(name) / "made", Path(name) / "scratch"
            made.mkdir()
            scratch.mkdir()
            yield made, scratch
            if not folder.exists():
                made.rename(folder)
    except OSError as error:
        if not folder.exists():
            raise UsageError(f"cannot write to {folder.parent}: {error.strerror}") from error
