"""The results of a run of ``compare_runtimes``: one record per model, resolution and machine, kept as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from shufflenet_deploy.atomic_files import write_whole
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export.parity import sqnr_db
from shufflenet_deploy.records import Record, ResolutionText

#: The machine that the script itself runs on; other names are those of virtual cores.
HERE = "here"

#: Computes nothing but multiply-adds; see ``peak_fma.c``.
PEAK = "peak"

#: The type of files that are computed in fp16 or bf16.
HALVES = "16-bit"

#: Below this many dB a peer computes something else than PyTorch; int8 is judged by its export.
LEAST_SQNR_DB = {"fp32": 60.0, HALVES: 20.0, "int8": 2.0, PEAK: 0.0}

Scores = Sequence[NDArray[np.floating]]


class PeerError(Exception):
    """A peer cannot be installed, converted or run."""


class Outcome(Record):
    """A peer's turns, in ns or instructions per inference, and how it answers; or why there is none.

    ``sqnr_db`` is the worst of the pictures, ``agreement`` the share of them with PyTorch's class.
    ``turns_repeated`` were taken again because something else had the core.
    """

    name: str
    precision: str
    engine: str
    version: str = ""
    note: str = ""
    sqnr_db: float = 0.0
    agreement: float = 0.0
    turns: tuple[tuple[int, ...], ...] = ()
    turns_repeated: int = 0
    problem: str = ""

    def failed(self, error: Exception) -> Outcome:
        """The same with why there is nothing to measure, but not what to choose instead."""
        said = str(error).splitlines()[0].partition(": choose ")[0]
        return self.model_copy(update={"problem": said})

    @property
    def wrong(self) -> bool:
        """True if its logits are too far from PyTorch's to be called the same network."""
        return self.sqnr_db < LEAST_SQNR_DB[self.precision]

    @property
    def comparable(self) -> bool:
        """True if it was measured and computes the network."""
        return bool(self.turns) and not self.wrong and self.precision != PEAK


class Result(Record):
    """All peers on one network; ``machine`` is ``HERE`` or a core of the virtual board.

    ``platform`` describes the machine in words, ``load_1min`` is its load before and after.
    """

    model: str
    title: str
    resolution: ResolutionText
    machine: str
    platform: str
    at: datetime
    multiply_adds: int
    load_1min: tuple[float, float] | None = None
    outcomes: tuple[Outcome, ...]

    def outcome(self, name: str) -> Outcome | None:
        """The peer of this name, if it was measured."""
        return next((one for one in self.outcomes if one.name == name and one.turns), None)

    def measured(self, precision: str) -> list[Outcome]:
        """The peers with turns in a precision."""
        return [one for one in self.outcomes if one.turns and one.precision == precision]


def judged(outcome: Outcome, version: str, wanted: Scores, got: Scores) -> Outcome:
    """The same, with how far its scores are from PyTorch's.

    Raises:
        PeerError: they are no scores, or not of the same classes.
    """
    if any(a.size != b.size for a, b in zip(wanted, got, strict=True)):
        raise PeerError(f"{got[0].size} scores where PyTorch has {wanted[0].size}")
    if not all(np.isfinite(scores).all() for scores in got):
        raise PeerError("its scores are not numbers")
    pairs = list(zip(wanted, got, strict=True))
    return outcome.model_copy(
        update={
            "version": version,
            "sqnr_db": min(sqnr_db(a, b) for a, b in pairs),
            "agreement": float(np.mean([a.argmax() == b.argmax() for a, b in pairs])),
        }
    )


def path_of(folder: Path, machine: str, model: str, resolution: object) -> Path:
    """The path of a result."""
    return folder / "results" / f"{model}-{resolution}-{machine}.json"


def keep(folder: Path, result: Result) -> None:
    """Write a result, with what an earlier run of the same machine found of other peers gone."""
    path = path_of(folder, result.machine, result.model, result.resolution)
    write_whole(path, result.model_dump_json(indent=1) + "\n")


def kept(folder: Path) -> list[Result]:
    """Every result in a folder by machine, small pictures and networks before large ones.

    Raises:
        UsageError: there is none, or a file is not one.
    """
    paths = sorted((folder / "results").glob("*.json"))
    if not paths:
        raise UsageError(f"no results in {folder}: measure first, without --page")
    found = []
    for path in paths:
        try:
            found.append(Result.model_validate_json(path.read_bytes()))
        except ValidationError as error:
            raise UsageError(f"{path} is not a result of this version: delete it") from error
    return sorted(found, key=lambda one: (one.machine, one.resolution.pixels, one.multiply_adds))
