"""Disturbances of a process while it sampled: from its conditions, never from its figure.

``stats`` rates a cell by these findings and by its samples; ``attempts`` chooses among several
attempts at one process by these findings alone, so that no choice can flatter a figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from shufflenet_deploy.records import Conditions, Measurement, Metric, Run


class Cause(StrEnum):
    """Causes of an unstable or tainted cell."""

    THROTTLED = "throttled"
    FREQUENCY = "frequency changed"
    LOAD = "other load"
    SWAP = "swapping"
    CLOCK = "below clock resolution"
    OUTPUTS = "outputs change"
    OVERSUBSCRIBED = "more threads than cores"
    FEW_SAMPLES = "too few samples"
    DRIFT = "drifting"
    SPREAD = "wide spread"
    PROCESSES = "processes disagree"
    OUTLIERS = "outliers"


#: Causes under which the figure measures something else than the model.
_TAINTING = frozenset(
    {
        Cause.THROTTLED,
        Cause.FREQUENCY,
        Cause.LOAD,
        Cause.SWAP,
        Cause.CLOCK,
        Cause.OUTPUTS,
    }
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing wrong with a cell: what was seen, and what to type next.

    ``severity`` is how many times its limit the disturbance reached, 1 where it has no size.
    """

    cause: Cause
    message: str
    remedy: str
    severity: float = 1.0

    @property
    def tainting(self) -> bool:
        """True if the figure must not be compared at all."""
        return self.cause in _TAINTING


#: Bits of the Raspberry Pi firmware's "get_throttled"; bit + 16 means that it happened since boot.
_THROTTLE_BITS = (
    (0, "under-voltage"),
    (1, "frequency capped"),
    (2, "throttled"),
    (3, "soft temperature limit"),
)

_FREQUENCY_TOLERANCE = 0.05
_OTHERS_BUSY_CORES = 0.5
_OTHERS_BUSY_SHARE = 0.5
_SWAP_GROWTH_BYTES = 16 << 20


def throttle_reasons(bits: int | None) -> tuple[str, ...]:
    """Active throttling reasons from the firmware's bit mask."""
    return tuple(name for bit, name in _THROTTLE_BITS if bits is not None and bits >> bit & 1)


def tolerated_busy_cores(cores: int, *, threads: int) -> float:
    """Tolerated load of other programs: half a core, or half of the cores that we leave idle."""
    return max(_OTHERS_BUSY_CORES, (cores - threads) * _OTHERS_BUSY_SHARE)


def disturbances(run: Run) -> list[Finding]:
    """Findings on the target during one process; every one of them taints the figure."""
    measurement = run.outcome
    if not isinstance(measurement, Measurement) or run.spec.metric is Metric.INSTRUCTIONS:
        return []
    findings = []
    if run.before is not None and run.after is not None:
        findings += _condition_changes(run.before, run.after)
    busy = measurement.others_busy_cores
    tolerated = tolerated_busy_cores(len(run.target.cores), threads=run.cell.threads)
    if busy is not None and busy > tolerated:
        findings.append(
            Finding(
                cause=Cause.LOAD,
                message=f"other programs kept {busy:.1f} of {len(run.target.cores)} cores busy",
                remedy="stop them (on the target: top); when doctor says fit, bench again",
                severity=busy / tolerated,
            )
        )
    return findings


def oversubscription(run: Run) -> list[Finding]:
    """Finding for threads of one process that shared cores, for any metric.

    The process then measures its own waiting besides the model: threads that spin at a barrier hold
    the core that another one needs.
    """
    if not isinstance(run.outcome, Measurement):
        return []
    limits = (len(run.target.cores), len(run.outcome.cpus or ()), len(run.spec.cpus or ()))
    cores = min((count for count in limits if count), default=0)
    if not 0 < cores < run.cell.threads:
        return []
    return [
        Finding(
            cause=Cause.OVERSUBSCRIBED,
            message=f"{run.cell.threads} threads share {cores} core{'s' if cores > 1 else ''}",
            remedy=f"bench --threads {cores}"
            + (", or more --cpus" if cores < len(run.target.cores) else ""),
            severity=run.cell.threads / cores,
        )
    ]


def changing_outputs(run: Run) -> list[Finding]:
    """Finding for inferences of one input whose outputs differ, for any metric.

    They did not compute the same thing, say since the runtime overwrote its input. That is no
    disturbance: the next attempt would be no better.
    """
    if not isinstance(run.outcome, Measurement) or run.outcome.outputs_repeat is not False:
        return []
    return [
        Finding(
            cause=Cause.OUTPUTS,
            message="the first and the last inference of one input gave different outputs",
            remedy="another --runtime or --threads 1; eval tells how far its answers are right",
        )
    ]


def _condition_changes(before: Conditions, after: Conditions) -> list[Finding]:
    findings = []
    newly = (after.throttled or 0) >> 16 & ~((before.throttled or 0) >> 16)
    reasons = throttle_reasons((before.throttled or 0) | (after.throttled or 0) | newly)
    if reasons:
        findings.append(
            Finding(
                cause=Cause.THROTTLED,
                message=f"the firmware reports {', '.join(reasons)}",
                remedy="use the board's own power supply, then bench --max-temperature 60",
                severity=len(reasons),
            )
        )
    changes = {
        core: abs(after.frequency_khz.get(core, start) - start)
        / max(start, after.frequency_khz.get(core, start), 1)
        for core, start in before.frequency_khz.items()
    }
    core = max(changes, key=lambda one: changes[one], default="")
    if core and changes[core] > _FREQUENCY_TOLERANCE:
        start_khz, end_khz = before.frequency_khz[core], after.frequency_khz[core]
        findings.append(
            Finding(
                cause=Cause.FREQUENCY,
                message=(
                    f"core {core} went from {start_khz / 1000:.0f} "
                    f"to {end_khz / 1000:.0f} MHz while sampling"
                ),
                remedy="bench --governor performance, or --warmup 2s where it may not be set",
                severity=changes[core] / _FREQUENCY_TOLERANCE,
            )
        )
    swapped = (after.swap_used_bytes or 0) - (before.swap_used_bytes or 0)
    if swapped > _SWAP_GROWTH_BYTES:
        findings.append(
            Finding(
                cause=Cause.SWAP,
                message=f"{swapped >> 20} MiB went to swap while sampling",
                remedy="free memory on the target, or bench --precision int8 --resolution 224x224",
                severity=swapped / _SWAP_GROWTH_BYTES,
            )
        )
    return findings
