"""Supplementary measurements: sustained runs by turns, and cross-checks by another program."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from shufflenet_deploy.bounded import (
    INT_MAX,
    MAX_SECS,
    Count,
    Int,
    JsonObject,
    Moment,
    Name,
    Sample,
    Size,
    Span,
    Text,
)
from shufflenet_deploy.records.basics import Record, RunId, SuiteId
from shufflenet_deploy.records.energy import EnergyTrace
from shufflenet_deploy.records.runs import BenchmarkSpec, Cell, Failure
from shufflenet_deploy.records.targets import Conditions, TargetFacts

#: More inferences per second than any clock here tells apart.
MAX_RATE_HZ = 1e6


class TurnSamples(Record):
    """Inferences of one model, one right after the other, in a sustained measurement.

    ``subject`` is the model's place among ``Sustained.cells``. The slice began ``at_ns`` after the
    measurement; ``first`` followed another model's inference and is excluded from ``samples`` (ns).
    """

    subject: Count
    at_ns: Size
    first: Span
    samples: tuple[Sample, ...] = Field(min_length=1)


class TracePoint(Record):
    """The state of the target between two slices, ``at_ns`` after the measurement began."""

    at_ns: Size
    frequency_khz: dict[Name, Int] = Field(default_factory=dict)
    temperature_c: dict[Name, float] = Field(default_factory=dict)
    throttled: Int | None = None


class Sustained(Record):
    """Models of one group that ran by turns in one process for a long time, kept raw.

    ``cells`` and ``artifacts`` (sha256 of the files) go together. With a ``failure`` there are no
    slices.
    """

    kind: Literal["sustained"] = "sustained"
    id: RunId
    suite: SuiteId
    started_at: Moment
    cells: tuple[Cell, ...] = Field(min_length=1)
    artifacts: tuple[Text, ...] = Field(min_length=1)
    baseline: Name | None
    duration_secs: float = Field(gt=0, le=MAX_SECS)
    runtime_version: Name | None = None
    target: TargetFacts
    spec: BenchmarkSpec
    slices: tuple[TurnSamples, ...] = ()
    trace: tuple[TracePoint, ...] = ()
    failure: Failure | None = None
    tool: JsonObject = Field(default_factory=dict)


class Aggregate(Record):
    """Summary statistics by a program that does not print its samples, in microseconds."""

    count: int = Field(ge=1, le=INT_MAX)
    average_us: float = Field(gt=0)
    min_us: float
    max_us: float
    std_us: float
    first_us: float | None = None
    init_us: float | None = None


class CrossCheck(Record):
    """One cell measured by a program that is not ours. ``raw`` is all that it printed.

    ``artifact`` and ``program_sha256`` name the bytes of the model and of the program.
    """

    kind: Literal["cross-check"] = "cross-check"
    id: RunId
    suite: SuiteId
    started_at: Moment
    cell: Cell
    artifact: Text
    program: Text
    program_sha256: Text
    argv: tuple[Text, ...]
    target: TargetFacts
    spec: BenchmarkSpec
    aggregate: Aggregate | None = None
    failure: Failure | None = None
    raw: Text = ""


class Paced(Record):
    """One process of one cell that inferred at a fixed rate, as images of a camera arrive.

    ``latency`` is the time in ns from each arrival to its result, ``inference`` the share of it
    that the runtime's call took; both are in the order of the arrivals. None is dropped: one that
    comes while another is computed waits. ``artifact`` is the file's sha256.
    """

    kind: Literal["paced"] = "paced"
    id: RunId
    suite: SuiteId
    started_at: Moment
    process: Count
    cell: Cell
    artifact: Text
    rate_hz: float = Field(gt=0, le=MAX_RATE_HZ)
    runtime_version: Name | None = None
    target: TargetFacts
    spec: BenchmarkSpec
    before: Conditions | None = None
    after: Conditions | None = None
    latency: tuple[Sample, ...] = ()
    inference: tuple[Sample, ...] = ()
    others_busy_cores: float | None = None
    background_busy_cores: float | None = None
    energy: EnergyTrace | None = None
    failure: Failure | None = None
    tool: JsonObject = Field(default_factory=dict)

    @property
    def period_ns(self) -> float:
        """Time between two arrivals: the deadline of each."""
        return 1e9 / self.rate_hz

    @property
    def missed(self) -> int:
        """Results that came after the next arrival."""
        return sum(one > self.period_ns for one in self.latency)


#: Supplementary measurement of a suite.
AnyObservation = Sustained | CrossCheck | Paced
Observation = Annotated[AnyObservation, Field(discriminator="kind")]
