"""The last TensorFlow Lite with wheels for 32-bit ARM."""

from __future__ import annotations

from shufflenet_deploy.runtime.agent_protocol import AgentRuntime
from shufflenet_deploy.runtime.wheel_versions import Distribution, Release

_OLD_TFLITE = {"x86_64": "2.17", "aarch64": "2.17", "armv7l": "2.17"}

DISTRIBUTION = Distribution(
    name="tflite-runtime",
    module="tflite_runtime.interpreter",
    alternative="try --runtime litert (Python 3.9 or newer, 64 bit)",
    releases=(
        Release(
            version="2.14.0",
            pythons=("3.8", "3.11"),
            glibc={"x86_64": "2.17", "aarch64": "2.34", "armv7l": "2.34"},
            numpy_below_2=True,
        ),
        Release(version="2.13.0", pythons=("3.8", "3.10"), glibc=_OLD_TFLITE, numpy_below_2=True),
        Release(version="2.11.0", pythons=("3.7", "3.9"), glibc=_OLD_TFLITE, numpy_below_2=True),
    ),
)

RUNTIME = AgentRuntime(runtime="tflite-runtime", format="tflite", distribution=DISTRIBUTION)
