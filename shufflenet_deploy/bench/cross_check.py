"""A cell measured once more by TFLite's own ``benchmark_model``, with the same file and limits."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from shufflenet_deploy.bench import events, failures
from shufflenet_deploy.bench.prepared import BenchContext, PreparedCell
from shufflenet_deploy.errors import ConnectError, DeployError, ParseError
from shufflenet_deploy.records import Aggregate, CrossCheck, Failure, FailureKind
from shufflenet_deploy.runtime import benchmark_model
from shufflenet_deploy.target import answers

#: What ``benchmark_model`` reads.
BENCHMARK_MODEL_FORMAT = "tflite"


@dataclass(frozen=True, kw_only=True)
class BenchmarkModelBinary:
    """``benchmark_model``: the file here, its sha256, and where it lies on the target."""

    path: Path
    sha256: str
    remote: str


def cross_check(
    ready: PreparedCell, context: BenchContext, program: BenchmarkModelBinary
) -> CrossCheck:
    """Let the program measure one cell; a failure is a record too.

    Raises:
        ConnectError: the target stayed out of reach.
    """
    spec = context.spec_of(ready.cell)
    more = context.suite.benchmark_model_args
    argv = benchmark_model.command(program.remote, ready.remote, spec, more)
    context.emit(events.Stage(text=f"{program.path.name} measures {ready.artifact.path.name}"))
    started_at = datetime.now(UTC)
    aggregate: Aggregate | None = None
    failure: Failure | None = None
    raw = ""
    try:
        result = context.session.invoke(
            f"running {program.path.name}", argv, timeout_s=spec.timeout_secs, cpus=spec.cpus
        )
        printed = f"{result.text}{result.stderr.decode('utf-8', 'replace')}"
        raw = answers.kept(printed)
        try:
            aggregate = benchmark_model.parse(printed)
        except ParseError as error:
            message = str(error)
            if result.exit_code in {126, 127} or result.signal is not None:
                message = f"{program.path.name} does not run there: {result.complaint}"
            failure = Failure(kind=FailureKind.PARSE, message=message)
    except ConnectError:
        raise
    except DeployError as error:
        failure = failures.failure_of(error, spec.timeout_secs)
    return CrossCheck(
        id=uuid.uuid4().hex,
        suite=context.suite_id,
        started_at=started_at,
        cell=ready.cell,
        artifact=ready.artifact.sha256,
        program=program.path.name,
        program_sha256=program.sha256,
        argv=argv,
        target=context.facts,
        spec=spec,
        aggregate=aggregate,
        failure=failure,
        raw=raw,
    )


def has_arguments(known: CrossCheck, context: BenchContext) -> bool:
    """True if a stored cross-check had the further arguments that the suite has now."""
    argv = benchmark_model.command("", "", known.spec, context.suite.benchmark_model_args)
    # Program and model lie elsewhere in every session.
    return known.argv[2:] == argv[2:]
