"""Selection of runs: one attempt of each process, and of one cell those that sampled alike.

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

from shufflenet_deploy.records import Cell, Measurement, Run
from shufflenet_deploy.stats.disturbances import disturbances


def counted(runs: Iterable[Run]) -> list[Run]:
    """The attempt that counts of each process of each cell; ``runs`` in the order they were made.

    The result keeps that order.
    """
    chosen = (_chosen(attempts) for attempts in _by_process(runs).values())
    return [run for _, run in sorted(chosen, key=lambda pair: pair[0])]


def relevant(runs: Iterable[Run]) -> list[Run]:
    """Attempts for a report: those that count, those less good, and failures that came last.

    Attempts with another file, protocol or runtime version than the one that counts are left out.
    """
    found: list[_Placed] = []
    for attempts in _by_process(runs).values():
        _, standing = _chosen(attempts)
        last = attempts[-1]
        found += [
            one
            for one in attempts
            if (_measured(one[1]) and _made_alike(one[1], standing))
            or (one is last and not _measured(last[1]))
        ]
    return [run for _, run in sorted(found, key=lambda pair: pair[0])]


@dataclass(frozen=True, kw_only=True)
class CellRuns:
    """The runs of one cell, sorted by what they are good for.

    ``kept`` measured with the newest file, protocol and version of the runtime, one attempt of each
    process: their samples may be pooled. ``otherwise`` are those that measured with others.
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
        groups = _by_process(runs)
        last = [attempts[-1][1] for attempts in groups.values()]
        failed = tuple(run for run in last if not _measured(run))
        chosen = [run for run in counted(runs) if _measured(run)]
        if not chosen:
            return cls(failed=failed)
        newest = [run for run in runs if _measured(run)][-1]
        kept = tuple(run for run in chosen if _made_alike(run, newest))
        ids = {id(run) for run in kept}
        replaced = [
            placed
            for attempts in groups.values()
            if any(id(run) in ids for _, run in attempts)
            for placed in attempts
            if id(placed[1]) not in ids and _measured(placed[1]) and _made_alike(placed[1], newest)
        ]
        return cls(
            kept=kept,
            otherwise=tuple(run for run in chosen if id(run) not in ids),
            failed=failed,
            replaced=tuple(run for _, run in sorted(replaced, key=lambda pair: pair[0])),
        )


#: A run, and its place among those that were given.
_Placed = tuple[int, Run]


def _by_process(runs: Iterable[Run]) -> dict[tuple[str, str, Cell, int], list[_Placed]]:
    groups: dict[tuple[str, str, Cell, int], list[_Placed]] = {}
    for place, run in enumerate(runs):
        key = (run.suite, run.target.host, run.cell, run.process)
        groups.setdefault(key, []).append((place, run))
    return groups


def _measured(run: Run) -> bool:
    return isinstance(run.outcome, Measurement)


def _made_alike(run: Run, other: Run) -> bool:
    """True if the samples of two measured runs of one cell may be pooled."""
    return run is other or (run.sampling, run.runtime_version) == (
        other.sampling,
        other.runtime_version,
    )


def _chosen(attempts: Sequence[_Placed]) -> _Placed:
    if len(attempts) == 1:
        return attempts[0]
    measured = [placed for placed in attempts if _measured(placed[1])]
    if not measured:
        return attempts[-1]
    newest = measured[-1][1]
    alike = [placed for placed in measured if _made_alike(placed[1], newest)]
    return min(alike, key=lambda placed: _disturbance(placed[1]))


def _disturbance(run: Run) -> tuple[int, float]:
    """Rank of a process by disturbance: number of causes, then total severity over their limits."""
    findings = disturbances(run)
    return len(findings), sum(finding.severity for finding in findings)
