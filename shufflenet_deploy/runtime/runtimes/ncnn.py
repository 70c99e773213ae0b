"""ncnn, Tencent's runtime for phones, on the CPU."""

from __future__ import annotations

from shufflenet_deploy.runtime.agent_protocol import AgentRuntime
from shufflenet_deploy.runtime.wheel_versions import Distribution, Release, on_64_bits

DISTRIBUTION = Distribution(
    name="ncnn",
    module="ncnn",
    alternative="try --runtime tflite-runtime",
    releases=(Release(version="1.0.20261020", pythons=("3.9", "3.14"), glibc=on_64_bits("2.24")),),
)

RUNTIME = AgentRuntime(runtime="ncnn", format="ncnn", distribution=DISTRIBUTION, uses_openmp=True)
