"""Protocol of a profiling process: number of inferences and sampling limits."""

from __future__ import annotations

from shufflenet_deploy.records import BenchmarkSpec, Metric

#: Inferences with the profiler. Instruction counts do not vary, so few suffice.
_INFERENCES = {Metric.LATENCY: 20, Metric.INSTRUCTIONS: 5}


def profiled_inferences(spec: BenchmarkSpec) -> int:
    """Number of inferences that run under the profiler."""
    return _INFERENCES[spec.metric]


def profiling_spec(spec: BenchmarkSpec) -> BenchmarkSpec:
    """The protocol of the plain inferences before the profiled ones: as many, sampled alike."""
    count = profiled_inferences(spec)
    return spec.model_copy(update={"min_runs": count, "min_secs": 0.0, "processes": 1})
