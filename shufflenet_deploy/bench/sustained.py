"""One sustained measurement: the models of a group take turns on the target for a long time."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import shufflenet_deploy
from shufflenet_deploy import runtime
from shufflenet_deploy.bench import events, failures
from shufflenet_deploy.bench.prepared import BenchContext, PreparedCell
from shufflenet_deploy.errors import ConnectError, DeployError, ParseError
from shufflenet_deploy.records import Failure, Sustained
from shufflenet_deploy.runtime import sustained
from shufflenet_deploy.runtime.sustained import TurnLog


def sustain(
    group: Sequence[PreparedCell],
    context: BenchContext,
    *,
    secs: float,
    baseline: str | None,
    script: str,
) -> Sustained:
    """Measure the models of one group by turns for ``secs``; a failure is a record too.

    ``script`` is the device script's path on the target.

    Raises:
        ConnectError: the target stayed out of reach.
    """
    lead = group[0]
    spec = context.spec_of(lead.cell)
    engine = runtime.get(lead.cell.runtime)
    argv = sustained.command(
        engine,
        python=lead.python,
        script=script,
        agent=context.agent[0],
        models=[one.remote for one in group],
        spec=spec,
        secs=secs,
    )
    context.emit(events.Sustaining(cells=tuple(one.cell for one in group), secs=secs))
    started_at = datetime.now(UTC)
    stderr = ""
    found: TurnLog | Failure
    try:
        result = context.session.invoke(
            f"measuring {len(group)} models by turns",
            argv,
            env=lead.variables(spec),
            timeout_s=secs + spec.timeout_secs,
        )
        stderr = failures.tail(result.stderr)
        try:
            found = sustained.parse(result.text, models=len(group))
        except ParseError as error:
            found = failures.unexplained(result, error)
    except ConnectError:
        raise
    except DeployError as error:
        found = failures.failure_of(error, secs + spec.timeout_secs)
    turns = found if isinstance(found, TurnLog) else None
    return Sustained(
        id=uuid.uuid4().hex,
        suite=context.suite_id,
        started_at=started_at,
        cells=tuple(one.cell for one in group),
        artifacts=tuple(one.artifact.sha256 for one in group),
        baseline=baseline if any(one.cell.model == baseline for one in group) else None,
        duration_secs=secs,
        runtime_version=turns.runtime_version if turns else None,
        target=context.facts,
        spec=spec,
        slices=turns.slices if turns else (),
        trace=turns.trace if turns else (),
        failure=found if isinstance(found, Failure) else None,
        tool={
            "version": shufflenet_deploy.__version__,
            "environment": lead.environment.how.value if lead.environment else None,
            "stderr": stderr,
        },
    )
