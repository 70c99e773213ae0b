"""Data caches of a core, as the plugin simulates them and as programs read them from the kernel."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from shufflenet_deploy.records import Record

LINE_BYTES = 64


class Replacement(StrEnum):
    """The replacement policy: the line of a set that makes room."""

    LRU = "lru"
    RANDOM = "random"


class Cache(Record):
    """One level: its size, associativity and replacement."""

    kib: int = Field(gt=0, le=1 << 16)
    ways: int = Field(gt=0, le=64)
    replacement: Replacement

    @property
    def sets(self) -> int:
        """Sets of ``ways`` lines."""
        return self.kib * 1024 // LINE_BYTES // self.ways

    @model_validator(mode="after")
    def _whole_sets(self) -> Self:
        if self.sets * self.ways * LINE_BYTES != self.kib * 1024:
            raise ValueError(f"{self.kib} KiB are no whole number of sets of {self.ways} lines")
        return self


Caches = tuple[Cache, ...]


def specification(caches: Caches) -> str:
    """The levels as ``plugin.c`` takes them."""
    return "+".join(f"{one.sets}x{one.ways}x{one.replacement.value}" for one in caches)


def describe_machine(root: Path, midr: int, caches: Caches, cores: int = 1) -> None:
    """Files of a kernel under ``root``, for ``qemu-aarch64 -L``: cores, their name and caches.

    The last level is shared by all cores, every other is of one. Runtimes choose their kernels by
    these; without them they would read the host's.
    """
    cpus = root / "sys/devices/system/cpu"
    every = "0" if cores == 1 else f"0-{cores - 1}"
    files = {f"{name}": every for name in ("possible", "present", "online")}
    for cpu in range(cores):
        files |= _core_files(cpu, midr, caches, every)
    for name, text in files.items():
        path = cpus / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n", encoding="ascii")
    implementer, variant = midr >> 24 & 0xFF, midr >> 20 & 0xF
    part, revision = midr >> 4 & 0xFFF, midr & 0xF
    (root / "proc").mkdir(parents=True, exist_ok=True)
    (root / "proc/cpuinfo").write_text(
        "".join(
            f"processor\t: {cpu}\nCPU implementer\t: {implementer:#04x}\nCPU architecture: 8\n"
            f"CPU variant\t: {variant:#x}\nCPU part\t: {part:#05x}\nCPU revision\t: {revision}\n\n"
            for cpu in range(cores)
        ),
        encoding="ascii",
    )


def _core_files(cpu: int, midr: int, caches: Caches, every: str) -> dict[str, str]:
    files = {f"cpu{cpu}/regs/identification/midr_el1": f"{midr:#018x}"}
    for index, one in enumerate(caches):
        folder, level = f"cpu{cpu}/cache/index{index}", index + 1
        files |= {
            f"{folder}/level": str(level),
            f"{folder}/type": "Data" if level == 1 else "Unified",
            f"{folder}/size": f"{one.kib}K",
            f"{folder}/ways_of_associativity": str(one.ways),
            f"{folder}/number_of_sets": str(one.sets),
            f"{folder}/coherency_line_size": str(LINE_BYTES),
            f"{folder}/shared_cpu_list": every if level == len(caches) else str(cpu),
        }
    return files
