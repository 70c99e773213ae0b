"""Wire format of the programs that measure on a target: their one JSON object -> a ``Report``.

``device_scripts/protocol.json`` states the format; the models below are its strict reader. A log of
another schema, or with a missing or an unknown field, is refused rather than guessed at. Readings
of sensors that are not plausible are dropped, whoever printed them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from shufflenet_deploy.bounded import Count, Int, Moment, Name, Sample, Size, Span, Text
from shufflenet_deploy.errors import ParseError
from shufflenet_deploy.printing import first_line
from shufflenet_deploy.records import (
    NO_SENSOR,
    Conditions,
    Delegation,
    EnergyTrace,
    Failure,
    FailureKind,
    Measurement,
    OperatorTiming,
    Profile,
    SensorTrace,
    first_problem,
)
from shufflenet_deploy.runtime.base import Report
from shufflenet_deploy.target import answers, plausibility

#: The schema number of ``device_scripts/agent``.
SCHEMA = 1

#: Begins the name of an operator that the profiler knows by its number in the file.
NODE = "#"

#: Kinds of failure of the format, and those of the records.
FAILURES = {
    "usage": FailureKind.TARGET,
    "model-missing": FailureKind.TARGET,
    "model-corrupt": FailureKind.EXPORT,
    "runtime-missing": FailureKind.RUNTIME_MISSING,
    "unavailable": FailureKind.UNAVAILABLE,
    "unsupported": FailureKind.UNSUPPORTED,
    "out-of-memory": FailureKind.OUT_OF_MEMORY,
    "terminated": FailureKind.CRASHED,
    "crashed": FailureKind.CRASHED,
}

#: Longest message of a failure that is stored, in characters.
_MOST_MESSAGE = 1000


def parse_log(raw: str) -> Report:
    """Read the output of the agent, or of another program that shares its format.

    Raises:
        ParseError: it is not one JSON object, or not of this version's schema.
    """
    fields = json_object(raw)
    try:
        if "error" in fields:
            return _failure_report(FailureLog.model_validate(fields))
        return _measurement_report(MeasurementLog.model_validate(fields))
    except ValidationError as error:
        problem = first_problem(error)
        raise ParseError(f"the agent's log does not fit schema {SCHEMA}: {problem}") from error


def json_object(raw: str) -> dict[str, Any]:
    """Read the one JSON object that a device script printed.

    Raises:
        ParseError: it is something else, or of another schema.
    """
    text = raw.strip()
    if not text:
        raise ParseError("the agent printed nothing: it was killed or never started")
    fields = answers.json_of(text, whose="the agent")
    if not isinstance(fields, dict):
        raise ParseError(f"the agent printed a JSON {type(fields).__name__}, not an object")
    if fields.get("schema") != SCHEMA:
        raise ParseError(
            f"the agent's log has schema {first_line(repr(fields.get('schema')), 40)}, "
            f"this version reads {SCHEMA}: "
            "use the agent that came with this version"
        )
    return fields


# --- the log, field by field ---------------------------------------------------------------------


class Part(BaseModel):
    """An object of the format: every field is checked, and no other is accepted."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class SensorFields(Part):
    """Sensor readings of a machine at one moment, by core or by thermal zone."""

    frequency_khz: dict[Name, Size]
    temperature_c: dict[Name, float]
    throttled: Size | None

    @property
    def plausible_khz(self) -> dict[str, int]:
        """Frequencies at which a core may run."""
        readings = self.frequency_khz.items()
        return {core: khz for core, khz in readings if plausibility.is_frequency(khz)}

    @property
    def plausible_c(self) -> dict[str, float]:
        """Temperatures that a working sensor may report."""
        readings = self.temperature_c.items()
        return {zone: value for zone, value in readings if plausibility.is_temperature(value)}


class _Battery(Part):
    percent: Int | None
    status: Name | None
    temperature_c: float | None


class _Conditions(SensorFields):
    at: Moment
    governors: dict[Name, Name]
    load_1min: float | None
    memory_available_bytes: Size | None
    swap_used_bytes: Size | None
    battery: _Battery | None

    @field_validator("at", mode="before")
    @classmethod
    def _time(cls, text: object) -> object:
        if not isinstance(text, str):
            return text
        try:
            return datetime.fromisoformat(text)
        except ValueError as error:
            raise ValueError(f"{first_line(text, 40)!r} is not a time") from error

    def record(self) -> Conditions:
        battery = self.battery
        temperatures = self.plausible_c
        battery_c = battery.temperature_c if battery else None
        if battery_c is not None and plausibility.is_temperature(battery_c):
            temperatures.setdefault("battery", battery_c)
        return Conditions(
            at=self.at,
            governors=self.governors,
            frequency_khz=self.plausible_khz,
            temperature_c=temperatures,
            throttled=self.throttled,
            load_1min=self.load_1min,
            memory_available_bytes=self.memory_available_bytes,
            swap_used_bytes=self.swap_used_bytes,
            battery_percent=battery.percent if battery else None,
            battery_status=battery.status if battery else None,
        )


class _Moments(Part):
    start: _Conditions
    before: _Conditions
    after: _Conditions


class _RuntimeFacts(Part):
    name: Name
    version: Name
    details: dict[str, Any]


class _Tensor(Part):
    name: Text
    shape: list[Int | None]
    dtype: Name
    scale: float | None = None
    zero_point: Int | None = None


class _Model(Part):
    file: Text
    bytes: Size
    inputs: list[_Tensor]
    outputs: list[_Tensor]


class _Clock(Part):
    resolution_ns: Sample
    read_ns: Span


