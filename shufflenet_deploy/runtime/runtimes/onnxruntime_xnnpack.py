"""onnxruntime with its XNNPACK provider, where the target's own Python has a build with it.

PyPI's wheels are built without: there it is a failure that says so.
"""

from __future__ import annotations

from shufflenet_deploy.runtime.agent_protocol import AgentRuntime
from shufflenet_deploy.runtime.runtimes.onnxruntime import DISTRIBUTION

RUNTIME = AgentRuntime(runtime="onnxruntime-xnnpack", format="onnx", distribution=DISTRIBUTION)
