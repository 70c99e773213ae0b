"""Runtimes: what executes an exported model on a target, described without any I/O."""

from __future__ import annotations

import difflib
import re

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import Format, RuntimeSpec
from shufflenet_deploy.runtime.agent_protocol import AgentRuntime
from shufflenet_deploy.runtime.base import Payload, Report, Runtime
from shufflenet_deploy.runtime.native import NativeRuntime
from shufflenet_deploy.runtime.wheel_versions import LITERT, ONNXRUNTIME, TFLITE_RUNTIME

__all__ = ["Payload", "Report", "Runtime", "get", "names"]

_RUNTIMES = {
    "onnxruntime": (Format.ONNX, ONNXRUNTIME),
    "litert": (Format.TFLITE, LITERT),
    "tflite-runtime": (Format.TFLITE, TFLITE_RUNTIME),
}
_NATIVE = "native"
_VERSION = re.compile(r"[0-9][0-9A-Za-z.]*")


def names() -> tuple[str, ...]:
    """Every runtime that can be asked for."""
    return (*_RUNTIMES, _NATIVE)


def get(name: str) -> Runtime:
    """The runtime called ``name``, or a certain version of it: ``"onnxruntime==1.30"``.

    Raises:
        UsageError: there is no such runtime; the message names the nearest.
    """
    spec = RuntimeSpec.parse(name.strip())
    is_version = spec.version is None or _VERSION.fullmatch(spec.version) is not None
    if spec.name == _NATIVE and is_version:
        if spec.version:
            raise UsageError(f"'{name}': native is of this package: leave =={spec.version} out")
        return NativeRuntime()
    if spec.name not in _RUNTIMES or not is_version:
        wanted = spec.name if is_version else name
        near = difflib.get_close_matches(wanted, names(), n=1, cutoff=0.6)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(names())}"
        raise UsageError(
            f"'{name}' is not a runtime: {hint} (a version is written onnxruntime==1.30)"
        )
    model_format, distribution = _RUNTIMES[spec.name]
    return AgentRuntime(
        runtime=spec.name, version=spec.version, format=model_format, distribution=distribution
    )
