"""Which runs count: one attempt of each process, and of one cell those that sampled alike.

A process may have been attempted several times: retried because it was disturbed, or measured again
when its suite was resumed. All attempts stay in the journal. This is the rule for the one that
counts, the same for the session, tables, comparisons and ``runs show``:

1. an attempt that measured goes before one that failed;
2. among those, the file, the protocol (``Run.sampling``) and the runtime's version of the newest
   decide;
3. among those, the least disturbed one: with the fewest causes, then with the least severe ones
   (each as a multiple of its limit), then the earliest.

The figure itself never decides: the fastest attempt would flatter the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shufflenet_deploy.disturbances import disturbances
from shufflenet_deploy.records import Measurement, Run


def counted(runs: Iterable[Run]) -> list[Run]:
    """The attempt that counts of each process of each cell; ``runs`` in the order they were made.

    The result keeps that order.
    """
    groups: dict[tuple[str, str, str, int], list[tuple[int, Run]]] = {}
    for place, run in enumerate(runs):
        groups.setdefault(_process(run), []).append((place, run))
    chosen = (_chosen(attempts) for attempts in groups.values())
    return [run for _, run in sorted(chosen, key=lambda pair: pair[0])]


def relevant(runs: Iterable[Run]) -> list[Run]:
    """What a report needs: the attempts that count, those less good, and failures that came last.

    Attempts with another file, protocol or runtime version than the one that counts are left out.
    """
    given = list(runs)
    chosen = {_process(run): run for run in counted(given)}
    last = {_process(run): run for run in given}

    def is_relevant(run: Run) -> bool:
        standing = chosen[_process(run)]
        if not isinstance(run.outcome, Measurement):
            return run is last[_process(run)]
        return _made_alike(run, standing)

    return [run for run in given if is_relevant(run)]


@dataclass(frozen=True, kw_only=True)
class CellRuns:
    """The runs of one cell, sorted by what they are good for.

    ``kept`` measured with the newest file, protocol and version of the runtime, one attempt of each
    process: their samples may be put together. ``otherwise`` are those that measured with others.
    ``failed`` has the last attempt of each process that failed there. ``replaced`` are attempts at
    processes of ``kept`` that were disturbed more.
    """

    kept: tuple[Run, ...] = ()
    otherwise: tuple[Run, ...] = ()
    failed: tuple[Run, ...] = ()
    replaced: tuple[Run, ...] = ()

    @classmethod
    def of(cls, runs: Sequence[Run]) -> CellRuns:
        """Sort the attempts of one cell in one suite, given in the order they were made."""
        chosen = [run for run in counted(runs) if isinstance(run.outcome, Measurement)]
        last = {_process(run): run for run in runs}
        failed = tuple(run for run in last.values() if not isinstance(run.outcome, Measurement))
        if not chosen:
            return cls(failed=failed)
        newest = [run for run in runs if isinstance(run.outcome, Measurement)][-1]
        kept = tuple(run for run in chosen if _made_alike(run, newest))
        ids, processes = {id(run) for run in kept}, {_process(run) for run in kept}
        return cls(
            kept=kept,
            otherwise=tuple(run for run in chosen if id(run) not in ids),
            failed=failed,
            replaced=tuple(
                run
                for run in runs
                if isinstance(run.outcome, Measurement)
                and id(run) not in ids
                and _process(run) in processes
                and _made_alike(run, newest)
            ),
        )


def _process(run: Run) -> tuple[str, str, str, int]:
    return (run.suite, run.target.host, run.cell.model_dump_json(), run.process)


def _made_alike(run: Run, other: Run) -> bool:
    """Whether the samples of two measured runs of one cell may be put together."""
    return (run.sampling, run.runtime_version) == (other.sampling, other.runtime_version)


def _chosen(attempts: Sequence[tuple[int, Run]]) -> tuple[int, Run]:
    measured = [pair for pair in attempts if isinstance(pair[1].outcome, Measurement)]
    if not measured:
        return attempts[-1]
    newest = measured[-1][1]
    alike = [pair for pair in measured if _made_alike(pair[1], newest)]
    return min(alike, key=lambda pair: _disturbance(pair[1]))


def _disturbance(run: Run) -> tuple[int, float]:
    """How much disturbed a process: how many causes, and how far these exceeded their limits."""
    findings = disturbances(run)
    return len(findings), sum(finding.severity for finding in findings)
