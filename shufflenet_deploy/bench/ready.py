"""What preparation hands to measurement: files on the target, and the way to run things there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from shufflenet_deploy.bench import events
from shufflenet_deploy.records import Artifact, BenchmarkSpec, Cell, TargetFacts
from shufflenet_deploy.target import Environment
from shufflenet_deploy.transport import CommandResult


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A cell that can be measured: the file, where it lies on the target, what runs it.

    ``environment`` is None where the file is itself the program.
    """

    cell: Cell
    artifact: Artifact
    remote: str
    environment: Environment | None

    @property
    def python(self) -> tuple[str, ...]:
        """How to start the Python that has the runtime; nothing where none is needed."""
        return self.environment.python if self.environment else ()

    @property
    def env(self) -> Mapping[str, str]:
        """Variables for whatever runs the file."""
        return self.environment.env if self.environment else {}


class Invoke(Protocol):
    """Runs a program on the target, patiently: again where the connection broke."""

    def __call__(
        self,
        what: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        timeout_s: float,
        cpus: Sequence[int] | None = None,
    ) -> CommandResult: ...


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a suite is being measured, for what is measured besides runs."""

    suite_id: str
    facts: TargetFacts
    invoke: Invoke
    spec_of: Callable[[Cell], BenchmarkSpec]
    tell: Callable[[events.Event], object]
