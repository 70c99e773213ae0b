"""ExecuTorch's C++ runtime with XNNPACK, from the libraries of its wheel, without torch.

A bridge of C functions, compiled here for the target, goes with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import TargetFacts
from shufflenet_deploy.runtime.agent_protocol import AgentRuntime
from shufflenet_deploy.runtime.base import Payload
from shufflenet_deploy.runtime.wheel_versions import Distribution, Release, on_64_bits
from shufflenet_deploy.target import executorch_bridge
from shufflenet_deploy.target.wheels import Platform

_VERSION = "1.5.1"

DISTRIBUTION = Distribution(
    name="executorch",
    module="executorch.version",
    alternative="try --runtime litert, which has XNNPACK's kernels too",
    releases=(Release(version=_VERSION, pythons=("3.10", "3.14"), glibc=on_64_bits("2.28")),),
)


@dataclass(frozen=True, kw_only=True)
class ExecuTorchRuntime(AgentRuntime):
    """See ``AgentRuntime``; the bridge is a companion of its payload."""

    def pinned(self, version: str) -> ExecuTorchRuntime:
        """The one version whose C++ interface the bridge was written for.

        Raises:
            UsageError: it is another.
        """
        if version != _VERSION:
            raise UsageError(
                f"'executorch=={version}': the bridge to its C++ runtime is for {_VERSION}:"
                " leave the version out"
            )
        return replace(self, version=version)

    def payload(self, facts: TargetFacts) -> Payload:
        """The wheel, numpy, and the bridge for the target's architecture."""
        plain = super().payload(facts)
        arch = "aarch64" if facts.arch == "arm64" else facts.arch
        platform = Platform(
            arch=arch, libc=facts.libc or "glibc 2.28", python=facts.python or "3.11"
        )
        headers = executorch_bridge.headers_of_wheel(_VERSION, platform)
        bridge = partial(executorch_bridge.bridge, arch, _VERSION, headers)
        return replace(plain, companions={executorch_bridge.VARIABLE: bridge})


RUNTIME = ExecuTorchRuntime(runtime="executorch", format="executorch", distribution=DISTRIBUTION)
