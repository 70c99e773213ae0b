"""Runtimes measured by ``device_scripts/agent``: requirements and command line.

``agent_log`` reads the object that the agent prints.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from shufflenet_deploy.records import BenchmarkSpec, Format, RuntimeSpec, TargetFacts
from shufflenet_deploy.runtime.agent_log import parse_log
from shufflenet_deploy.runtime.base import BuildCheck, Payload, Report
from shufflenet_deploy.runtime.wheel_versions import Distribution

#: While windows of the warm-up disagree it goes on, up to this many times its minimum.
WARMUP_LIMIT_FACTOR = 4

#: Variables that thread pools read when they are loaded.
_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class AgentRuntime:
    """A Python distribution that the agent can drive."""

    runtime: str
    format: Format
    distribution: Distribution
    version: str | None = None
    build_check: BuildCheck | None = None
    uses_openmp: bool = False

    def pinned(self, version: str) -> AgentRuntime:
        """The same distribution in a certain version."""
        return replace(self, version=version)

    @property
    def name(self) -> str:
        """Name and version as the user wrote them: ``"onnxruntime"`` or ``"onnxruntime==1.30"``."""
        return str(RuntimeSpec(name=self.runtime, version=self.version))

    @property
    def formats(self) -> tuple[Format, ...]:
        """The one format it runs."""
        return (self.format,)

    @property
    def standalone(self) -> bool:
        """Python and the agent run the file."""
        return False

    def payload(self, facts: TargetFacts) -> Payload:
        """Pinned distributions for this target; see ``Distribution.requirements``."""
        return Payload(
            name=self.name,
            requirements=self.distribution.requirements(facts, self.version),
            imports=(self.distribution.module, "numpy"),
            env=self.distribution.env,
        )

    def command(
        self,
        *,
        python: tuple[str, ...],
        agent: str,
        model: str,
        spec: BenchmarkSpec,
        input: str | None = None,  # noqa: A002 - the word of the agent's own option
        output: str | None = None,
    ) -> tuple[str, ...]:
        """The agent's command line for one process."""
        which = ("--runtime", self.runtime, "--model", model)
        return (*python, agent, *which, *agent_options(spec, input=input, output=output))

    def profiling(
        self,
        *,
        python: tuple[str, ...],
        profiler: str,
        agent: str,
        model: str,
        spec: BenchmarkSpec,
        inferences: int,
    ) -> tuple[str, ...]:
        """The same command, run by ``device_scripts/profile_operators.py``."""
        measuring = self.command(python=(), agent=agent, model=model, spec=spec)
        return (*python, profiler, "--runs", str(inferences), *measuring)

    def environment(self, spec: BenchmarkSpec) -> Mapping[str, str]:
        """Thread pools as large as asked for, and no chatter of TensorFlow's logger."""
        pools = dict.fromkeys(_POOLS, str(spec.threads))
        return {**pools, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONDONTWRITEBYTECODE": "1"}

    def parse(self, raw: str) -> Report:
        """Read the agent's one JSON object.

        Raises:
            ParseError: it is not one JSON object, or not of this version's schema.
        """
        return parse_log(raw)


def agent_options(
    spec: BenchmarkSpec,
    *,
    input: str | None,  # noqa: A002 - the word of the agent's own option
    output: str | None,
) -> tuple[str, ...]:
    """Return one process's options, as every program that shares the protocol takes them."""
    options = {
        "--threads": str(spec.threads),
        "--warmup-runs": str(spec.warmup_runs),
        "--warmup-secs": f"{spec.warmup_secs:g}",
        "--warmup-max-secs": f"{spec.warmup_secs * WARMUP_LIMIT_FACTOR:g}",
        "--min-runs": str(spec.min_runs),
        "--min-secs": f"{spec.min_secs:g}",
        "--max-secs": f"{spec.max_secs:g}",
    }
    if spec.shapes:
        options["--shapes"] = json.dumps(dict(spec.shapes), separators=(",", ":"))
    if spec.background_load:
        options["--background-load"] = str(spec.background_load)
    if spec.cpus is not None:
        options["--cpus"] = ",".join(str(cpu) for cpu in spec.cpus)
    if input is not None:
        options["--input"] = input
    if output is not None:
        options["--output"] = output
    return tuple(word for option in options.items() for word in option)
