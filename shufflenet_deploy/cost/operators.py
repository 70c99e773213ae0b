"""Which operators the instructions of an inference go to, by onnxruntime's own profiler.

On a board whose clock counts instructions its whole microseconds are thousands of instructions.
LiteRT's Python interface has no profiler, so its inferences are only counted whole.
"""

from __future__ import annotations

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shufflenet_deploy import runtime
from shufflenet_deploy.errors import ParseError, TargetError
from shufflenet_deploy.files import resource
from shufflenet_deploy.records import Artifact, BenchmarkSpec, Format, Record
from shufflenet_deploy.target import Target

_RUNS = "5"


class Operator(Record):
    """All operators of one kind in an inference; ``share`` is of the whole inference."""

    kind: str
    nodes: int
    instructions: int
    share: float


class Profile(Record):
    """An inference taken apart, largest kind first. ``between`` is what no operator owns."""

    title: str
    version: str
    instructions: int
    operators: tuple[Operator, ...]

    @property
    def between(self) -> int:
        """Instructions outside of operators: the executor, the profiler itself, and rounding."""
        return self.instructions - sum(one.instructions for one in self.operators)


class _Node(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    operator: str
    ns: int


class _Log(BaseModel):
    model_config = ConfigDict(extra="forbid")
    schema_: Literal[1] = Field(alias="schema")
    operators: list[_Node]
    inference_ns: int
    version: str


def profile(
    title: str, name: str, artifact: Artifact, target: Target, spec: BenchmarkSpec
) -> Profile:
    """Take one inference of an ONNX file apart on a deterministic board.

    Raises:
        TargetError: the runtime has no profiler, or the model does not run.
        ParseError: the board printed something unexpected.
    """
    chosen = runtime.get(name)
    if artifact.format is not Format.ONNX:
        raise TargetError(f"{name} has no profiler that Python can reach: only whole inferences")
    environment = target.environment(chosen.payload(target.facts()))
    script = target.install(resource("device_scripts", "operators.py"))
    model = target.install(artifact.path)
    result = target.invoke(
        (*environment.python, script, "--model", model, "--runs", _RUNS),
        env={**environment.env, **chosen.environment(spec)},
        timeout_s=spec.timeout_secs,
    )
    return parse(title, result.text)


def parse(title: str, raw: str) -> Profile:
    """Read what ``operators.py`` printed. Pure.

    Raises:
        TargetError: it reports a failure.
        ParseError: it is something else.
    """
    try:
        fields = json.loads(raw)
        if "error" in fields:
            raise TargetError(f"{title}: {fields['error']['message']}")
        log = _Log.model_validate(fields)
    except (ValidationError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise ParseError(f"{title}: the board's profile cannot be read: {reason}") from error
    kinds: dict[str, list[int]] = {}
    for node in log.operators:
        kinds.setdefault(node.operator, []).append(node.ns)
    found = [
        Operator(
            kind=kind,
            nodes=len(costs),
            instructions=sum(costs),
            share=sum(costs) / log.inference_ns,
        )
        for kind, costs in kinds.items()
    ]
    found.sort(key=lambda one: one.instructions, reverse=True)
    return Profile(
        title=title,
        version=log.version,
        instructions=log.inference_ns,
        operators=tuple(found),
    )
