"""Counting protocol on a deterministic board: number of inferences, and which of them count."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from statistics import median_low

from shufflenet_deploy import runtime
from shufflenet_deploy.cost.baseline import Count
from shufflenet_deploy.errors import TargetError
from shufflenet_deploy.records import Artifact, BenchmarkSpec, Failure, Metric, RuntimeSpec
from shufflenet_deploy.runtime.agent_file import install_agent
from shufflenet_deploy.target import Target

#: Inferences of one process. The first quarter is not counted (see ``settled``), so that even a
#: long inference needs three; of short ones there are 60 million instructions, which are
#: 0.06 s here.
SPEC = BenchmarkSpec(
    metric=Metric.INSTRUCTIONS,
    warmup_runs=0,
    warmup_secs=0,
    min_runs=4,
    min_secs=0.06,
    max_secs=600,
    processes=1,
    timeout_secs=900,
)
#: A cell whose inferences differ by more than this is not a count.
MOST_SPREAD = 0.005
#: The way of counting. Its number changes with the rules of ``settled`` and ``agreement``.
PROTOCOL = f"2 {SPEC.model_dump_json()} {MOST_SPREAD}"
#: Processes before that is reported; each makes twice the inferences of the one before.
_ATTEMPTS = 3


def settled(samples: Sequence[int]) -> Sequence[int]:
    """The inferences that count: all but the first quarter.

    What reading the conditions leaves to the kernel (memory and files to release) is done some
    milliseconds later, within the first of them: 1 % of an inference of 6 million instructions.
    """
    return samples[min(ceil(len(samples) / 4), len(samples) - 1) :]


def agreement(samples: Sequence[int]) -> tuple[int, float]:
    """The median of the settled samples, and how far it is above the lowest, relative to it.

    An interruption only ever adds to an inference. Some of them are no matter as long as the
    median is not one of the disturbed: then it is as low as the lowest.
    """
    kept = settled(samples)
    middle = median_low(kept)
    return middle, (middle - min(kept)) / middle


def count_one(cpu: str, name: str, artifact: Artifact, target: Target) -> Count:
    """Count one file on a deterministic board.

    Raises:
        TargetError: it does not run there, or its inferences differ.
        TransportError: the link failed.
    """
    chosen = runtime.get(name)
    python: tuple[str, ...] = ()
    variables, agent = dict(chosen.environment(SPEC)), ""
    if not chosen.standalone:
        environment = target.environment(chosen.payload(target.facts()))
        python, agent = environment.python, install_agent(target.install)
        variables = {**environment.env, **variables}
    model = target.install(artifact.path)
    for attempt in range(_ATTEMPTS):
        spec = _longer(SPEC, 2**attempt)
        argv = chosen.command(python=python, agent=agent, model=model, spec=spec)
        result = target.invoke(argv, env=variables, timeout_s=spec.timeout_secs)
        report = chosen.parse(result.text)
        if isinstance(report.outcome, Failure):
            raise TargetError(report.outcome.message)
        samples = report.outcome.samples
        middle, spread = agreement(samples)
        if spread <= MOST_SPREAD:
            break
    else:
        raise TargetError(
            f"inferences differ by {spread:.2%} (limit {MOST_SPREAD:.1%}, {len(samples)} samples"
            f" in the last of {_ATTEMPTS} processes): something else runs on the board; switch it"
            f" off with `shufflenet-deploy board down --name cost-{cpu}` and count again"
        )
    return Count(
        cpu=cpu,
        model=artifact.model,
        runtime=RuntimeSpec.parse(name).name,
        version=report.runtime_version or "unknown",
        precision=artifact.precision,
        resolution=artifact.resolution,
        instructions=middle,
        spread=round(spread, 6),
        multiply_adds=artifact.multiply_adds,
        artifact=artifact.sha256,
    )


def _longer(spec: BenchmarkSpec, times: int) -> BenchmarkSpec:
    """The same measurement of so many times the inferences."""
    return spec.model_copy(
        update={"min_runs": spec.min_runs * times, "min_secs": spec.min_secs * times}
    )
