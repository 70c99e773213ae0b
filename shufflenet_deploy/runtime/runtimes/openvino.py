"""OpenVINO on the CPU, x86 or 64-bit ARM."""

from __future__ import annotations

from shufflenet_deploy.runtime.agent_protocol import AgentRuntime
from shufflenet_deploy.runtime.wheel_versions import Distribution, Release

DISTRIBUTION = Distribution(
    name="openvino",
    module="openvino",
    alternative="on 64-bit ARM it needs glibc 2.35 (Debian 12, Ubuntu 22.04); try another runtime",
    releases=(
        Release(
            version="2026.4.1",
            pythons=("3.10", "3.14"),
            glibc={"x86_64": "2.28", "aarch64": "2.35"},
        ),
    ),
)

RUNTIME = AgentRuntime(runtime="openvino", format="openvino", distribution=DISTRIBUTION)
