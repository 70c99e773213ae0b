"""Instruction counts per operator, from the runtimes' own profilers.

On a board whose clock counts instructions, the whole microseconds of profilers are thousands of
instructions.
"""

from __future__ import annotations

from shufflenet_deploy import runtime
from shufflenet_deploy.analysis.profile import Breakdown, take_apart
from shufflenet_deploy.atomic_files import resource
from shufflenet_deploy.errors import TargetError
from shufflenet_deploy.export.profile_attribution import Attribution
from shufflenet_deploy.records import Artifact, BenchmarkSpec, Cell, Failure, RuntimeSpec
from shufflenet_deploy.runtime.agent_file import install_agent
from shufflenet_deploy.target import Target

_INFERENCES = 5


def profile(
    name: str,
    artifact: Artifact,
    model: str,
    target: Target,
    *,
    spec: BenchmarkSpec,
    attribution: Attribution,
) -> Breakdown:
    """Profile inferences of one file of ``model`` by operator, on a deterministic board.

    Raises:
        TargetError: the runtime has no profiler, or the model does not run.
        ParseError: the board printed something unexpected.
    """
    chosen = runtime.get(name)
    environment = target.environment(chosen.payload(target.facts()))
    argv = chosen.profiling(
        python=environment.python,
        profiler=target.install(resource("device_scripts", "profile_operators.py")),
        agent=install_agent(target.install),
        model=target.install(artifact.path),
        spec=spec,
        inferences=_INFERENCES,
    )
    if argv is None:
        raise TargetError(f"{name} has no operators to profile: count it without")
    variables = {**environment.env, **chosen.environment(spec)}
    report = chosen.parse(target.invoke(argv, env=variables, timeout_s=spec.timeout_secs).text)
    if isinstance(report.outcome, Failure):
        raise TargetError(report.outcome.message)
    if report.profile is None:
        raise TargetError(f"{name} was not profiled: the agent's report has no profile")
    return take_apart(
        attribution.with_layers(report.profile, artifact, model),
        report.outcome.samples,
        cell=Cell(
            model=artifact.model,
            options=artifact.options,
            runtime=RuntimeSpec.parse(name).name,
            format=artifact.format,
            precision=artifact.precision,
            resolution=artifact.resolution,
        ),
        host=target.host,
        metric=spec.metric,
        multiply_adds=artifact.multiply_adds,
        runtime_version=report.runtime_version,
    )
