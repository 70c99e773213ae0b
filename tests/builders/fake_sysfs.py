"""A /sys/devices/system/cpu of our own, mounted over the real one in a mount namespace.

Whoever runs ``inside`` sees its cores, governors and frequencies; nobody else does.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

GOVERNORS = "conservative ondemand userspace powersave performance schedutil"

_ENTER = 'mount --bind "$1" /sys/devices/system/cpu || exit 9; shift; exec "$@"'
_ENTER_READ_ONLY = (
    'mount --bind "$1" /sys/devices/system/cpu && '
    'mount -o remount,bind,ro "$1" /sys/devices/system/cpu || exit 9; shift; exec "$@"'
)


@dataclass(frozen=True)
class Cpus:
    """The folder of a tree of cores."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, *max_khz: int, governor: str = "ondemand") -> Cpus:
        """One core per maximum frequency, each free to run from 600 MHz to it."""
        folder.mkdir()
        for index, khz in enumerate(max_khz):
            place = folder / f"cpu{index}" / "cpufreq"
            place.mkdir(parents=True)
            for name, value in {
                "scaling_governor": governor,
                "scaling_available_governors": GOVERNORS,
                "scaling_driver": "cpufreq-dt",
                "cpuinfo_min_freq": 600000,
                "cpuinfo_max_freq": khz,
                "scaling_min_freq": 600000,
                "scaling_max_freq": khz,
                "scaling_cur_freq": khz,
            }.items():
                (place / name).write_text(f"{value}\n")
        return cls(folder)

    def set(self, name: str, value: object, core: int = 0) -> None:
        """Change one file of one core."""
        (self.folder / f"cpu{core}" / "cpufreq" / name).write_text(f"{value}\n")

    @property
    def governors(self) -> list[str]:
        """The state of each core at this moment."""
        files = sorted(self.folder.glob("cpu*/cpufreq/scaling_governor"))
        return [file.read_text().strip() for file in files]

    def inside(self, *, read_only: bool = False) -> tuple[str, ...]:
        """An argv that executes the one behind it where this tree is the machine's."""
        rights = "-m" if os.geteuid() == 0 else "-rm"
        script = _ENTER_READ_ONLY if read_only else _ENTER
        return ("unshare", rights, "sh", "-c", script, "sh", str(self.folder))
