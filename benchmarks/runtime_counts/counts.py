"""Counts by network, runtime and precision, each kept in a file as soon as it is known."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from runtime_counts.networks import Network

NATIVE = "native"
#: By precision, ours first. ncnn computes in no int8 of a file's own.
RUNTIMES = {
    "fp32": (NATIVE, "litert", "onnxruntime", "mnn", "ncnn"),
    "int8": (NATIVE, "litert", "onnxruntime", "mnn"),
}
PRECISIONS = tuple(RUNTIMES)
#: Multiply-adds of one instruction: FMLA of four floats, SDOT of sixteen bytes.
_AT_ONCE = {"fp32": 4, "int8": 16}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The count of one network in one runtime."""

    network: str
    runtime: str
    precision: str
    resolution: str
    version: str
    instructions: int
    multiply_adds: int

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What it is the count of; a later one replaces an earlier one."""
        return self.network, self.runtime, self.precision, self.resolution

    @property
    def share_of_least(self) -> float:
        """The least possible multiply-add instructions over all that were executed."""
        return self.multiply_adds / _AT_ONCE[self.precision] / self.instructions


class Counted:
    """The counts at one size of images, in a file that one line is appended to for each."""

    def __init__(self, path: Path, side: int) -> None:
        self._path = path
        self.resolution = f"{side}x{side}"
        self._known: dict[tuple[str, str, str, str], Cell] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            cell = Cell(**json.loads(line))
            self._known[cell.key] = cell

    def add(self, cell: Cell) -> None:
        """Keep a count at once."""
        if self._known.get(cell.key) == cell:
            return
        self._known[cell.key] = cell
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(cell)) + "\n")

    def get(self, network: Network, runtime: str, precision: str) -> Cell | None:
        """The count of a network, None while there is none."""
        return self._known.get((network.name, runtime, precision, self.resolution))

    def of(self, network: Network, precision: str) -> dict[str, Cell]:
        """The counts of a network by runtime, ours first."""
        cells = {one: self.get(network, one, precision) for one in RUNTIMES[precision]}
        return {name: cell for name, cell in cells.items() if cell}

    @property
    def versions(self) -> dict[str, str]:
        """The release of each other runtime."""
        return {
            cell.runtime: cell.version
            for cell in self._known.values()
            if cell.version and cell.runtime != NATIVE
        }


def ratio(cells: dict[str, Cell]) -> float | None:
    """Our instructions over those of the best of the others; None where either is missing."""
    others = [cell.instructions for name, cell in cells.items() if name != NATIVE]
    if NATIVE not in cells or not others:
        return None
    return cells[NATIVE].instructions / min(others)
