"""Command line and log of ``device_scripts/sustained.py``: models that take turns.

``parse`` is as strict as that of the agent: another schema, a missing or an unknown field is
refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field, ValidationError

from shufflenet_deploy.bounded import Count, Name, Size
from shufflenet_deploy.errors import ParseError
from shufflenet_deploy.records import BenchmarkSpec, Failure, TracePoint, TurnSamples, first_problem
from shufflenet_deploy.runtime.agent_log import (
    ErrorFields,
    Part,
    SensorFields,
    failure_of,
    json_object,
)
from shufflenet_deploy.runtime.base import Runtime

#: A turn: long enough for hundreds of small inferences, short beside the time that heat takes.
SLICE_SECS = 1.0
#: Reading a Raspberry Pi's throttle bits starts a program: not too often.
TRACE_SECS = 2.0


@dataclass(frozen=True, kw_only=True)
class TurnLog:
    """Result of one sustained measurement."""

    runtime_version: str
    slices: tuple[TurnSamples, ...]
    trace: tuple[TracePoint, ...]


def command(
    runtime: Runtime,
    *,
    python: tuple[str, ...],
    script: str,
    agent: str,
    models: Sequence[str],
    spec: BenchmarkSpec,
    secs: float,
) -> tuple[str, ...]:
    """The argv that lets ``models`` (paths on the target) take turns for ``secs``."""
    first, *others = models
    argv = runtime.command(python=python, agent=script, model=first, spec=spec)
    own = ("--agent", agent, "--secs", f"{secs:g}", "--slice-secs", f"{SLICE_SECS:g}")
    also = (word for other in others for word in ("--also", other))
    return (*argv, *own, "--trace-secs", f"{TRACE_SECS:g}", *also)


class _TracePoint(SensorFields):
    at_ns: Size

    def record(self) -> TracePoint:
        return TracePoint(
            at_ns=self.at_ns,
            frequency_khz=self.plausible_khz,
            temperature_c=self.plausible_c,
            throttled=self.throttled,
        )


class SustainedLog(Part):
    """Models that took turns."""

    schema_: int = Field(alias="schema")
    program: Name
    version: Name
    cpus: list[Count] | None
    slices: tuple[TurnSamples, ...] = Field(min_length=1)
    trace: tuple[_TracePoint, ...] = Field(min_length=1)


class SustainedFailureLog(Part):
    """A sustained measurement that was not possible."""

    schema_: int = Field(alias="schema")
    program: Name
    error: ErrorFields


def parse(raw: str, *, models: int) -> TurnLog | Failure:
    """Read what the script printed about so many ``models``.

    Raises:
        ParseError: it is something else.
    """
    fields: dict[str, Any] = json_object(raw)
    try:
        if "error" in fields:
            error = SustainedFailureLog.model_validate(fields).error
            return failure_of(error.kind, error.message)
        # As JSON, a strict schema takes a list for a tuple.
        log = SustainedLog.model_validate_json(raw, strict=True)
    except ValidationError as error:
        raise ParseError(f"the sustained log does not fit: {first_problem(error)}") from error
    if {one.subject for one in log.slices} != set(range(models)):
        raise ParseError(f"the sustained log does not hold turns of each of {models} models")
    return TurnLog(
        runtime_version=log.version,
        slices=log.slices,
        trace=tuple(point.record() for point in log.trace),
    )
