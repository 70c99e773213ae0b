"""LiteRT with the interpreter's own kernels, for comparison with XNNPACK's."""

from __future__ import annotations

from shufflenet_deploy.runtime.agent_protocol import AgentRuntime
from shufflenet_deploy.runtime.runtimes.litert import DISTRIBUTION

RUNTIME = AgentRuntime(runtime="litert-no-xnnpack", format="tflite", distribution=DISTRIBUTION)
