"""Stability of a cell: reliability of its figure, with every finding behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from shufflenet_deploy.records import BenchmarkSpec, Measurement, Metric, Run
from shufflenet_deploy.stats.disturbances import (
    Cause,
    Finding,
    changing_outputs,
    disturbances,
    oversubscription,
)
from shufflenet_deploy.stats.intervals import (
    MAD_TO_SIGMA,
    Samples,
    mad,
    median,
    samples_of,
    summary,
)


class Verdict(StrEnum):
    """Reliability of a cell's figure."""

    STABLE = "stable"
    NOISY = "noisy"
    TAINTED = "tainted"


@dataclass(frozen=True, kw_only=True)
class Stability:
    """The verdict on one cell and everything that led to it, worst first."""

    verdict: Verdict
    findings: tuple[Finding, ...] = ()

    @property
    def text(self) -> str:
        """``"stable"``, or the verdict with its causes: ``"tainted: throttled, swapping"``."""
        causes = ", ".join(finding.cause.value for finding in self.findings)
        return f"{self.verdict.value}: {causes}" if causes else self.verdict.value


_CLOCK_STEPS_PER_SAMPLE = 100
_ENOUGH_SAMPLES = 10
_DRIFT = 0.05
_SPREAD = 0.25
_PROCESS_SPREAD = 0.05
_OUTLIER_SHARE = 0.05


def stability(runs: Sequence[Run]) -> Stability:
    """Rate one cell from all of its runs (failures are ignored; no measurement is ``STABLE``)."""
    findings: dict[Cause, Finding] = {}
    measured = [run for run in runs if isinstance(run.outcome, Measurement)]
    for run in measured:
        for finding in (
            *disturbances(run),
            *changing_outputs(run),
            *oversubscription(run),
            *_sampling_flaws(run),
        ):
            findings.setdefault(finding.cause, finding)
    for finding in _disagreement(measured):
        findings.setdefault(finding.cause, finding)
    ordered = sorted(findings.values(), key=lambda finding: not finding.tainting)
    if not ordered:
        return Stability(verdict=Verdict.STABLE)
    verdict = Verdict.TAINTED if ordered[0].tainting else Verdict.NOISY
    return Stability(verdict=verdict, findings=tuple(ordered))


def is_tainted(runs: Sequence[Run]) -> bool:
    """Whether ``stability`` would call a cell tainted, without all that it says besides."""
    return any(disturbances(run) or changing_outputs(run) or _below_clock(run) for run in runs)


def _below_clock(run: Run) -> bool:
    """Whether the samples are too short for the clock that measured them."""
    measurement = run.outcome
    if not isinstance(measurement, Measurement) or run.spec.metric is Metric.INSTRUCTIONS:
        return False
    least = _CLOCK_STEPS_PER_SAMPLE * (measurement.clock_resolution_ns or 0)
    return min(measurement.samples) < least and median(measurement.samples) < least


def _sampling_flaws(run: Run) -> list[Finding]:
    """Findings from the samples of one process."""
    measurement = run.outcome
    if not isinstance(measurement, Measurement) or run.spec.metric is Metric.INSTRUCTIONS:
        return []
    digest = summary(measurement.samples)
    findings = []
    if _below_clock(run):
        step_ns = measurement.clock_resolution_ns or 0
        findings.append(
            Finding(
                cause=Cause.CLOCK,
                message=(f"a sample takes {digest.median:.0f} ns, the clock steps by {step_ns} ns"),
                remedy="bench --resolution 480x640, or a larger --model",
            )
        )
    if digest.count < min(_ENOUGH_SAMPLES, run.spec.min_runs):
        findings.append(_too_few(digest.count, run.spec))
    drift = _drift(measurement.samples)
    if abs(drift) > _DRIFT:
        direction = "slower" if drift > 0 else "faster"
        findings.append(
            Finding(
                cause=Cause.DRIFT,
                message=f"samples became {abs(drift):.0%} {direction} from start to end",
                remedy="bench --warmup 2s --cooldown 10; when it is heat: bench --sustained 10m",
            )
        )
    if digest.spread > _SPREAD:
        findings.append(
            Finding(
                cause=Cause.SPREAD,
                message=f"the middle 80 % of the samples span {digest.spread:.0%} of the median",
                remedy="bench --cpus N to pin the cores, or --min-secs 5 for more samples",
            )
        )
    if digest.outliers > _OUTLIER_SHARE * digest.count:
        findings.append(
            Finding(
                cause=Cause.OUTLIERS,
                message=f"{digest.outliers} of {digest.count} samples are outliers (kept)",
                remedy="stop other programs (on the target: top), or bench --min-secs 5",
            )
        )
    return findings


def _too_few(count: int, spec: BenchmarkSpec) -> Finding:
    return Finding(
        cause=Cause.FEW_SAMPLES,
        message=f"{count} samples in {spec.max_secs:g} s, {spec.min_runs} were asked for",
        remedy=f"bench --max-secs {spec.max_secs * 4:g}",
    )


def _drift(samples: Samples) -> float:
    """Relative change of the median from the first to the last third of the samples."""
    third = len(samples) // 3
    if third < 5:
        return 0.0
    start = median(samples[:third])
    return (median(samples[-third:]) - start) / start if start else 0.0


def _disagreement(runs: Sequence[Run]) -> list[Finding]:
    """Finding for processes of a cell whose medians disagree."""
    medians = [median(samples) for samples in samples_of(runs)]
    if len(medians) < 2:
        return []
    tolerance = 0.001 if runs[0].spec.metric is Metric.INSTRUCTIONS else _PROCESS_SPREAD
    spread = mad(medians) * MAD_TO_SIGMA / median(medians)
    if spread <= tolerance:
        return []
    return [
        Finding(
            cause=Cause.PROCESSES,
            message=f"the medians of {len(medians)} processes differ by {spread:.1%} (robust sd)",
            remedy=f"bench --processes {2 * len(medians)} --precision-target 2%",
        )
    ]
