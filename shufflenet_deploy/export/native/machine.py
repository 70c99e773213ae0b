"""The processors that code is generated for: vector width, registers, and how to compile for them.

The C that comes out compiles anywhere GNU C does; the machine only decides how many pixels one
vector holds and how large the register blocks are.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

from shufflenet_deploy.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One kind of core.

    ``lanes`` is floats in a vector, ``registers`` the vector registers there are. ``by_lane``
    says that a multiply-add takes one lane of a register as its factor (NEON); elsewhere the
    factor is broadcast from memory. ``dot`` says that four 8-bit products are summed by one
    instruction. ``flags`` are for gcc and clang, ``zig`` for ``zig cc`` (cross-compiling).
    """

    name: str
    arch: str
    lanes: int
    registers: int
    by_lane: bool = False
    dot: bool = False
    flags: tuple[str, ...] = ()
    zig: tuple[str, ...] = ()

    @property
    def bytes_per_vector(self) -> int:
        """Bytes in one vector of floats."""
        return 4 * self.lanes


def _arm(name: str, cpu: str, *, dot: bool) -> Machine:
    return Machine(
        name=name,
        arch="aarch64",
        lanes=4,
        registers=32,
        by_lane=True,
        dot=dot,
        flags=(f"-mcpu={cpu.replace('_', '-')}",),
        zig=("-target", "aarch64-linux-musl", f"-mcpu={cpu}"),
    )


def _x86(name: str, march: str, lanes: int, registers: int) -> Machine:
    return Machine(
        name=name,
        arch="x86_64",
        lanes=lanes,
        registers=registers,
        flags=(f"-march={march}",),
        zig=("-target", "x86_64-linux-musl", f"-mcpu={march.replace('-', '_')}"),
    )


MACHINES = {
    machine.name: machine
    for machine in (
        _arm("aarch64", "generic", dot=False),
        _arm("cortex-a53", "cortex_a53", dot=False),
        _arm("cortex-a72", "cortex_a72", dot=False),
        _arm("cortex-a76", "cortex_a76", dot=True),
        _x86("x86-64", "x86-64", 4, 16),
        _x86("x86-64-v3", "x86-64-v3", 8, 16),
        _x86("x86-64-v4", "x86-64-v4", 16, 32),
    )
}


def machine(name: str) -> Machine:
    """A machine by its name; ``host`` is the one this program runs on.

    Raises:
        UsageError: there is no such machine.
    """
    if name == "host":
        return host()
    if name not in MACHINES:
        raise UsageError(f"unknown machine '{name}': choose host, {', '.join(MACHINES)}")
    return MACHINES[name]


def host() -> Machine:
    """The machine this program runs on, by the features that Linux reports."""
    features = _features()
    if platform.machine() in {"aarch64", "arm64"}:
        return MACHINES["cortex-a76" if "asimddp" in features else "aarch64"]
    if {"avx512f", "avx512vl", "avx512bw", "avx512dq"} <= features:
        return MACHINES["x86-64-v4"]
    if {"avx2", "fma"} <= features:
        return MACHINES["x86-64-v3"]
    return MACHINES["x86-64"]


def _features() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return set()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in {"flags", "features"}:
            return set(value.split())
    return set()
