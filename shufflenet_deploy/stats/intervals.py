"""Summaries of samples and bootstrap confidence intervals.

Samples come in two levels: *processes*, each a list of steady-state samples. Samples of one process
share its memory layout and its minute, so the spread between processes is what limits a comparison;
the bootstrap here resamples processes first and samples within them second (a two-stage bootstrap,
Davison and Hinkley, "Bootstrap Methods and their Application", section 3.8).

Nothing is ever dropped: outliers and taints are flagged, the samples stay.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.records import Measurement, Run

FloatArray = NDArray[np.float64]
Samples = Sequence[float] | Sequence[int] | FloatArray
#: One list of samples per process.
Processes = Sequence[Samples]

#: Turns a median absolute deviation into a standard deviation, were the samples normal.
MAD_TO_SIGMA = 1.4826
_RESAMPLES = 10_000


# --- summaries -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Order statistics of samples, in their own unit. ``outliers`` are counted, not removed."""

    count: int
    median: float
    mad: float
    p10: float
    p90: float
    p99: float
    minimum: float
    maximum: float
    outliers: int

    @property
    def spread(self) -> float:
        """Width of the middle 80 % of the samples, relative to the median."""
        return (self.p90 - self.p10) / self.median if self.median else 0.0


def median(samples: Samples) -> float:
    """The middle sample, or the mean of the two in the middle.

    Raises:
        ValueError: there are no samples.
    """
    return float(_median(_array(samples)))


def mad(samples: Samples) -> float:
    """Median absolute deviation from the median, in the samples' unit (not scaled)."""
    values = _array(samples)
    return float(_median(np.abs(values - _median(values))))


def summary(samples: Samples) -> Summary:
    """Summarise samples of one process, or of several put together.

    Raises:
        ValueError: there are no samples.
    """
    values = _array(samples)
    p10, p50, p90, p99 = np.percentile(values, (10, 50, 90, 99))
    return Summary(
        count=len(values),
        median=float(p50),
        mad=mad(samples),
        p10=float(p10),
        p90=float(p90),
        p99=float(p99),
        minimum=float(values.min()),
        maximum=float(values.max()),
        outliers=len(outliers(samples)),
    )


def outliers(samples: Samples, threshold: float = 5.0) -> tuple[int, ...]:
    """Indices of samples further than ``threshold`` robust standard deviations from the median.

    The deviation is the scaled MAD, but at least 1 % of the median: on a quiet machine the MAD is
    close to nothing and would call every second sample an outlier.
    """
    values = _array(samples)
    middle = float(_median(values))
    scale = max(MAD_TO_SIGMA * mad(samples), 0.01 * abs(middle))
    if scale == 0.0:
        return ()
    return tuple(int(index) for index in np.flatnonzero(abs(values - middle) > threshold * scale))


def center(processes: Processes) -> float:
    """Point estimate of a cell: the median of the medians of its processes.

    A process counts once however many samples it took, and one bad process in three is outvoted.

    Raises:
        ValueError: there are no processes, or one has no samples.
    """
    return median([median(samples) for samples in processes])


# --- intervals -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate and the interval that holds the true value with probability ``level``."""

    estimate: float
    low: float
    high: float
    level: float = 0.95

    @property
    def distinguishable(self) -> bool:
        """True if 1, "no difference", lies outside the interval."""
        return not self.low <= 1.0 <= self.high

    @property
    def precision(self) -> float:
        """Half the width relative to the estimate: 0.02 is "within 2 %"."""
        return (self.high - self.low) / 2.0 / self.estimate if self.estimate else math.inf

    @property
    def inverse(self) -> Interval:
        """The same statement about one over the value."""
        return Interval(
            estimate=1.0 / self.estimate,
            low=1.0 / self.high,
            high=1.0 / self.low,
            level=self.level,
        )


def interval(
    processes: Processes, *, level: float = 0.95, resamples: int = _RESAMPLES, seed: int = 0
) -> Interval:
    """The two-stage bootstrap interval of ``center(processes)``, in the samples' unit."""
    centers = _bootstrap_centers(processes, resamples, np.random.default_rng(seed))
    return _percentile_interval(center(processes), centers, level)


