"""The native runtime: an exported file is itself the program that measures, and needs nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import BenchmarkSpec, Format, TargetFacts
from shufflenet_deploy.runtime.agent_log import json_object, parse_log
from shufflenet_deploy.runtime.agent_protocol import agent_options
from shufflenet_deploy.runtime.base import BuildCheck, Payload, Report


@dataclass(frozen=True)
class NativeRuntime:
    """Executables made by ``export --fmt native``, which share the agent's protocol."""

    name: str = "native"

    def pinned(self, version: str) -> NativeRuntime:
        """There is one version only.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"'native=={version}': native is of this package: leave =={version} out")

    @property
    def formats(self) -> tuple[Format, ...]:
        """The one format it is."""
        return ("native",)

    @property
    def standalone(self) -> bool:
        """A file of this runtime is a program."""
        return True

    @property
    def uses_openmp(self) -> bool:
        """A program has threads of its own."""
        return False

    @property
    def build_check(self) -> BuildCheck | None:
        """A file brings all that it needs."""
        return None

    def payload(self, _facts: TargetFacts) -> Payload:
        """Nothing is to be installed."""
        return Payload(name=self.name, requirements=(), imports=())

    def command(
        self,
        *,
        python: tuple[str, ...],  # noqa: ARG002 - no Python runs it
        agent: str,  # noqa: ARG002 - and no agent
        model: str,
        spec: BenchmarkSpec,
        input: str | None = None,  # noqa: A002 - the word of the program's own option
        output: str | None = None,
    ) -> tuple[str, ...]:
        """The file's own command line."""
        return (model, *agent_options(spec, input=input, output=output))

    def profiling(
        self,
        *,
        python: tuple[str, ...],  # noqa: ARG002 - as above
        profiler: str,  # noqa: ARG002 - the program reads the clock between its layers
        agent: str,  # noqa: ARG002
        model: str,
        spec: BenchmarkSpec,
        inferences: int,
    ) -> tuple[str, ...]:
        """The same command, with an option that profiles so many inferences afterwards."""
        measuring = self.command(python=(), agent="", model=model, spec=spec)
        return (*measuring, "--profile", str(inferences))

    def environment(self, _spec: BenchmarkSpec) -> Mapping[str, str]:
        """No variables."""
        return {}

    def parse(self, raw: str) -> Report:
        """Read the program's one JSON object; its version names the compiler, which decides speed.

        Raises:
            ParseError: it is not one JSON object, or not of this version's schema.
        """
        report = parse_log(raw)
        compiler = _compiler(raw)
        if report.runtime_version is None or not compiler:
            return report
        return replace(report, runtime_version=f"{report.runtime_version}, {compiler}")


def _compiler(raw: str) -> str:
    """``Clang 22.1.8`` or ``gcc 12.2.0``, of a log that was parsed before; "" if it names none."""
    runtime = json_object(raw).get("runtime")
    details = runtime.get("details") if isinstance(runtime, dict) else None
    version = details.get("compiler") if isinstance(details, dict) else None
    # Clang's __VERSION__ has its name, where its sources came from, and more; gcc's is a number.
    match = (
        re.match(r"(?:.*?(clang) )?(\d[\w.]{0,15})", version, re.IGNORECASE)
        if isinstance(version, str)
        else None
    )
    return f"{'Clang' if match[1] else 'gcc'} {match[2]}" if match else ""


RUNTIME = NativeRuntime()
