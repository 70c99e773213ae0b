"""onnxruntime with its XNNPACK provider, where the target's own Python has a build with it.

PyPI's wheels are built without: there it is a failure that says so.
"""

from __future__ import annotations

from shufflenet_deploy.atomic_files import resource
from shufflenet_deploy.runtime.agent_protocol import AgentRuntime
from shufflenet_deploy.runtime.base import BuildCheck
from shufflenet_deploy.runtime.runtimes.onnxruntime import DISTRIBUTION

RUNTIME = AgentRuntime(
    runtime="onnxruntime-xnnpack",
    format="onnx",
    distribution=DISTRIBUTION,
    build_check=BuildCheck(
        program=resource("device_scripts", "agent/xnnpack_provider.py"),
        wheels_lack="PyPI's wheels of onnxruntime are built without the XNNPACK provider",
        remedy="put a build of your own (build.sh --use_xnnpack) into the target's Python and"
        " measure with --payload system, or take --runtime onnxruntime",
    ),
)
