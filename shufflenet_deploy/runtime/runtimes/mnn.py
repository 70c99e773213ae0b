"""MNN, Alibaba's runtime for phones, on the CPU."""

from __future__ import annotations

from shufflenet_deploy.runtime.agent_protocol import AgentRuntime
from shufflenet_deploy.runtime.wheel_versions import Distribution, Release, on_64_bits

DISTRIBUTION = Distribution(
    name="MNN",
    module="MNN",
    alternative="try --runtime tflite-runtime",
    releases=(Release(version="3.6.1", pythons=("3.8", "3.14"), glibc=on_64_bits("2.17")),),
)

RUNTIME = AgentRuntime(runtime="mnn", format="mnn", distribution=DISTRIBUTION)
