"""The conditions of runs, and their differences between two suites.

A condition is everything recorded of a run but the compared cell itself: target, software, file,
protocol, governor and frequency. Some are under test, such as the file; the others confound a
comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from shufflenet_deploy import stats
from shufflenet_deploy.records import Conditions, Record, Run
from shufflenet_deploy.report.numerals import short

#: Relative tolerance within which two frequencies are the same condition.
_FREQUENCY_TOLERANCE = 0.05


class ConditionDifference(Record):
    """A condition that is not the same on both sides, and in how many of the cells on both."""

    condition: str
    control: str
    treatment: str
    cells: int


def differences(
    pairs: Sequence[tuple[Sequence[Run], Sequence[Run]]],
) -> tuple[ConditionDifference, ...]:
    """The conditions that differ, with both values; equal ones of several cells are merged."""
    found: dict[tuple[str, str, str], int] = {}
    for control, treatment in pairs:
        for change in changes(conditions_of(control), conditions_of(treatment)):
            found[change] = found.get(change, 0) + 1
    return tuple(
        ConditionDifference(condition=name, control=before, treatment=after, cells=cells)
        for (name, before, after), cells in found.items()
    )


def confounders(control: Sequence[Run], treatment: Sequence[Run]) -> list[str]:
    """The differing conditions of a cell whose file and runtime are the same on both sides."""
    theirs = conditions_of(control)
    differing = changes(theirs, conditions_of(treatment))
    if not theirs["file (sha256)"] or any(name in _UNDER_TEST for name, _, _ in differing):
        return []
    return [f"{name} {before} → {after}" for name, before, after in differing]


def changes(theirs: Mapping[str, str], ours: Mapping[str, str]) -> tuple[tuple[str, str, str], ...]:
    """The conditions that differ, each with the value before and after; see ``conditions_of``."""
    return tuple(
        (name, theirs.get(name) or "unknown", ours.get(name) or "unknown")
        for name in dict.fromkeys([*theirs, *ours])
        if _differ(name, theirs, ours)
    )


def _differ(name: str, theirs: Mapping[str, str], ours: Mapping[str, str]) -> bool:
    before, after = theirs.get(name, ""), ours.get(name, "")
    return before != after and not (name == "MHz" and _close(before, after))


def conditions_of(runs: Sequence[Run]) -> dict[str, str]:
    """Every condition of the runs of a cell by its name; several values are joined."""
    values = {
        name: ", ".join(dict.fromkeys(str(of(run) or "") for run in runs)).strip(", ")
        for name, of in _CONDITIONS.items()
    }
    states = [state for run in runs for state in (run.before, run.after) if state is not None]
    values["governor"] = ", ".join(
        dict.fromkeys(name for state in states for name in state.governors.values())
    )
    values["MHz"] = _frequency(states)
    return values


def _protocol(run: Run) -> str:
    spec = run.spec
    return (
        f"warm-up {spec.warmup_runs} runs, {short(spec.warmup_secs)} s; samples {spec.min_runs}, "
        f"{short(spec.min_secs)} to {short(spec.max_secs)} s"
    )


#: The condition of a single run, by name.
_CONDITIONS: Mapping[str, Callable[[Run], object]] = {
    "host": lambda run: run.target.host,
    "board": lambda run: run.target.board,
    "CPU": lambda run: run.target.cpu,
    "architecture": lambda run: run.target.arch,
    "system": lambda run: run.target.os,
    "kernel": lambda run: run.target.kernel,
    "libc": lambda run: run.target.libc,
    "Python": lambda run: run.target.python,
    "runtime version": lambda run: run.runtime_version,
    "payload": lambda run: run.tool.get("environment"),
    "shufflenet-deploy": lambda run: run.tool.get("version"),
    "agent (sha256)": lambda run: str(run.tool.get("agent_sha256", ""))[:12],
    "file (sha256)": lambda run: run.artifact.sha256[:12] if run.artifact else None,
    "weights (sha256)": lambda run: run.artifact.weights.sha256[:12] if run.artifact else None,
    "converter": lambda run: run.artifact.converter if run.artifact else None,
    "CPUs": lambda run: ", ".join(map(str, run.spec.cpus or ())) or "not pinned",
    "background load": lambda run: run.spec.background_load or "none",
    "protocol": _protocol,
}

#: Conditions that two suites may be compared for; the others are of the target and its environment.
_UNDER_TEST = frozenset(
    {"runtime version", "payload", "file (sha256)", "weights (sha256)", "converter"}
)


def _frequency(states: Sequence[Conditions]) -> str:
    """The median over cores and samples, in MHz."""
    values = [khz for state in states for khz in state.frequency_khz.values()]
    return f"{stats.median(values) / 1000:.0f}" if values else ""


def _close(before: str, after: str) -> bool:
    if not before or not after:
        return False
    ends = float(before), float(after)
    return max(ends) - min(ends) <= _FREQUENCY_TOLERANCE * max(ends)
