"""Command line and log of ``device_scripts/pipeline.py``: images from bytes to classes.

``parse`` is as strict as that of the agent: another schema, a missing or an unknown field is
refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field, ValidationError

from shufflenet_deploy.bounded import Count, Name, Sample, Size, Span
from shufflenet_deploy.errors import ParseError
from shufflenet_deploy.records import (
    BenchmarkSpec,
    Failure,
    RuntimeSpec,
    TargetFacts,
    first_problem,
)
from shufflenet_deploy.runtime.agent_log import ErrorFields, Part, failure_of, json_object
from shufflenet_deploy.runtime.agent_protocol import agent_options
from shufflenet_deploy.runtime.base import Payload, Runtime
from shufflenet_deploy.runtime.wheel_versions import numpy_requirement, pillow_requirement

#: What each image goes through, in this order.
STAGES = ("decode", "resize", "normalise", "infer", "pipe", "top-k")


@dataclass(frozen=True, kw_only=True)
class PipelineLog:
    """Result of one process."""

    runtime_version: str
    stages: dict[str, tuple[int, ...]]
    total: tuple[int, ...]
    top: tuple[tuple[int, ...], ...]


def payload(runtime: Runtime, facts: TargetFacts) -> Payload:
    """What a target needs for it: the runtime's own payload, and Pillow."""
    own = runtime.payload(facts)
    numpy = () if own.requirements else (numpy_requirement(facts),)
    return Payload(
        name=f"{runtime.name} and Pillow",
        requirements=(*own.requirements, *numpy, pillow_requirement(facts)),
        imports=tuple(dict.fromkeys((*own.imports, "numpy", "PIL.Image"))),
        env=own.env,
    )


def command(
    runtime: Runtime,
    *,
    python: tuple[str, ...],
    script: str,
    agent: str,
    model: str,
    recipe: str,
    images: Sequence[str],
    spec: BenchmarkSpec,
) -> tuple[str, ...]:
    """The argv that takes ``images`` (paths on the target) through ``model``.

    ``recipe`` is the metadata of the file as JSON.
    """
    named = (word for image in images for word in ("--image", image))
    own = ("--agent", agent, "--recipe", recipe, *named)
    which = ("--runtime", RuntimeSpec.parse(runtime.name).name, "--model", model)
    return (*python, script, *own, *which, *agent_options(spec, input=None, output=None))


class PipelineFields(Part):
    """Images that were timed."""

    schema_: int = Field(alias="schema")
    program: Name
    version: Name
    stages: dict[Name, list[Span]]
    total_ns: list[Sample] = Field(min_length=1)
    top: list[list[Size]]
    cpus: list[Count] | None


class PipelineFailureLog(Part):
    """A pipeline that was not possible."""

    schema_: int = Field(alias="schema")
    program: Name
    error: ErrorFields


def parse(raw: str, *, images: int) -> PipelineLog | Failure:
    """Read what the script printed about so many ``images``.

    Raises:
        ParseError: it is something else.
    """
    fields: dict[str, Any] = json_object(raw)
    try:
        if "error" in fields:
            error = PipelineFailureLog.model_validate(fields).error
            return failure_of(error.kind, error.message)
        log = PipelineFields.model_validate(fields)
    except ValidationError as error:
        raise ParseError(f"the pipeline's log does not fit: {first_problem(error)}") from error
    if tuple(log.stages) != STAGES or any(
        len(one) != len(log.total_ns) for one in log.stages.values()
    ):
        raise ParseError("the pipeline's log does not hold every stage of every image")
    if len(log.top) != images:
        raise ParseError(f"the pipeline's log does not hold the classes of {images} images")
    return PipelineLog(
        runtime_version=log.version,
        stages={name: tuple(values) for name, values in log.stages.items()},
        total=tuple(log.total_ns),
        top=tuple(tuple(one) for one in log.top),
    )