class _Sampling(Part):
    began_ns: Size | None = None
    ended_ns: Size | None = None
    wall_ns: Span
    cpu_ns: Span
    preempted: Int
    others_busy_cores: float | None
    background_processes: Count | None = None
    background_busy_cores: float | None = None


class _Head(Part):
    schema_: int = Field(alias="schema")
    agent: Name
    platform: dict[str, Any]


_Spans = list[Span]


class _Operator(Part):
    name: Text
    operator: Text
    node: Size | None
    ns: _Spans = Field(min_length=1)


class _Profile(Part):
    method: Text
    inference_ns: _Spans = Field(min_length=1)
    operators: list[_Operator]


class _Delegation(Part):
    name: Text
    parts: Count
    taken: Count
    left: dict[Text, Count]


class PaceFields(Part):
    """Inferences at a rate: from each arrival to its result."""

    rate_hz: float = Field(gt=0)
    latency_ns: list[Sample] = Field(min_length=1)


class _SensorReadings(Part):
    name: Name
    kind: Literal["power", "energy"]
    update_ns: Size | None
    resolution: Size | None
    at_ns: list[Size]
    values: list[Size]


class EnergyFields(Part):
    """What ``energy.py`` read beside the measurement."""

    interval_ns: Size
    idle_before_ns: list[Size] = Field(min_length=2, max_length=2)
    idle_after_ns: list[Size] = Field(min_length=2, max_length=2)
    sensors: list[_SensorReadings]

    def record(self, sampling: _Sampling) -> EnergyTrace:
        """The readings, synchronised with the samples."""
        if not self.sensors or sampling.began_ns is None or sampling.ended_ns is None:
            return EnergyTrace(reason=NO_SENSOR)
        return EnergyTrace(
            interval_ns=self.interval_ns,
            steady_ns=(sampling.began_ns, sampling.ended_ns),
            idle_before_ns=(self.idle_before_ns[0], self.idle_before_ns[1]),
            idle_after_ns=(self.idle_after_ns[0], self.idle_after_ns[1]),
            sensors=tuple(
                SensorTrace(
                    name=one.name,
                    kind=one.kind,
                    update_ns=one.update_ns,
                    resolution=one.resolution,
                    at_ns=tuple(one.at_ns),
                    values=tuple(one.values),
                )
                for one in self.sensors
            ),
        )


class MeasurementLog(_Head):
    """One measured model."""

    runtime: _RuntimeFacts
    model: _Model
    timed: Name
    threads: Count
    cpus: list[Count] | None
    clock: _Clock
    import_ns: Span
    load_ns: Span
    first_ns: Span
    warmup_ns: _Spans
    warmup_ended: Name
    samples_ns: list[Sample] = Field(min_length=1)
    sampling: _Sampling
    outputs_repeat: bool
    idle_rss_bytes: Size
    peak_rss_bytes: Size
    arena_bytes: Size | None = None
    conditions: _Moments
    delegation: _Delegation | None = None
    pace: PaceFields | None = None
    energy: EnergyFields | None = None
    profile: _Profile | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        """Refuse a profile that lacks samples of an operator, and a pace that lacks latencies."""
        if self.pace and len(self.pace.latency_ns) != len(self.samples_ns):
            raise ValueError("not every inference has a latency")
        counts = {len(one.ns) for one in self.profile.operators} if self.profile else set()
        if self.profile and not counts <= {len(self.profile.inference_ns)}:
            raise ValueError("an operator was not timed in every inference")
        return self


class ErrorFields(Part):
    """Explanation of a failure."""

    kind: Name
    message: Text


class FailureLog(_Head):
    """A measurement that was not possible."""

    error: ErrorFields
    conditions_at_failure: _Conditions


def _measurement_report(log: MeasurementLog) -> Report:
    measurement = Measurement(
        samples=tuple(log.samples_ns),
        warmup=tuple(log.warmup_ns),
        first=log.first_ns,
        load=log.load_ns,
        idle_rss_bytes=log.idle_rss_bytes,
        peak_rss_bytes=log.peak_rss_bytes,
        arena_bytes=log.arena_bytes,
        clock_resolution_ns=log.clock.resolution_ns,
        cpus=None if log.cpus is None else tuple(log.cpus),
        others_busy_cores=log.sampling.others_busy_cores,
        delegation=Delegation(**dict(log.delegation)) if log.delegation else None,
        background_busy_cores=log.sampling.background_busy_cores,
        outputs_repeat=log.outputs_repeat,
        energy=log.energy.record(log.sampling) if log.energy else None,
    )
    return Report(
        outcome=measurement,
        runtime_version=log.runtime.version,
        before=log.conditions.before.record(),
        after=log.conditions.after.record(),
        profile=_profile(log.profile) if log.profile else None,
        latency=tuple(log.pace.latency_ns) if log.pace else (),
    )


def _profile(log: _Profile) -> Profile:
    return Profile(
        method=log.method,
        inference=tuple(log.inference_ns),
        operators=tuple(
            OperatorTiming(
                name=one.name if one.node is None else f"{NODE}{one.node}",
                operator=one.operator,
                samples=tuple(one.ns),
            )
            for one in log.operators
        ),
    )


def _failure_report(log: FailureLog) -> Report:
    return Report(
        outcome=failure_of(log.error.kind, log.error.message),
        runtime_version=None,
        before=None,
        after=log.conditions_at_failure.record(),
    )


def failure_of(kind: str, message: str) -> Failure:
    """A failure that the agent explained; ``kind`` is one of the format's words.

    Raises:
        ParseError: the kind is unknown.
    """
    known = FAILURES.get(kind)
    if known is None:
        raise ParseError(f"the agent failed with the unknown kind {first_line(kind, 40)!r}")
    return Failure(kind=known, message=first_line(message, _MOST_MESSAGE))
