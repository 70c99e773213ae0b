"""The figures of one cell: latency, speedup over the baseline, processes, measured error.

A speedup compares only cells of one block, so baseline and candidate ran in the same rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from shufflenet_deploy import stats
from shufflenet_deploy.records import Evaluation, Measurement, Metric, Run
from shufflenet_deploy.report.run_groups import SelectedRuns
from shufflenet_deploy.report.table_model import (
    Estimate,
    Footprint,
    MeasuredError,
    Process,
    RunSettings,
    Speedup,
)
from shufflenet_deploy.stats import proportions


def estimate(measured: Sequence[Run]) -> Estimate:
    """The median of the processes' medians with its interval, and quantiles of all samples."""
    samples = stats.samples_of(measured)
    interval = stats.interval(samples)
    digest = stats.summary([sample for process in samples for sample in process])
    return Estimate(
        median=interval.estimate,
        low=interval.low,
        high=interval.high,
        p10=digest.p10,
        p90=digest.p90,
        p99=digest.p99,
        minimum=digest.minimum,
        maximum=digest.maximum,
        mad=digest.mad,
        samples=digest.count,
        outliers=digest.outliers,
    )


def speedup(cell: SelectedRuns, baseline: SelectedRuns) -> Speedup | None:
    """The ratio baseline / candidate with its interval; None if either has no samples."""
    if not cell.measured or not baseline.measured:
        return None
    interval = stats.speedup_interval(
        stats.samples_of(baseline.measured), stats.samples_of(cell.measured)
    )
    return Speedup(
        ratio=interval.estimate,
        low=interval.low,
        high=interval.high,
        distinguishable=interval.distinguishable,
    )


def theoretical_speedup(cell: SelectedRuns, baseline: SelectedRuns) -> float | None:
    """Ratio of multiply-adds at the same resolution: the paper's "theoretical" speedup."""
    if not cell.multiply_adds or not baseline.multiply_adds:
        return None
    return baseline.multiply_adds / cell.multiply_adds


def instruction_efficiency(
    cell: SelectedRuns, setting: RunSettings, latency: Estimate | None
) -> float | None:
    """Least possible vector multiply-adds over instructions executed; None in int8 and in time."""
    lanes = setting.precision.lanes
    if (
        setting.metric is not Metric.INSTRUCTIONS
        or lanes is None
        or latency is None
        or cell.multiply_adds is None
    ):
        return None
    return cell.multiply_adds / lanes / latency.median


def mismatches(cell: SelectedRuns, baseline: SelectedRuns | None) -> list[str]:
    """Differences in protocol or rounds that bias a comparison with the baseline."""
    if baseline is None or not cell.measured or not baseline.measured:
        return []
    remarks = []
    if cell.newest.spec.protocol != baseline.newest.spec.protocol:
        remarks.append("measured with another protocol than the baseline (see the conditions)")
    ours = sorted(run.started_at for run in cell.measured)
    theirs = sorted(run.started_at for run in baseline.measured)
    if min(len(ours), len(theirs)) > 1 and (ours[-1] < theirs[0] or theirs[-1] < ours[0]):
        remarks.append("not measured in the same rounds as the baseline")
    return remarks


def processes(measured: Sequence[Run]) -> tuple[Process, ...]:
    """The processes of a cell, each with its samples and the state of the target."""
    return tuple(
        Process(
            run=run.id,
            process=run.process,
            started_at=run.started_at,
            samples=run.outcome.samples,
            first=run.outcome.first,
            load=run.outcome.load,
            peak_rss_bytes=run.outcome.peak_rss_bytes,
            model_rss_bytes=run.outcome.model_rss_bytes,
            arena_bytes=run.outcome.arena_bytes,
            before=run.before,
            after=run.after,
        )
        for run in measured
        if isinstance(run.outcome, Measurement)
    )


def footprint(measured: Sequence[Run]) -> Footprint | None:
    """Memory, and the costs of the start; None where nothing was measured."""
    outcomes = [run.outcome for run in measured if isinstance(run.outcome, Measurement)]
    if not outcomes:
        return None
    artifact = measured[-1].artifact

    def largest(name: str) -> int | None:
        values = (getattr(one, name) for one in outcomes)
        return max((value for value in values if value is not None), default=None)

    return Footprint(
        file_bytes=artifact.size_bytes if artifact is not None else None,
        arena_bytes=largest("arena_bytes"),
        peak_rss_bytes=largest("peak_rss_bytes"),
        model_rss_bytes=largest("model_rss_bytes"),
        load=median(one.load for one in outcomes),
        first=median(one.first for one in outcomes),
    )


def measured_error(evaluation: Evaluation) -> MeasuredError:
    """The top-1 error of an evaluated file with its Wilson interval, in percent."""
    tally = evaluation.file
    low, high = proportions.wilson(tally.pictures - tally.top1, tally.pictures)
    return MeasuredError(
        percent=100 * (tally.pictures - tally.top1) / tally.pictures,
        low=100 * low,
        high=100 * high,
        pictures=tally.pictures,
        resolution=evaluation.artifact.resolution,
    )
