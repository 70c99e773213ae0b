"""Result of preparation, input of measurement: files on the target and the session to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shufflenet_deploy import runtime
from shufflenet_deploy.bench.suite import Suite
from shufflenet_deploy.bench.target_session import OnEvent, TargetSession
from shufflenet_deploy.bench.thermal import spec_on
from shufflenet_deploy.records import Artifact, BenchmarkSpec, Cell, TargetFacts
from shufflenet_deploy.target import Environment, Target


@dataclass(frozen=True, kw_only=True)
class PreparedCell:
    """A cell ready to be measured: its file, the remote path, the environment that runs it.

    ``environment`` is None where the file is itself the program.
    """

    cell: Cell
    artifact: Artifact
    remote: str
    environment: Environment | None

    @property
    def python(self) -> tuple[str, ...]:
        """Command prefix of the Python that has the runtime; empty for a native executable."""
        return self.environment.python if self.environment else ()

    def variables(self, spec: BenchmarkSpec) -> dict[str, str]:
        """The environment variables of a process that measures it by ``spec``."""
        own = self.environment.env if self.environment else {}
        return {**runtime.get(self.cell.runtime).environment(spec), **own}


@dataclass(frozen=True, kw_only=True)
class BenchContext:
    """Shared state of one suite on one target.

    ``agent`` is the agent's path on the target and its sha256, both "" where nothing needs it.
    """

    suite: Suite
    suite_id: str
    target: Target
    facts: TargetFacts
    session: TargetSession
    agent: tuple[str, str]
    emit: OnEvent

    def spec_of(self, cell: Cell) -> BenchmarkSpec:
        """The protocol of a cell on this target, its cores chosen."""
        return spec_on(self.suite, cell, self.facts)

    def install(self, path: Path) -> str:
        """Push a file, with retries; returns its remote path."""
        return self.session.with_retry(f"pushing {path.name}", lambda: self.target.install(path))
