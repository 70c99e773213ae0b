"""How a process profiles: few inferences, and every operator told which layer it works for."""

from __future__ import annotations

from shufflenet_deploy.errors import DeployError
from shufflenet_deploy.records import Artifact, BenchmarkSpec, Metric, Profile

#: Inferences with the profiler. Instructions do not vary, so few of them say it all.
_INFERENCES = {Metric.LATENCY: 20, Metric.INSTRUCTIONS: 5}


def profiled_inferences(spec: BenchmarkSpec) -> int:
    """How many inferences are taken apart."""
    return _INFERENCES[spec.metric]


def profiling_spec(spec: BenchmarkSpec) -> BenchmarkSpec:
    """How the process measures before it profiles: as many inferences, under the same protocol."""
    count = profiled_inferences(spec)
    return spec.model_copy(update={"min_runs": count, "min_secs": 0.0, "processes": 1})


def with_layers(profile: Profile | None, artifact: Artifact) -> Profile | None:
    """A profile with the layers of its operators, where they can be told."""
    from shufflenet_deploy.export.attribution import attributed  # noqa: PLC0415 - torch

    if profile is None:
        return None
    try:
        return attributed(profile, artifact)
    except DeployError:
        # Without the model's description the operators still stand by themselves.
        return profile
