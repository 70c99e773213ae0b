"""LiteRT, TensorFlow Lite's heir, with XNNPACK."""

from __future__ import annotations

from shufflenet_deploy.runtime.agent_protocol import AgentRuntime
from shufflenet_deploy.runtime.wheel_versions import Distribution, Release, on_64_bits

DISTRIBUTION = Distribution(
    name="ai-edge-litert",
    module="ai_edge_litert.interpreter",
    alternative="try --runtime tflite-runtime",
    releases=(
        Release(version="2.3.0", pythons=("3.10", "3.14"), glibc=on_64_bits("2.27")),
        Release(version="2.1.0", pythons=("3.9", "3.13"), glibc=on_64_bits("2.27")),
        Release(version="1.4.0", pythons=("3.9", "3.12"), glibc=on_64_bits("2.17")),
    ),
)

RUNTIME = AgentRuntime(runtime="litert", format="tflite", distribution=DISTRIBUTION)
