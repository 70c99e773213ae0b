"""QEMU: the command line of a board, and starting it in the background."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, field_validator, model_validator

from shufflenet_deploy.board.initramfs import Image
from shufflenet_deploy.board.process import ProcessIdentity, identity_of
from shufflenet_deploy.errors import BoardError, UsageError
from shufflenet_deploy.programs import run_to_end
from shufflenet_deploy.records import Record, first_problem

QEMU = "qemu-system-aarch64"
#: The CPUs to choose from. a53 and a72 are Armv8.0; a76 (8.2) has int8 dot products, max
#: matrix products as well.
CPUS = ("cortex-a53", "cortex-a72", "cortex-a76", "max")
DEFAULT_CPU = "cortex-a72"
#: The CPU of a board that runs on the host's own aarch64 cores.
HOST_CPU = "host"
MAX_CPUS = 8  # of QEMU's second generation interrupt controller
MIN_MEMORY_MB = 512
#: A file of a board's folder that it reads as its one disk.
DISK = "disk"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$"

_START_TIMEOUT_SECS = 60.0
_PORT_ATTEMPTS = 20
_KVM = Path("/dev/kvm")


#: Options of other names than the fields they set.
_OPTIONS = {"memory_mb": "--memory", "lifetime_secs": "--lifetime"}


class BoardSettings(Record):
    """Settings of a board: all that the user of ``up`` can choose.

    A deterministic board counts: its clock advances one nanosecond per executed instruction.
    ``lifetime_secs`` is after how long it switches itself off (by its own clock), None for never.
    """

    name: str = Field(pattern=NAME_PATTERN)
    cpu: str = DEFAULT_CPU
    smp: int = Field(default=1, ge=1, le=MAX_CPUS)
    memory_mb: int = Field(default=2048, ge=MIN_MEMORY_MB)
    deterministic: bool = False
    lifetime_secs: int | None = Field(default=None, gt=0)

    @field_validator("cpu")
    @classmethod
    def _known_cpu(cls, cpu: str) -> str:
        if cpu not in (*CPUS, HOST_CPU):
            raise ValueError(f"unknown CPU {cpu}")
        return cpu

    @model_validator(mode="after")
    def _one_instruction_stream(self) -> Self:
        if self.deterministic and self.smp > 1:
            raise ValueError("a deterministic board has one CPU")
        if self.deterministic and self.cpu == HOST_CPU:
            raise ValueError("a deterministic board cannot run on the host's own CPU")
        return self

    @classmethod
    def choose(
        cls,
        *,
        name: str,
        cpu: str | None = None,
        smp: int = 1,
        memory_mb: int = 2048,
        deterministic: bool = False,
        lifetime_secs: int | None = None,
    ) -> Self:
        """Settings as a user types them; no ``cpu`` means the host's own where that can be.

        Raises:
            UsageError: they cannot be.
        """
        try:
            return cls(
                name=name,
                cpu=choose_cpu(cpu, deterministic=deterministic),
                smp=smp,
                memory_mb=memory_mb,
                deterministic=deterministic,
                lifetime_secs=lifetime_secs,
            )
        except ValidationError as error:
            field, _, problem = first_problem(error).partition(": ")
            if field == "name":
                problem = "letters, digits and . _ -, the first a letter or digit, 32 at most"
            option = _OPTIONS.get(field, f"--{field}")
            problem = problem.replace("Input should be", "must be")
            raise UsageError(f"{option}: {problem}" if problem else field) from error

    @property
    def emulated(self) -> bool:
        """True if QEMU translates the instructions, so that times on the board mean nothing."""
        return self.cpu != HOST_CPU

    @property
    def title(self) -> str:
        """The board in words, as it calls itself."""
        if not self.emulated:
            return "QEMU virtual machine"
        how = "counting instructions" if self.deterministic else "emulated"
        return f"QEMU {self.cpu}, {how}"


def choose_cpu(wanted: str | None, *, deterministic: bool) -> str:
    """The full name of a CPU: ``a72`` is ``cortex-a72``; by default the host's own where it can.

    Raises:
        UsageError: there is no such CPU.
    """
    if wanted is None:
        return HOST_CPU if kvm_usable() and not deterministic else DEFAULT_CPU
    for name in (*CPUS, HOST_CPU):
        if wanted.lower() in {name, name.removeprefix("cortex-")}:
            break
    else:
        raise UsageError(f"unknown CPU '{wanted}': choose one of {', '.join(CPUS)}")
    if name == HOST_CPU and not kvm_usable():
        raise UsageError("--cpu host needs an aarch64 host with a usable /dev/kvm")
    return name


def kvm_usable() -> bool:
    """Return True if this host can run aarch64 code under KVM."""
    return platform.machine() in {"aarch64", "arm64"} and os.access(_KVM, os.R_OK | os.W_OK)


def qemu_version() -> str:
    """The version of the installed QEMU.

    Raises:
        BoardError: it is not installed.
    """
    done = subprocess.run(
        (_qemu(), "--version"), capture_output=True, text=True, timeout=30, check=False
    )
    found = re.search(r"version (\d+(?:\.\d+)+)", done.stdout)
    return found[1] if found else "unknown"


def command(
    settings: BoardSettings, image: Image, *, initrd: Path, port: int, folder: Path
) -> list[str]:
    """The argv that starts a board in the background, its sshd reachable on a loopback port."""
    kernel_words = ["console=ttyAMA0", "quiet", "panic=-1", "mitigations=off"]
    accelerator = ["-accel", "tcg" if settings.emulated else "kvm"]
    if settings.deterministic:
        # One nanosecond of the guest's clock per instruction. An idle guest sleeps in real time:
        # leaping ahead instead would run sshd's and TCP's timers out in the middle of a push.
        accelerator += ["-icount", "shift=0,sleep=on", "-rtc", "base=utc,clock=vm"]
        # Whatever depends on chance or runs in the background moves the count.
        kernel_words += ["norandmaps", "nokaslr", "transparent_hugepage=never"]
    # The architecture's own pointer authentication is costly to emulate and measures nothing.
    cpu = "max,pauth-impdef=on" if settings.cpu == "max" else settings.cpu
    return [
        _qemu(),
        *("-M", "virt" if settings.emulated else "virt,gic-version=host"),
        *("-cpu", cpu),
        *("-smp", str(settings.smp)),
        *("-m", str(settings.memory_mb)),
        *accelerator,
        *("-nodefaults", "-no-user-config", "-no-reboot"),
        *("-display", "none"),
        *("-serial", f"file:{_escaped(folder / 'console.log')}"),
        *("-kernel", str(image.kernel)),
        *("-initrd", str(initrd)),
        *("-append", " ".join(kernel_words)),
        *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"),
        *("-device", "virtio-net-pci,netdev=net,romfile="),
        *("-device", "virtio-rng-pci"),
        *("-drive", f"file={_escaped(folder / DISK)},format=raw,readonly=on,if=none,id=disk"),
        *("-device", "virtio-blk-pci,drive=disk"),
        *("-pidfile", str(folder / "qemu.pid")),
        "-daemonize",
    ]


def start(
    settings: BoardSettings, image: Image, *, initrd: Path, folder: Path
) -> tuple[ProcessIdentity, int]:
    """Start QEMU in the background; return its process and the port that leads to the board's sshd.

    Another program may take a free port before QEMU binds it; then the next one is tried.

    Raises:
        BoardError: QEMU is missing or refused to start.
    """
    for _ in range(_PORT_ATTEMPTS):
        port = _free_port()
        argv = command(settings, image, initrd=initrd, port=port, folder=folder)
        late = f"{QEMU} did not start in {_START_TIMEOUT_SECS:.0f} s; is the host overloaded?"
        done = run_to_end(argv, limit_secs=_START_TIMEOUT_SECS, late=BoardError(late))
        if done.returncode == 0:
            return _started(folder), port
        if "host forwarding rule" not in done.stderr:
            raise BoardError(_refusal(settings, done.stderr))
    raise BoardError(f"no free port on 127.0.0.1 after {_PORT_ATTEMPTS} attempts")


def _started(folder: Path) -> ProcessIdentity:
    birth = identity_of(int((folder / "qemu.pid").read_text()))
    if birth is None:
        raise BoardError(f"{QEMU} ended as soon as it had started")
    return birth


def _refusal(settings: BoardSettings, stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()]
    reason = lines[-1] if lines else "no message"
    if "unable to find CPU model" in stderr:
        return (
            f"QEMU {qemu_version()} does not know {settings.cpu}; choose another --cpu, or install"
            " QEMU 7.1 or newer"
        )
    if "annot allocate memory" in stderr or "annot set up guest memory" in stderr:
        return f"the host has no {settings.memory_mb} MB for the board; choose a smaller --memory"
    return f"{QEMU} refused to start: {reason}"


def _qemu() -> str:
    found = shutil.which(QEMU)
    if found is None:
        raise BoardError(f"{QEMU} is not installed: run sudo apt-get install qemu-system-arm")
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _escaped(path: Path) -> str:
    """A path inside one of QEMU's option lists, where a comma separates."""
    return str(path).replace(",", ",,")
