"""Statistics over samples and counts: pure functions."""

from __future__ import annotations

from shufflenet_deploy.stats.cell_stability import (
    Stability,
    Verdict,
    is_tainted,
    stability,
)
from shufflenet_deploy.stats.intervals import (
    FloatArray,
    Interval,
    Processes,
    Samples,
    Summary,
    center,
    interval,
    mad,
    median,
    outliers,
    ratio_interval,
    samples_of,
    speedup_change_interval,
    speedup_interval,
    summary,
)

__all__ = [
    "FloatArray",
    "Interval",
    "Processes",
    "Samples",
    "Stability",
    "Summary",
    "Verdict",
    "center",
    "interval",
    "is_tainted",
    "mad",
    "median",
    "outliers",
    "ratio_interval",
    "samples_of",
    "speedup_change_interval",
    "speedup_interval",
    "stability",
    "summary",
]
