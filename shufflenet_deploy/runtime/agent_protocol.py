"""Runtimes measured by ``device_scripts/agent.py``: its command line and its log.

``parse`` accepts exactly what the agent of this version prints; a log of another schema, a missing
or an unknown field is refused rather than guessed at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from shufflenet_deploy.bounded import (
    Count,
    Int,
    Moment,
    Name,
    Sample,
    Size,
    Span,
    Text,
    first_line,
)
from shufflenet_deploy.errors import ParseError
from shufflenet_deploy.records import (
    BenchmarkSpec,
    Conditions,
    Failure,
    FailureKind,
    Format,
    Measurement,
    OperatorTiming,
    Profile,
    TargetFacts,
    first_problem,
)
from shufflenet_deploy.runtime.base import Payload, Report
from shufflenet_deploy.runtime.wheel_versions import Distribution
from shufflenet_deploy.target import answers

#: The schema number of ``device_scripts/agent.py``.
SCHEMA = 1

#: Begins the name of an operator that the profiler knows by its number in the file.
NODE = "#"

#: While windows of the warm-up disagree it goes on, up to this many times its minimum.
WARMUP_LIMIT_FACTOR = 4

_FAILURES = {
    "usage": FailureKind.TARGET,
    "model-missing": FailureKind.TARGET,
    "model-corrupt": FailureKind.EXPORT,
    "runtime-missing": FailureKind.RUNTIME_MISSING,
    "unsupported": FailureKind.UNSUPPORTED,
    "out-of-memory": FailureKind.OUT_OF_MEMORY,
    "terminated": FailureKind.CRASHED,
    "crashed": FailureKind.CRASHED,
}

#: An explanation is a line, not a book.
_MOST_MESSAGE = 1000

#: Variables that thread pools read when they are loaded.
_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class AgentRuntime:
    """A Python distribution that the agent can drive."""

    runtime: str
    version: str | None
    format: Format
    distribution: Distribution

    @property
    def name(self) -> str:
        """Name and version as the user wrote them: ``"onnxruntime"`` or ``"onnxruntime==1.30"``."""
        return f"{self.runtime}=={self.version}" if self.version else self.runtime

    @property
    def formats(self) -> tuple[Format, ...]:
        """The one format it runs."""
        return (self.format,)

    @property
    def standalone(self) -> bool:
        """Python and the agent run the file."""
        return False

    def payload(self, facts: TargetFacts) -> Payload:
        """Pinned distributions for this target; see ``Distribution.requirements``."""
        return Payload(
            name=self.name,
            requirements=self.distribution.requirements(facts, self.version),
            imports=(self.distribution.module, "numpy"),
            env=self.distribution.env,
        )

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
        """The agent's command line for one process."""
        which = ("--runtime", self.runtime, "--model", model)
        return (*python, agent, *which, *agent_options(spec, input=input, output=output))

    def profiling(
        self,
        *,
        python: tuple[str, ...],
        profiler: str,
        agent: str,
        model: str,
        spec: BenchmarkSpec,
        inferences: int,
    ) -> tuple[str, ...]:
        """The same command, run by ``device_scripts/profile_operators.py``."""
        measuring = self.command(python=(), agent=agent, model=model, spec=spec)
        return (*python, profiler, "--runs", str(inferences), *measuring)

    def environment(self, spec: BenchmarkSpec) -> Mapping[str, str]:
        """Thread pools as large as asked for, and no chatter of TensorFlow's logger."""
        pools = dict.fromkeys(_POOLS, str(spec.threads))
        return {**pools, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONDONTWRITEBYTECODE": "1"}

    def parse(self, raw: str) -> Report:
        """Read the agent's one JSON object.

        Raises:
            ParseError: it is not one JSON object, or not of this version's schema.
        """
        return parse_log(raw)


def agent_options(
    spec: BenchmarkSpec,
    *,
    input: str | None,  # noqa: A002 - the word of the agent's own option
    output: str | None,
) -> tuple[str, ...]:
    """Return one process's options, as every program that shares the protocol takes them."""
    options = {
        "--threads": str(spec.threads),
        "--warmup-runs": str(spec.warmup_runs),
        "--warmup-secs": f"{spec.warmup_secs:g}",
        "--warmup-max-secs": f"{spec.warmup_secs * WARMUP_LIMIT_FACTOR:g}",
        "--min-runs": str(spec.min_runs),
        "--min-secs": f"{spec.min_secs:g}",
        "--max-secs": f"{spec.max_secs:g}",
    }
    if spec.cpus is not None:
        options["--cpus"] = ",".join(str(cpu) for cpu in spec.cpus)
    if input is not None:
        options["--input"] = input
    if output is not None:
        options["--output"] = output
    return tuple(word for option in options.items() for word in option)


def parse_log(raw: str) -> Report:
    """Read what the agent, or a program that speaks like it, printed.

    Raises:
        ParseError: it is not one JSON object, or not of this version's schema.
    """
    fields = json_object(raw)
    try:
        if "error" in fields:
            return _failure_report(_FailureLog.model_validate(fields))
        return _measurement_report(_Log.model_validate(fields))
    except ValidationError as error:
        problem = first_problem(error)
        raise ParseError(f"the agent's log does not fit schema {SCHEMA}: {problem}") from error


def json_object(raw: str) -> dict[str, Any]:
    """The one JSON object that a device script printed.

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


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Battery(_Part):
    percent: Int | None
    status: Name | None
    temperature_c: float | None


class _Conditions(_Part):
    at: Moment
    governors: dict[Name, Name]
    frequency_khz: dict[Name, Size]
    temperature_c: dict[Name, float]
    throttled: Size | None
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
        temperatures = dict(self.temperature_c)
        if battery is not None and battery.temperature_c is not None:
            temperatures.setdefault("battery", battery.temperature_c)
        return Conditions(
            at=self.at,
            governors=self.governors,
            frequency_khz=self.frequency_khz,
            temperature_c=temperatures,
            throttled=self.throttled,
            load_1min=self.load_1min,
            memory_available_bytes=self.memory_available_bytes,
            swap_used_bytes=self.swap_used_bytes,
            battery_percent=battery.percent if battery else None,
            battery_status=battery.status if battery else None,
        )


class _Moments(_Part):
    start: _Conditions
    before: _Conditions
    after: _Conditions


class _RuntimeFacts(_Part):
    name: Name
    version: Name
    details: dict[str, Any]


class _Tensor(_Part):
    name: Text
    shape: list[Int | None]
    dtype: Name
    scale: float | None = None
    zero_point: Int | None = None


class _Model(_Part):
    file: Text
    bytes: Size
    inputs: list[_Tensor]
    outputs: list[_Tensor]


class _Clock(_Part):
    resolution_ns: Sample
    read_ns: Span


class _Sampling(_Part):
    wall_ns: Span
    cpu_ns: Span
    preempted: Int
    others_busy_cores: float | None


class _Head(_Part):
    schema_: int = Field(alias="schema")
    agent: Name
    platform: dict[str, Any]


_Spans = list[Span]


class _Operator(_Part):
    name: Text
    operator: Text
    node: Size | None
    ns: _Spans = Field(min_length=1)


class _Profile(_Part):
    method: Text
    inference_ns: _Spans = Field(min_length=1)
    operators: list[_Operator]


class _Log(_Head):
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
    conditions: _Moments
    profile: _Profile | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        """Every operator was timed in every inference."""
        counts = {len(one.ns) for one in self.profile.operators} if self.profile else set()
        if self.profile and not counts <= {len(self.profile.inference_ns)}:
            raise ValueError("an operator was not timed in every inference")
        return self


class _Error(_Part):
    kind: Name
    message: Text


class _FailureLog(_Head):
    error: _Error
    conditions_at_failure: _Conditions


def _measurement_report(log: _Log) -> Report:
    measurement = Measurement(
        samples=tuple(log.samples_ns),
        warmup=tuple(log.warmup_ns),
        first=log.first_ns,
        load=log.load_ns,
        idle_rss_bytes=log.idle_rss_bytes,
        peak_rss_bytes=log.peak_rss_bytes,
        clock_resolution_ns=log.clock.resolution_ns,
        cpus=None if log.cpus is None else tuple(log.cpus),
        others_busy_cores=log.sampling.others_busy_cores,
    )
    return Report(
        outcome=measurement,
        runtime_version=log.runtime.version,
        before=log.conditions.before.record(),
        after=log.conditions.after.record(),
        profile=_profile(log.profile) if log.profile else None,
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


def _failure_report(log: _FailureLog) -> Report:
    return Report(
        outcome=failure_of(log.error.kind, log.error.message),
        runtime_version=None,
        before=None,
        after=log.conditions_at_failure.record(),
    )


def failure_of(kind: str, message: str) -> Failure:
    """A failure that the agent explained; ``kind`` is its word.

    Raises:
        ParseError: the word is unknown.
    """
    known = _FAILURES.get(kind)
    if known is None:
        raise ParseError(f"the agent failed with the unknown kind {first_line(kind, 40)!r}")
    return Failure(kind=known, message=first_line(message, _MOST_MESSAGE))
