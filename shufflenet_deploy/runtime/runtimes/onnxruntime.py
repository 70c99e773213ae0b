"""onnxruntime, on its CPU provider."""

from __future__ import annotations

from shufflenet_deploy.runtime.agent_protocol import AgentRuntime
from shufflenet_deploy.runtime.wheel_versions import Distribution, Release, on_64_bits

DISTRIBUTION = Distribution(
    name="onnxruntime",
    module="onnxruntime",
    alternative="try --runtime tflite-runtime, or a 64-bit system with Python 3.11 or newer",
    # Since 1.29 it reports every model's name and hash to its makers, from threads that run while
    # we measure, and keeps an identifier in the user's home.
    env={"ORT_DISABLE_TELEMETRY": "1"},
    releases=(
        Release(version="1.32.0", pythons=("3.11", "3.14"), glibc=on_64_bits("2.28")),
        Release(version="1.28.0", pythons=("3.11", "3.14"), glibc=on_64_bits("2.27")),
        Release(version="1.23.2", pythons=("3.10", "3.13"), glibc=on_64_bits("2.27")),
        Release(version="1.19.2", pythons=("3.8", "3.12"), glibc=on_64_bits("2.27")),
        Release(
            version="1.16.3",
            pythons=("3.8", "3.11"),
            glibc=on_64_bits("2.17"),
            numpy_below_2=True,
        ),
        Release(
            version="1.14.1",
            pythons=("3.7", "3.10"),
            glibc={"x86_64": "2.17", "aarch64": "2.27"},
            numpy_below_2=True,
        ),
    ),
)

RUNTIME = AgentRuntime(runtime="onnxruntime", format="onnx", distribution=DISTRIBUTION)
