"""Counts, the file they are locked in, and what has moved since. Pure but for reading that file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError

from shufflenet_deploy.atomic_files import read_toml, write_whole
from shufflenet_deploy.bounded import Name, Sample, Size
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import Precision, Record, ResolutionText, first_problem

#: Relative change of a count up to which nothing is reported: far above the noise of about 0.01 %.
TOLERANCE = 0.005
_HEADING = """\
# Instructions per inference on a virtual ARM CPU, counted by `shufflenet-deploy cost --update`.
# `cost --check` compares today's counts with these.
"""


class Count(Record):
    """Instructions that one inference takes: the median of several.

    ``spread`` is (median - smallest) / median. ``artifact`` is the sha256 of the measured file.
    """

    cpu: Name
    model: Name
    runtime: Name
    version: Name
    precision: Precision
    resolution: ResolutionText
    instructions: Sample
    spread: float = Field(ge=0)
    multiply_adds: Size
    artifact: Name

    @property
    def cell(self) -> tuple[str, str, str, str, str]:
        """Key of the counted cell, without the result."""
        return (self.cpu, self.model, self.runtime, self.precision.value, str(self.resolution))

    @property
    def place(self) -> tuple[str, str, str, int, str]:
        """Sort key: by CPU, model, runtime, precision, resolution."""
        return (self.cpu, self.model, self.runtime, self.precision.place, str(self.resolution))

    @property
    def title(self) -> str:
        """The cell in words."""
        return f"{self.model} {self.precision} {self.runtime} {self.resolution} on {self.cpu}"

    @property
    def efficiency(self) -> float | None:
        """Least possible multiply-adds of whole vectors over instructions; None for int8."""
        lanes = self.precision.lanes
        return None if lanes is None else self.multiply_adds / lanes / self.instructions


class CostBaseline(Record):
    """Locked counts, and the tools they were made with."""

    tools: dict[Name, Name] = Field(default_factory=dict)
    count: tuple[Count, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a lock file.

        Raises:
            UsageError: there is none, or it is not one.
        """
        if not path.exists():
            raise UsageError(f"there is no {path}; make it with: shufflenet-deploy cost --update")
        try:
            return cls.model_validate(read_toml(path, what="the lock of counts"))
        except ValidationError as error:
            raise UsageError(f"{path} is not a lock of counts: {first_problem(error)}") from error

    def write(self, path: Path) -> None:
        """Write it whole or not at all, in a stable order.

        Raises:
            UsageError: the folder cannot be written.
        """
        lines = [_HEADING, "[tools]"]
        lines += [
            f"{json.dumps(key)} = {json.dumps(self.tools[key])}" for key in sorted(self.tools)
        ]
        for count in sorted(self.count, key=lambda one: one.place):
            lines += ["", "[[count]]"]
            fields = count.model_dump(mode="json")
            lines += [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
        write_whole(path, "\n".join(lines) + "\n")

    def version_of(self, runtime: str) -> str | None:
        """The version of a runtime that was counted; None when none was."""
        return next((one.version for one in self.count if one.runtime == runtime), None)


class CountStatus(StrEnum):
    """Result of comparing one cell with its locked count."""

    SAME = "same"
    REGRESSED = "regressed"
    IMPROVED = "improved"
    NEW = "new"
    GONE = "gone"


class CountChange(Record):
    """One cell then and now; ``ratio`` is now over then."""

    verdict: CountStatus
    locked: Count | None
    counted: Count | None

    @property
    def ratio(self) -> float | None:
        """Instructions now over instructions then."""
        if self.locked is None or self.counted is None:
            return None
        return self.counted.instructions / self.locked.instructions

    @property
    def line(self) -> str:
        """One line: the counts, their relative change, changed versions and files."""
        count = self.counted or self.locked
        assert count is not None
        if self.counted is None:
            return f"{count.title}: locked, but could not be counted"
        if self.locked is None or self.ratio is None:
            return f"{count.title}: {count.instructions / 1e6:.2f} Minstr, not locked yet"
        causes = [
            f"{what} {then[:12]} -> {now[:12]}"
            for what, then, now in (
                (self.locked.runtime, self.locked.version, self.counted.version),
                ("file", self.locked.artifact, self.counted.artifact),
            )
            if then != now
        ]
        because = f" ({'; '.join(causes)})" if causes else ""
        return (
            f"{count.title}: {self.locked.instructions / 1e6:.2f} ->"
            f" {self.counted.instructions / 1e6:.2f} Minstr, {self.ratio - 1:+.2%}{because}"
        )


class BaselineComparison(Record):
    """Every cell of a lock against today's counts."""

    changes: tuple[CountChange, ...]
    tolerance: float

    def with_verdict(self, *verdicts: CountStatus) -> tuple[CountChange, ...]:
        """The changes with one of these verdicts."""
        return tuple(change for change in self.changes if change.verdict in verdicts)

    @property
    def passed(self) -> bool:
        """Nothing costs more than it did, and nothing that was counted fails to be."""
        return not self.with_verdict(CountStatus.REGRESSED, CountStatus.GONE)


def compare(
    locked: Sequence[Count], counted: Sequence[Count], *, tolerance: float = TOLERANCE
) -> BaselineComparison:
    """Classify each cell; ``locked`` holds only the cells that were to be counted."""
    before = {count.cell: count for count in locked}
    after = {count.cell: count for count in counted}
    changes = []
    for one in sorted({**before, **after}.values(), key=lambda one: one.place):
        old, new = before.get(one.cell), after.get(one.cell)
        change = CountChange(verdict=_verdict(old, new, tolerance), locked=old, counted=new)
        changes.append(change)
    return BaselineComparison(changes=tuple(changes), tolerance=tolerance)


def _verdict(old: Count | None, new: Count | None, tolerance: float) -> CountStatus:
    if old is None:
        return CountStatus.NEW
    if new is None:
        return CountStatus.GONE
    more = new.instructions - old.instructions
    if abs(more) <= tolerance * old.instructions:
        return CountStatus.SAME
    return CountStatus.REGRESSED if more > 0 else CountStatus.IMPROVED
