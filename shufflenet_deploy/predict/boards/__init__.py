"""Boards as cards: one TOML file each, every figure with its source or the word ``guessed``.

    board("raspberry-pi-4"), board("rk3399-big@2.0"), board_of_core("cortex-a53@1.4")

``@GHZ`` is another clock than the card's; latencies of caches, which are in the clock domain of the
core, change with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, field_validator, model_validator

from shufflenet_deploy.atomic_files import read_toml
from shufflenet_deploy.cores import Core, core
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.names import Line
from shufflenet_deploy.predict.caches import Caches
from shufflenet_deploy.predict.latency import Memory
from shufflenet_deploy.records import Record, first_problem

GUESSED = "guessed"
_GENERIC = "generic-"
_OF_ALL_CORES = ("read_all_gb_s", "fill_all_gb_s")
_LEAST_GHZ, _MOST_GHZ = 0.1, 10.0


class Figure(Record):
    """A number and where it comes from."""

    value: float = Field(gt=0, le=1e4)
    source: Line

    @property
    def guessed(self) -> bool:
        """True if nobody measured or stated it."""
        return self.source == GUESSED


class Figures(Record):
    """The parameters of ``latency.Memory``: GHz, ns of a random read, GB/s.

    Bandwidths are those of one core, and with ``_all`` those of all cores of the cluster at once,
    which only predictions of several threads need.
    """

    clock_ghz: Figure
    l2_ns: Figure
    l3_ns: Figure | None = None
    dram_ns: Figure
    read_gb_s: Figure
    fill_gb_s: Figure
    read_all_gb_s: Figure | None = None
    fill_all_gb_s: Figure | None = None


class BoardCard(Record):
    """One cluster of a board: its core, data caches and memory."""

    name: str
    title: Line
    core: str
    note: Line | None = None
    caches_source: Line
    cores: int = Field(default=4, ge=1, le=16)
    figures: Figures
    caches: Caches = Field(min_length=2, max_length=3)

    @field_validator("core")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            return core(name).name
        except UsageError as error:
            raise ValueError(str(error)) from error

    @model_validator(mode="after")
    def _levels(self) -> Self:
        if (self.figures.l3_ns is None) != (len(self.caches) == 2):
            raise ValueError("l3_ns is for boards with three levels of caches, and for those only")
        return self

    @property
    def model(self) -> Core:
        """The description of its core."""
        return core(self.core)

    @property
    def memory(self) -> Memory:
        """The figures without their sources."""
        values = {
            name: getattr(self.figures, name).value if getattr(self.figures, name) else None
            for name in Figures.model_fields
        }
        return Memory(**values)  # type: ignore[arg-type]

    def guessed(self, threads: int = 1) -> tuple[str, ...]:
        """Names of the figures that were guessed, of those that decide so many threads' times."""
        found = {
            name: getattr(self.figures, name)
            for name in Figures.model_fields
            if threads > 1 or name not in _OF_ALL_CORES
        }
        return tuple(name for name, figure in found.items() if figure and figure.guessed)

    def require_threads(self, threads: int) -> None:
        """Refuse what the card says nothing about.

        Raises:
            UsageError: the cluster has fewer cores, or the card states no bandwidths of them all.
        """
        if threads > self.cores:
            raise UsageError(
                f"--threads {threads}: {self.name} has {self.cores} cores of one kind, and only"
                " threads on one cluster are predicted"
            )
        missing = [name for name in _OF_ALL_CORES if getattr(self.figures, name) is None]
        if threads > 1 and missing:
            raise UsageError(
                f"--threads {threads}: the card of {self.name} does not state"
                f" {' and '.join(missing)}, the bandwidths with all cores: add them"
            )

    def at(self, clock_ghz: float) -> BoardCard:
        """The same board at another clock, which is then what was asked for."""
        slower = self.figures.clock_ghz.value / clock_ghz
        changed: dict[str, Figure] = {
            "clock_ghz": Figure(value=clock_ghz, source="as asked for"),
        }
        for name in ("l2_ns", "l3_ns"):
            figure = getattr(self.figures, name)
            if figure is not None:
                scaled = round(figure.value * slower, 3)
                changed[name] = figure.model_copy(update={"value": scaled})
        figures = self.figures.model_copy(update=changed)
        return self.model_copy(update={"figures": figures, "name": f"{self.name}@{clock_ghz:g}"})


def names() -> tuple[str, ...]:
    """Boards there are cards of, generic ones last."""
    found = [path.stem for path in Path(__file__).parent.glob("*.toml")]
    return tuple(sorted(found, key=lambda name: (name.startswith(_GENERIC), name)))


def board(word: str) -> BoardCard:
    """A board by its name, or by the path of a card; ``NAME@GHZ`` at another clock.

    Raises:
        UsageError: there is no such board, the card is wrong, or the clock is none.
    """
    name, clock = _split(word)
    if name.endswith(".toml"):
        found = _read(Path(name))
    elif name in names():
        found = _read(Path(__file__).parent / f"{name}.toml")
    else:
        known = ", ".join(names())
        raise UsageError(f"unknown board '{name}': choose {known}, all, or the path of a card")
    return found if clock is None else found.at(clock)


def board_of_core(word: str) -> BoardCard:
    """A generic board with a core, such as ``cortex-a53@1.4``.

    Raises:
        UsageError: there is no description of the core, or the clock is none.
    """
    name, clock = _split(word)
    described = core(name)
    card = f"{_GENERIC}{described.name}"
    found = board(card) if card in names() else board("snapdragon-820")
    return found if clock is None else found.at(clock)


def _split(word: str) -> tuple[str, float | None]:
    name, at, clock = word.partition("@")
    if not at:
        return name, None
    try:
        ghz = float(clock)
    except ValueError:
        ghz = 0.0
    if not _LEAST_GHZ <= ghz <= _MOST_GHZ:
        raise UsageError(f"'{word}': write the clock in GHz after @, such as {name}@1.5")
    return name, ghz


def _read(path: Path) -> BoardCard:
    content = read_toml(path, what="the card of a board")
    try:
        return BoardCard.model_validate({**content, "name": path.stem})
    except ValidationError as error:
        raise UsageError(f"the card of a board {path}: {first_problem(error)}") from error
