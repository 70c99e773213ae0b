"""What counts as failed in a suite: with ``all`` runtimes not what a target cannot have."""

from __future__ import annotations

from collections.abc import Iterable

from shufflenet_deploy.bench.suite import Suite
from shufflenet_deploy.records import ALL, Failure, Measurement, Run, last_attempts


def failed_runs(suite: Suite, runs: Iterable[Run]) -> list[Run]:
    """The last attempts on one target that make its session a failed one.

    Who asks for ``all`` runtimes asks for those that there are, who names one asks for that one. A
    target on which none measured has failed in all of them. A process that a suite no longer asks
    for, since it was resumed with fewer, fails nothing.
    """
    wanted = suite.max_processes if suite.precision_target else suite.spec.processes
    last = [run for run in last_attempts(runs) if run.process <= wanted]
    failed = [run for run in last if isinstance(run.outcome, Failure)]
    if not any(isinstance(run.outcome, Measurement) for run in last):
        return failed
    return [run for run in failed if not is_excused(suite, run.outcome)]


def is_excused(suite: Suite, outcome: Measurement | Failure | None) -> bool:
    """True if one of ``all`` runtimes lacks on the target what was asked for."""
    return ALL in suite.runtimes and isinstance(outcome, Failure) and outcome.is_lack
