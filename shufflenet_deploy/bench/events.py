"""Progress events of a benchmark, for whatever displays them."""

from __future__ import annotations

from dataclasses import dataclass

from shufflenet_deploy.records import Cell, Run
from shufflenet_deploy.stats.disturbances import Finding


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Preparation: exporting, installing, pushing. ``text`` names the step, in one line."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Planned:
    """Preparation is over: ``visits`` processes will be started, ``skipped`` were done before.

    Comes again when a precision target asks for more rounds, with the new total.
    """

    visits: int
    skipped: int


@dataclass(frozen=True, kw_only=True)
class Started:
    """A process begins: the ``index``-th visit (from 1), process ``process`` of its cell."""

    cell: Cell
    process: int
    index: int

    @property
    def text(self) -> str:
        """The stage that begins, in one line."""
        return f"{describe(self.cell)}, process {self.process}"


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A process ended and its run is in the journal."""

    run: Run


@dataclass(frozen=True, kw_only=True)
class Retrying:
    """Something transient went wrong; it is tried again after ``wait_secs``."""

    what: str
    error: Exception
    wait_secs: float

    @property
    def text(self) -> str:
        """The failure, and the time of the next attempt, in one line."""
        return f"{self.what}: {self.error}; again in {self.wait_secs:g} s"


@dataclass(frozen=True, kw_only=True)
class Away:
    """The target cannot be reached, as while it restarts; it has been waited for so long.

    It is waited for ``longest_secs`` at most.
    """

    host: str
    error: Exception
    waited_secs: float
    longest_secs: float


@dataclass(frozen=True, kw_only=True)
class Tainted:
    """A measurement was disturbed and is made again; the disturbed one stays in the journal."""

    run: Run
    finding: Finding

    @property
    def text(self) -> str:
        """The disturbance and the measurement that it hit, in one line."""
        return f"{describe(self.run.cell)}: {self.finding.message}; measuring again"


@dataclass(frozen=True, kw_only=True)
class Cooling:
    """A pause before the next process."""

    secs: float


@dataclass(frozen=True, kw_only=True)
class Hot:
    """The target is warmer than ``limit_c`` degrees; it has been waited for so long.

    Without getting cooler it is waited for ``longest_secs`` at most.
    """

    now_c: float
    limit_c: float
    waited_secs: float
    longest_secs: float


@dataclass(frozen=True, kw_only=True)
class Sustaining:
    """Models take turns for ``secs``; nothing is heard from the target until then."""

    cells: tuple[Cell, ...]
    secs: float


Event = (
    Stage | Planned | Started | Finished | Retrying | Away | Tainted | Cooling | Hot | Sustaining
)


def describe(cell: Cell) -> str:
    """A cell in one line, as progress and errors name it."""
    threads = f" {cell.threads} threads" if cell.threads > 1 else ""
    lowering = f" {cell.options['lowering']}" if "lowering" in cell.options else ""
    weights = f" {cell.options['weights']}" if "weights" in cell.options else ""
    words = f"{cell.model}{weights} {cell.resolution} {cell.precision.value} {cell.runtime}"
    return f"{words}{lowering}{threads}"
