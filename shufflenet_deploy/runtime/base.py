"""Interface of a measurable runtime: pure descriptions, no I/O.

A runtime is one file in ``runtimes``: which formats it runs, what must be installed on a target,
which command measures one model there, and how to read what that command printed. ``parse`` is
pure, so a stored raw log can be replayed years later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from shufflenet_deploy.records import (
    BenchmarkSpec,
    Conditions,
    Failure,
    Format,
    Measurement,
    Profile,
    TargetFacts,
)


@dataclass(frozen=True, kw_only=True)
class Payload:
    """Requirements of a target before it can run a model: Python distributions, pinned.

    ``imports`` are module names that must import, by which an installation is proved; ``env`` holds
    the variables under which anything may import them. ``companions`` are files made here, when
    they are asked for, that the runtime needs besides; each by the variable that will say where it
    lies.
    """

    name: str
    requirements: tuple[str, ...]
    imports: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    companions: Mapping[str, Callable[[], Path]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class BuildCheck:
    """What tells if a target's build of a distribution has what the runtime needs of it.

    ``program`` is a file of Python that imports the distribution and prints one line: what that
    lacks, or nothing. ``wheels_lack`` says what every wheel lacks that we would install,
    ``remedy`` what to do about it.
    """

    program: Path
    wheels_lack: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """One parsed log of a runner.

    A failure that the runner explained is an outcome like a measurement. ``before`` and ``after``
    frame the steady state; a failure has only the conditions at its end. ``profile`` is there when
    the command was a ``profiling`` one; its operators name no layers yet. ``latency`` has the ns
    from each arrival to its result where there was a rate.
    """

    outcome: Measurement | Failure
    runtime_version: str | None
    before: Conditions | None
    after: Conditions | None
    profile: Profile | None = None
    latency: tuple[int, ...] = ()


class Runtime(Protocol):
    """A way to execute an exported model on a target."""

    @property
    def name(self) -> str:
        """Name as the user writes it, with the version if one was asked for."""
        ...

    def pinned(self, version: str) -> Runtime:
        """The same runtime in a certain version.

        Raises:
            UsageError: it has no versions to choose from.
        """
        ...

    @property
    def formats(self) -> tuple[Format, ...]:
        """File formats it executes, the preferred one first."""
        ...

    @property
    def standalone(self) -> bool:
        """True if an exported file is an executable that measures itself: no Python, no agent."""
        ...

    @property
    def uses_openmp(self) -> bool:
        """True if its threads are those of OpenMP's parallel regions: ``predict`` follows them."""
        ...

    @property
    def build_check(self) -> BuildCheck | None:
        """How to find what an installed build lacks; None where every build has it all."""
        ...

    def payload(self, facts: TargetFacts) -> Payload:
        """Return the distributions to install on a target of this kind.

        Raises:
            TargetError: this runtime cannot run there (say, no wheel for the architecture).
        """
        ...

    def command(
        self,
        *,
        python: tuple[str, ...],
        agent: str,
        model: str,
        spec: BenchmarkSpec,
        input: str | None = None,  # noqa: A002 - the word of the agent's own option
        output: str | None = None,
    ) -> tuple[str, ...]:
        """The argv that measures ``model`` (a path on the target) and prints one JSON object.

        ``input`` is a .npy file on the target to feed instead of seeded values, ``output`` one to
        write the logits to, as the model has them (still quantised in a full-integer file).
        """
        ...

    def profiling(
        self,
        *,
        python: tuple[str, ...],
        profiler: str,
        agent: str,
        model: str,
        spec: BenchmarkSpec,
        inferences: int,
    ) -> tuple[str, ...] | None:
        """The argv that measures ``model`` and then profiles so many inferences of it.

        None where the runtime cannot be taken apart.

        ``profiler`` is the path of ``device_scripts/profile_operators.py`` on the target.
        """
        ...

    def environment(self, spec: BenchmarkSpec) -> Mapping[str, str]:
        """Environment variables for that command (thread pools and the like)."""
        ...

    def parse(self, raw: str) -> Report:
        """Read a runner's stdout.

        Raises:
            ParseError: it is not what the agent of this version prints.
        """
        ...
