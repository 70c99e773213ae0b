"""The figure of one run in a few characters, for lines of progress."""

from __future__ import annotations

from shufflenet_deploy import stats
from shufflenet_deploy.records import Measurement, Metric, Run
from shufflenet_deploy.report.numerals import figure


def figure_of(run: Run) -> str:
    """``12.3 ms``, ``31.8 Minstr``, or why there is none."""
    if not isinstance(run.outcome, Measurement):
        return f"failed ({run.outcome.kind.value}): {run.outcome.message}"
    unit = "Minstr" if run.spec.metric is Metric.INSTRUCTIONS else "ms"
    return f"{figure(stats.median(run.outcome.samples) / 1e6)} {unit}"
