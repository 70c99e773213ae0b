"""The self-contained payload, run for real: aarch64 and 32-bit ARM under QEMU's user mode.

The target is this machine with an ARM kernel's name: programs started through the payload's own
loader run under ``qemu-aarch64`` or ``qemu-arm``, everything else runs as it is. A model on 64-bit
ARM runs on the virtual phone, see ``e2e/board/test_android.py``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from shufflenet_deploy import export, runtime
from shufflenet_deploy.errors import TargetError
from shufflenet_deploy.export import ExportRequest
from shufflenet_deploy.records import BenchmarkSpec, Measurement
from shufflenet_deploy.runtime.agent_file import install_agent
from shufflenet_deploy.target import Mode, Target
from shufflenet_deploy.transport.local import LocalTransport

pytestmark = pytest.mark.timeout(600)

ONCE = BenchmarkSpec(warmup_runs=0, warmup_secs=0, min_runs=2, min_secs=0, max_secs=60, processes=1)
#: The most that a runtime may weigh on its way: interpreter and wheels, compressed.
LIMIT_BYTES = 25e6
MACHINES = {"aarch64": "qemu-aarch64", "armv7l": "qemu-arm"}

CPUINFO = """\
processor\t: 0
Features\t: fp asimd evtstrm crc32 cpuid neon vfpv4
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

"""


class Emulated(LocalTransport):
    """This machine with another name; ``prefix`` holds what ARM programs read of the kernel's."""

    def __init__(self, machine: str, prefix: Path) -> None:
        super().__init__()
        self.machine = machine
        self.prefix = prefix

    def run(self, argv, *, timeout_s=60.0, stdin=None, env=None):
        loader = next((n for n, word in enumerate(argv) if "/lib/ld-linux-a" in word), None)
        if loader is not None:
            emulator = [MACHINES[self.machine], "-L", str(self.prefix)]
            if self.machine == "aarch64":
                emulator += ["-cpu", "cortex-a72"]
            argv = [*argv[:loader], *emulator, *argv[loader:]]
        env = {**(env or {}), "PATH": f"{self.prefix}/bin:/usr/bin:/bin"}
        return super().run(argv, timeout_s=timeout_s * 4, stdin=stdin, env=env)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """Payloads are built here from nothing, once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def arm(tmp_path):
    """Makes targets: ``arm(machine)``."""

    def make(machine: str) -> Target:
        prefix = tmp_path / "prefix"
        cpus = prefix / "sys/devices/system/cpu"
        cpus.mkdir(parents=True)
        for name in ("possible", "present", "online"):
            (cpus / name).write_text("0\n")
        (prefix / "proc").mkdir()
        (prefix / "proc/cpuinfo").write_text(CPUINFO)
        (prefix / "bin").mkdir()
        (prefix / "bin/uname").write_text(
            f'#!/bin/sh\n[ "$1" = -m ] && echo {machine} || exec /bin/uname "$@"\n'
        )
        (prefix / "bin/uname").chmod(0o755)
        return Target(Emulated(machine, prefix), root=str(tmp_path / "target"))

    if missing := [name for name in MACHINES.values() if shutil.which(name) is None]:
        pytest.fail(f"these tests run ARM programs with {missing[0]}: apt-get install qemu-user")
    return make


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifacts")

    def exported(name: str) -> Path:
        return export.export(
            ExportRequest(model="shufflenet-g3-0.5x", format=name, resolution="64x64", out=folder)
        ).path

    return exported


def test_a_real_model_runs(arm, model):
    target = arm("armv7l")
    chosen = runtime.get("tflite-runtime")
    stages = []
    environment = target.environment(
        chosen.payload, mode=Mode.SELF_CONTAINED, on_stage=stages.append
    )
    assert environment.how is Mode.SELF_CONTAINED
    assert environment.size_bytes < LIMIT_BYTES
    assert any("pushing Python 3.11.2 for armv7l (" in stage for stage in stages)
    argv = chosen.command(
        python=environment.python,
        agent=install_agent(target.install),
        model=target.install(model(chosen.formats[0])),
        spec=ONCE,
    )
    done = target.invoke(argv, env={**environment.env, **chosen.environment(ONCE)}, timeout_s=120)
    report = chosen.parse(done.text)
    assert isinstance(report.outcome, Measurement), report.outcome
    assert len(report.outcome.samples) >= 2
    pushed = target.traffic.files_pushed
    with Target(target.transport, root=target.root) as again:
        same = again.environment(chosen.payload, mode=Mode.SELF_CONTAINED)
        assert same == environment
        assert again.traffic.files_pushed == 0
    assert pushed == 4
    assert target.clean().freed_bytes > 20e6
    assert not Path(target.root).exists()


def test_where_the_own_python_has_no_wheel_ours_is_brought(arm, tmp_path):
    """An interpreter for which no release exists is no reason to fail on ARM."""
    target = arm("aarch64")

    def payload(facts):
        if facts.arch != "aarch64" or facts.python != "3.11.2":
            raise TargetError(f"no wheel for Python {facts.python}")
        return runtime.get("litert").payload(facts)

    stages = []
    environment = target.environment(payload, on_stage=stages.append)
    assert environment.how is Mode.SELF_CONTAINED
    assert "no wheel for Python" in stages[0]


def test_an_architecture_without_a_payload_is_named(local_target):
    with pytest.raises(TargetError, match="only for aarch64 and armv7l: install Python there"):
        local_target.environment(runtime.get("litert").payload, mode=Mode.SELF_CONTAINED)
