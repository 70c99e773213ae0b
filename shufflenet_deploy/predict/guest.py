"""The runtimes in Python under QEMU: the same interpreter, wheels and agent that boards get."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
from pathlib import Path

from shufflenet_deploy import runtime
from shufflenet_deploy.files import resource, sha256_file
from shufflenet_deploy.predict.counting import Execution
from shufflenet_deploy.predict.plugin import cache_folder
from shufflenet_deploy.records import Artifact, BenchmarkSpec, TargetFacts
from shufflenet_deploy.target.interpreter import INTERPRETERS, LIBC, PYTHON
from shufflenet_deploy.target.wheels import Platform, bundle

_ARCH = "aarch64"
#: One inference to fill the caches, one more, and those that count.
_SPEC = BenchmarkSpec(
    warmup_runs=1, warmup_secs=0, min_runs=2, min_secs=0, max_secs=3600, processes=1
)


def in_runtime(name: str, artifact: Artifact) -> tuple[Execution, str]:
    """How a file is counted in a runtime, and the release of it that is used.

    Raises:
        TargetError: the interpreter or the wheels cannot be fetched.
        UsageError: there is no such runtime.
    """
    chosen = runtime.get(name)
    payload = chosen.payload(_facts())
    interpreter = INTERPRETERS[_ARCH]
    python = _unpacked(interpreter.bundle())
    wheels = _unpacked(
        bundle(payload.requirements, Platform(arch=_ARCH, libc=LIBC, python=PYTHON), lean=True)
    )
    agent = resource("device_scripts", "agent.py")
    model = f"model{artifact.path.suffix}"
    argv = chosen.command(
        python=interpreter.argv("python"), agent="agent.py", model=model, spec=_SPEC
    )
    decides = [artifact.sha256, interpreter.key, *sorted(payload.requirements), sha256_file(agent)]
    environment = {
        **payload.env,
        **chosen.environment(_SPEC),
        "PYTHONPATH": "site",
        "PYTHONHASHSEED": "0",
    }
    release = next(one for one in payload.requirements if not one.startswith("numpy"))
    execution = Execution(
        title=f"{artifact.path.name} in {name}",
        argv=argv,
        files={"python": python, "site": wheels, "agent.py": agent, model: artifact.path},
        sha256=hashlib.sha256("\n".join(decides).encode()).hexdigest(),
        environment=environment,
    )
    return execution, release.partition("==")[2]


def _facts() -> TargetFacts:
    return TargetFacts(
        host="qemu-aarch64",
        transport="local",
        arch=_ARCH,
        os="Debian",
        kernel="",
        cpu=_ARCH,
        cores=(),
        libc=LIBC,
        python=PYTHON,
    )


def _unpacked(archive: Path) -> Path:
    """The files of a bundle of ours, unpacked once and kept."""
    folder = cache_folder("unpacked") / archive.name.partition(".tar")[0]
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent))
        try:
            with tarfile.open(archive) as members:
                members.extractall(made, filter="data")
            made.rename(folder)
        except FileExistsError:
            pass
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return folder
