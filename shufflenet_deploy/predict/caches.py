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


def describe_machine(root: Path, midr: int, caches: Caches) -> None:
    """Files of a kernel under ``root``, for ``qemu-aarch64 -L``: one core, its name and its caches.

    Runtimes choose their kernels by these; without them they would read the host's.
    """
    cpus = root / "sys/devices/system/cpu"
    files = {f"{name}": "0" for name in ("possible", "present", "online")}
    files["cpu0/regs/identification/midr_el1"] = f"{midr:#018x}"
    for index, (level, one) in enumerate((number + 1, one) for number, one in enumerate(caches)):
        folder = f"cpu0/cache/index{index}"
        files |= {
            f"{folder}/level": str(level),
            f"{folder}/type": "Data" if level == 1 else "Unified",
            f"{folder}/size": f"{one.kib}K",
            f"{folder}/ways_of_associativity": str(one.ways),
            f"{folder}/number_of_sets": str(one.sets),
            f"{folder}/coherency_line_size": str(LINE_BYTES),
            f"{folder}/shared_cpu_list": "0",
        }
    for name, text in files.items():
        path = cpus / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n", encoding="ascii")
    implementer, variant = midr >> 24 & 0xFF, midr >> 20 & 0xF
    part, revision = midr >> 4 & 0xFFF, midr & 0xF
    (root / "proc").mkdir(parents=True, exist_ok=True)
    (root / "proc/cpuinfo").write_text(
        f"processor\t: 0\nCPU implementer\t: {implementer:#04x}\nCPU architecture: 8\n"
        f"CPU variant\t: {variant:#x}\nCPU part\t: {part:#05x}\nCPU revision\t: {revision}\n\n",
        encoding="ascii",
    )
