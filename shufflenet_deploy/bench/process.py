"""One process on the target, from its command line to the run that is kept of it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import shufflenet_deploy
from shufflenet_deploy import runtime
from shufflenet_deploy.bench import energy, events
from shufflenet_deploy.bench import failures as outcomes
from shufflenet_deploy.bench.prepared import BenchContext, PreparedCell
from shufflenet_deploy.errors import DeployError
from shufflenet_deploy.records import Artifact, BenchmarkSpec, Cell, Failure, FailureKind, Run
from shufflenet_deploy.runtime import Report
from shufflenet_deploy.target import answers
from shufflenet_deploy.transport import CommandResult


def measure(ready: PreparedCell, context: BenchContext, *, process: int, attempt: int) -> Run:
    """Measure a cell in one process; a failure is a run, too."""
    spec = context.spec_of(ready.cell)
    argv = runtime.get(ready.cell.runtime).command(
        python=ready.python, agent=context.agent[0], model=ready.remote, spec=spec
    )
    argv, more_secs = energy.beside(argv, ready, context)
    run, _ = start(
        ready, context, spec, argv, process=process, attempt=attempt, more_secs=more_secs
    )
    return run.model_copy(update={"outcome": energy.explained(run.outcome, ready, context)})


def start(
    ready: PreparedCell,
    context: BenchContext,
    spec: BenchmarkSpec,
    argv: tuple[str, ...],
    *,
    process: int,
    attempt: int,
    more_secs: float = 0.0,
) -> tuple[Run, Report | None]:
    """Run a command line that reports as the agent does; the report is None where it gave none.

    It may take ``more_secs`` than the protocol's timeout.
    """
    engine = runtime.get(ready.cell.runtime)
    environment = ready.environment
    phone = _phone(context)
    started_at = datetime.now(UTC)
    result: CommandResult | None = None
    report: Report | Failure
    try:
        result = context.session.invoke(
            f"measuring {events.describe(ready.cell)}",
            argv,
            env=ready.variables(spec),
            timeout_s=spec.timeout_secs + more_secs,
        )
        report = outcomes.read(engine, result)
    except DeployError as error:
        report = outcomes.failure_of(error, spec.timeout_secs)
    known = report if isinstance(report, Report) else None
    run = Run(
        id=uuid.uuid4().hex,
        suite=context.suite_id,
        started_at=started_at,
        process=process,
        cell=ready.cell,
        artifact=ready.artifact,
        multiply_adds=ready.artifact.multiply_adds,
        runtime_version=known.runtime_version if known else None,
        target=context.facts,
        spec=spec,
        before=known.before if known else None,
        after=known.after if known else None,
        raw=_raw(result, read=known is not None),
        outcome=report if isinstance(report, Failure) else report.outcome,
        tool={
            "version": shufflenet_deploy.__version__,
            "agent_sha256": context.agent[1] if environment else None,
            "environment": environment.how.value if environment else None,
            "payload_bytes": environment.size_bytes if environment else None,
            "phone": phone,
            "attempt": attempt,
            "stderr": outcomes.tail(result.stderr) if result else "",
        },
    )
    return run, known


def _raw(result: CommandResult | None, *, read: bool) -> str:
    """The part of a program's output that is stored: all of it where it could be parsed."""
    if result is None:
        return ""
    return result.text if read else answers.kept(result.text)


def never_started(
    cell: Cell,
    artifact: Artifact | None,
    context: BenchContext,
    kind: FailureKind,
    error: DeployError,
) -> Run:
    """The run of a cell that could not be prepared."""
    return Run(
        id=uuid.uuid4().hex,
        suite=context.suite_id,
        started_at=datetime.now(UTC),
        process=1,
        cell=cell,
        artifact=artifact,
        multiply_adds=artifact.multiply_adds if artifact else None,
        target=context.facts,
        spec=context.spec_of(cell),
        outcome=Failure(kind=kind, message=str(error)),
        tool={"version": shufflenet_deploy.__version__},
    )


def _phone(context: BenchContext) -> dict[str, object] | None:
    """Battery, screen and sensors of a phone: what the agent may not read there."""
    if context.target.transport.kind != "adb":
        return None
    sensors = context.session.with_retry("asking for its state", context.target.sensors)
    return sensors.as_json()