def ratio_interval(
    baseline: Processes,
    candidate: Processes,
    *,
    level: float = 0.95,
    resamples: int = _RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Ratio of candidate to baseline with a bootstrap interval: below 1 is faster.

    Args:
        baseline: samples of each process of the baseline, all positive.
        candidate: samples of each process of the candidate, all positive, in the same unit.
        level: probability that the interval holds the true ratio.
        resamples: bootstrap resamples; 10 000 settle the limits to about 1 % of the width.
        seed: the same seed gives the same interval.

    Raises:
        ValueError: no processes, an empty one, or a sample that is not positive.
    """
    for group in (baseline, candidate):
        if any(min(samples, default=0) <= 0 for samples in group):
            raise ValueError("a ratio needs at least one positive sample in every process")
    generator = np.random.default_rng(seed)
    below = _bootstrap_centers(baseline, resamples, generator)
    above = _bootstrap_centers(candidate, resamples, generator)
    return _percentile_interval(center(candidate) / center(baseline), above / below, level)


def speedup_interval(
    baseline: Processes, candidate: Processes, *, level: float = 0.95, seed: int = 0
) -> Interval:
    """Speedup of the candidate over the baseline: the inverse of the ratio."""
    return ratio_interval(baseline, candidate, level=level, seed=seed).inverse


def speedup_change_interval(
    before: tuple[Processes, Processes],
    after: tuple[Processes, Processes],
    *,
    level: float = 0.95,
    resamples: int = _RESAMPLES,
    seed: int = 0,
) -> Interval:
    """By what factor a speedup changed: the one ``after`` over the one ``before``.

    Each is a pair of baseline and candidate; see ``ratio_interval`` for both.

    Raises:
        ValueError: no processes, an empty one, or a sample that is not positive.
    """
    groups = (*after, *before)
    for group in groups:
        if any(min(samples, default=0) <= 0 for samples in group):
            raise ValueError("a ratio needs at least one positive sample in every process")
    generator = np.random.default_rng(seed)
    drawn = [_bootstrap_centers(group, resamples, generator) for group in groups]
    found = [center(group) for group in groups]
    return _percentile_interval(
        found[0] / found[1] / (found[2] / found[3]),
        drawn[0] / drawn[1] / (drawn[2] / drawn[3]),
        level,
    )


def _percentile_interval(estimate: float, values: FloatArray, level: float) -> Interval:
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(values, (tail, 1.0 - tail))
    # With two or three processes the quantiles may stop short of the estimate by rounding alone.
    return Interval(
        estimate=estimate,
        low=min(float(low), estimate),
        high=max(float(high), estimate),
        level=level,
    )


def _bootstrap_centers(
    processes: Processes, resamples: int, generator: np.random.Generator
) -> FloatArray:
    """``resamples`` bootstrap values of ``center(processes)``."""
    if not processes:
        raise ValueError("there are no processes to resample")
    count = len(processes)
    ordered = [np.sort(_array(samples)) for samples in processes]
    chosen = generator.integers(count, size=(resamples, count))
    medians = np.empty((resamples, count))
    for index, values in enumerate(ordered):
        places = chosen == index
        medians[places] = _resampled_medians(values, int(places.sum()), generator)
    return _median(medians)


def _resampled_medians(
    ordered: FloatArray, resamples: int, generator: np.random.Generator
) -> FloatArray:
    """Medians of ``resamples`` resamples (with replacement) of sorted values, exactly distributed.

    Drawing an index is flooring ``n * u`` with ``u`` uniform, which keeps order; so the median of a
    resample is the value under the middle of ``n`` uniforms, and order statistics of uniforms are
    Beta distributed. That costs one or two draws instead of ``n``.
    """
    count = len(ordered)
    half = (count - 1) // 2
    lower = generator.beta(half + 1, count - half, size=resamples)
    if count % 2:
        return np.asarray(ordered[_floor_index(lower, count)])
    # The next order statistic: the smallest of the uniforms that are left above ``lower``.
    upper = lower + (1.0 - lower) * generator.beta(1, count - half - 1, size=resamples)
    return np.asarray(
        (ordered[_floor_index(lower, count)] + ordered[_floor_index(upper, count)]) / 2.0
    )


def _floor_index(uniforms: FloatArray, count: int) -> NDArray[np.intp]:
    return np.minimum((uniforms * count).astype(np.intp), count - 1)


def _median(values: FloatArray) -> FloatArray:
    """Medians along the last axis, bit for bit those of ``np.median``.

    That one is made for any array, which takes ten times as long for the few samples of a process,
    and imports masked arrays for it.
    """
    above = values.shape[-1] // 2
    below = (values.shape[-1] - 1) // 2
    ordered = np.partition(values, (below, above), axis=-1)
    return np.asarray((ordered[..., below] + ordered[..., above]) / 2.0)


def _array(samples: Samples) -> FloatArray:
    values = np.asarray(samples, dtype=np.float64)
    if values.size == 0:
        raise ValueError("there are no samples")
    return values


# --- runs ----------------------------------------------------------------------------------------


def samples_of(runs: Iterable[Run]) -> list[tuple[int, ...]]:
    """The samples of every run that measured something, one list per process."""
    return [run.outcome.samples for run in runs if isinstance(run.outcome, Measurement)]
