"""One process of a cell at a fixed rate: inferences as an application's camera asks for them."""

from __future__ import annotations

from shufflenet_deploy import runtime
from shufflenet_deploy.bench import energy
from shufflenet_deploy.bench.prepared import BenchContext, PreparedCell
from shufflenet_deploy.bench.process import start
from shufflenet_deploy.errors import ConnectError
from shufflenet_deploy.records import Failure, FailureKind, Measurement, Paced


def pace(ready: PreparedCell, context: BenchContext, *, rate_hz: float, process: int) -> Paced:
    """Measure a cell in one process at ``rate_hz``; a failure is a record too.

    Raises:
        ConnectError: the target stayed out of reach.
    """
    spec = context.spec_of(ready.cell)
    argv = runtime.get(ready.cell.runtime).command(
        python=ready.python, agent=context.agent[0], model=ready.remote, spec=spec
    )
    argv, more_secs = energy.beside((*argv, "--rate", f"{rate_hz:.17g}"), ready, context)
    run, report = start(ready, context, spec, argv, process=process, attempt=1, more_secs=more_secs)
    outcome = energy.explained(run.outcome, ready, context)
    measured = outcome if isinstance(outcome, Measurement) else None
    failure = outcome if isinstance(outcome, Failure) else None
    if failure is not None and failure.kind is FailureKind.CONNECTION:
        raise ConnectError(failure.message)
    return Paced(
        id=run.id,
        suite=run.suite,
        started_at=run.started_at,
        process=process,
        cell=run.cell,
        artifact=ready.artifact.sha256,
        rate_hz=rate_hz,
        runtime_version=run.runtime_version,
        target=run.target,
        spec=spec,
        before=run.before,
        after=run.after,
        latency=report.latency if report is not None else (),
        inference=measured.samples if measured is not None else (),
        others_busy_cores=measured.others_busy_cores if measured is not None else None,
        background_busy_cores=measured.background_busy_cores if measured is not None else None,
        energy=measured.energy if measured is not None else None,
        failure=failure,
        tool=run.tool,
    )


def is_of(known: Paced, ready: PreparedCell, context: BenchContext) -> bool:
    """True if a stored process is of this cell, here, with the same file, protocol and rate."""
    return (
        (known.cell, known.artifact, known.rate_hz)
        == (ready.cell, ready.artifact.sha256, context.suite.rate_hz)
        and known.target.host == context.facts.host
        and known.spec.protocol == context.spec_of(ready.cell).protocol
    )
