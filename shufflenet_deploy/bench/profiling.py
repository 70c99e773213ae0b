"""How a process profiles: how many inferences, under which protocol."""

from __future__ import annotations

from shufflenet_deploy.records import BenchmarkSpec, Metric

#: Inferences with the profiler. Instructions do not vary, so few of them say it all.
_INFERENCES = {Metric.LATENCY: 20, Metric.INSTRUCTIONS: 5}


def profiled_inferences(spec: BenchmarkSpec) -> int:
    """How many inferences are taken apart."""
    return _INFERENCES[spec.metric]


def profiling_spec(spec: BenchmarkSpec) -> BenchmarkSpec:
    """How the process measures before it profiles: as many inferences, under the same protocol."""
    count = profiled_inferences(spec)
    return spec.model_copy(update={"min_runs": count, "min_secs": 0.0, "processes": 1})
