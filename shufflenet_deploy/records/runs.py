"""Runs: the protocol, the cell it measures, the raw samples or the failure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Literal

from pydantic import Field

from shufflenet_deploy.bounded import (
    MAX_COUNT,
    MAX_SAMPLES,
    MAX_SECS,
    Count,
    JsonObject,
    Moment,
    Name,
    Sample,
    Size,
    Span,
    Text,
)
from shufflenet_deploy.records.artifacts import Artifact, Delegation, InputShape
from shufflenet_deploy.records.basics import (
    Format,
    Metric,
    Precision,
    Record,
    ResolutionText,
    RunId,
    RuntimeSpec,
    SuiteId,
)
from shufflenet_deploy.records.energy import EnergyTrace
from shufflenet_deploy.records.profiles import Profile
from shufflenet_deploy.records.targets import Conditions, TargetFacts

#: The most busy processes beside a measurement.
MAX_BACKGROUND = 512


class BenchmarkSpec(Record):
    """Protocol of one process: warm-up and sampling each end when *both* limits are met.

    ``max_secs`` bounds the sampling phase. ``cpus`` is the affinity mask, None for the target's
    own choice; ``shapes`` are those of inputs that a file leaves open. So many processes of
    ``background_load`` keep the target busy meanwhile. With ``energy`` the target's sensors of
    power and energy are read beside the process, and when it is idle before and after.
    ``processes`` and ``cooldown_secs`` concern the schedule of a suite.
    """

    metric: Metric = Metric.LATENCY
    warmup_runs: int = Field(default=5, ge=0, le=MAX_SAMPLES)
    warmup_secs: float = Field(default=0.5, ge=0, le=MAX_SECS)
    min_runs: int = Field(default=30, ge=1, le=MAX_SAMPLES)
    min_secs: float = Field(default=1.0, ge=0, le=MAX_SECS)
    max_secs: float = Field(default=30.0, gt=0, le=MAX_SECS)
    processes: int = Field(default=3, ge=1, le=MAX_COUNT)
    threads: int = Field(default=1, ge=1, le=MAX_COUNT)
    cpus: tuple[Count, ...] | None = None
    shapes: tuple[InputShape, ...] = ()
    background_load: int = Field(default=0, ge=0, le=MAX_BACKGROUND)
    energy: bool = False
    cooldown_secs: float = Field(default=0.0, ge=0, le=MAX_SECS)
    timeout_secs: float = Field(default=300.0, gt=0, le=MAX_SECS)

    @property
    def protocol(self) -> BenchmarkSpec:
        """The fields that decide the samples of a process; those of the schedule at their defaults.

        Two specs sample alike when their protocols are equal.
        """
        defaults = {name: type(self).model_fields[name].default for name in SCHEDULE}
        return self.model_copy(update=defaults)


#: Fields of ``BenchmarkSpec`` that set how many processes there are and when one starts or is given
#: up; none of them changes what a process that ran to its end has sampled.
SCHEDULE = ("processes", "cooldown_secs", "timeout_secs")


class Measurement(Record):
    """Samples of one process. ``samples`` are steady-state inferences in ``Metric.unit``.

    ``load``, ``first`` and ``warmup`` are in the same unit and never mixed with ``samples``.
    ``peak_rss_bytes`` is the largest resident size of the process, of which Python and numpy had
    taken ``idle_rss_bytes`` before the runtime was loaded. ``arena_bytes`` is what the runtime
    reserved for activations, None where it does not say. ``others_busy_cores`` is how many cores
    other programs kept busy while sampling, on average, ``background_busy_cores`` how many the
    background load of the protocol did. ``energy`` has what sensors read meanwhile, where the
    protocol asks for it. ``delegation`` is None where the runtime does not say what
    a delegate took. ``outputs_repeat`` is whether the first and the last inference, of one input,
    gave the same output bit for bit; None in records of earlier versions.
    """

    samples: tuple[Sample, ...] = Field(min_length=1)
    warmup: tuple[Span, ...] = ()
    first: Span
    load: Span
    idle_rss_bytes: Size | None = None
    peak_rss_bytes: Size | None = None
    arena_bytes: Size | None = None
    clock_resolution_ns: Span | None = None
    cpus: tuple[Count, ...] | None = None
    others_busy_cores: float | None = None
    delegation: Delegation | None = None
    background_busy_cores: float | None = None
    outputs_repeat: bool | None = None
    energy: EnergyTrace | None = None

    @property
    def model_rss_bytes(self) -> int | None:
        """Peak resident size of runtime and model, where the idle size is known."""
        if self.idle_rss_bytes is None or self.peak_rss_bytes is None:
            return None
        return max(0, self.peak_rss_bytes - self.idle_rss_bytes)


class FailureKind(StrEnum):
    """Cause of a cell without a measurement.

    ``UNSUPPORTED`` is of a model, ``UNAVAILABLE`` of a runtime: there is no such precision, or no
    such tool, for any model.
    """

    EXPORT = "export"
    UNSUPPORTED = "unsupported"
    UNAVAILABLE = "unavailable"
    RUNTIME_MISSING = "runtime-missing"
    OUT_OF_MEMORY = "out-of-memory"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    CONNECTION = "connection"
    TARGET = "target"
    PARSE = "parse"


class Failure(Record):
    """A cell that could not be measured, with the message to the user."""

    kind: FailureKind
    message: Text
    transient: bool = False

    @property
    def is_lack(self) -> bool:
        """True if the target cannot have what was asked for: nothing was tried that failed."""
        return self.kind in {FailureKind.UNAVAILABLE, FailureKind.RUNTIME_MISSING}


class Cell(Record):
    """One cell of a table: everything about a measurement but the target. Hashable, for keys."""

    model: Name
    options: dict[Name, Name] = Field(default_factory=dict)
    runtime: Name
    format: Format
    precision: Precision
    resolution: ResolutionText
    threads: Count = 1

    def __hash__(self) -> int:
        # Options in any order are the same cell, as they are for ``==``.
        axes = (self.runtime, self.format, self.precision, self.resolution, self.threads)
        return hash((self.model, frozenset(self.options.items()), *axes))

    @property
    def runtime_spec(self) -> RuntimeSpec:
        """Name and pinned version of the runtime."""
        return RuntimeSpec.parse(self.runtime)

    @property
    def display_order(self) -> tuple[str, int, int]:
        """Sorts settings as every screen shows them: by runtime, precision, threads."""
        return self.runtime, self.precision.place, self.threads


class Run(Record):
    """One process measuring one cell on one target, kept raw. ``raw`` is the runner's stdout.

    ``artifact`` is None only when the export itself failed. A run that profiles is stored next to
    those that measure and never among them: its ``outcome`` holds a few inferences of the same
    process without the profiler, its ``profile`` those with it.
    """

    id: RunId
    suite: SuiteId
    started_at: Moment
    process: Count
    cell: Cell
    artifact: Artifact | None
    multiply_adds: Size | None = None
    runtime_version: Name | None = None
    target: TargetFacts
    spec: BenchmarkSpec
    before: Conditions | None = None
    after: Conditions | None = None
    raw: Text = ""
    outcome: Measurement | Failure
    purpose: Literal["measure", "profile"] = "measure"
    profile: Profile | None = None
    tool: JsonObject = Field(default_factory=dict)

    @property
    def sampling(self) -> tuple[str | None, BenchmarkSpec]:
        """Key of poolable samples on one target: the file's sha256 and the protocol.

        The one property by which a resumed session knows a process again, and by which tables,
        comparisons and histories put the samples of a cell's processes together.
        """
        return (self.artifact.sha256 if self.artifact else None, self.spec.protocol)

    @property
    def kind(self) -> Literal["measurement", "failure", "profile"]:
        """The outcome of a measurement, or "profile" for a run that profiled."""
        if self.purpose == "profile":
            return "profile"
        return "measurement" if isinstance(self.outcome, Measurement) else "failure"


class SuiteNote(Record):
    """Metadata of a suite in a journal; ``definition`` is its JSON, with which it is resumed."""

    kind: Literal["suite"] = "suite"
    id: SuiteId
    name: Name
    host: Name
    created_at: Moment
    definition: Text


def last_attempts(runs: Iterable[Run]) -> list[Run]:
    """The last of several attempts at one process of one cell; see ``attempts`` for which counts.

    ``runs`` come in the order they were made. The result has the final state of each process.
    """
    latest: dict[tuple[str, str, Cell, int], Run] = {}
    for run in runs:
        key = (run.suite, run.target.host, run.cell, run.process)
        # A newer attempt moves to the end, so that the order stays that of the clock.
        latest.pop(key, None)
        latest[key] = run
    return list(latest.values())
