"""Versions of whatever decides a result, and their comparison between machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from shufflenet_deploy.errors import WorkerVersionsError

_SHOWN = 3


def _probe() -> Callable[[], dict[str, str]]:
    """The function that asks a machine; it travels as code, so that also a machine without this
    package can answer.
    """

    def versions() -> dict[str, str]:
        import hashlib  # noqa: PLC0415
        import platform  # noqa: PLC0415
        from importlib import metadata, util  # noqa: PLC0415
        from pathlib import Path  # noqa: PLC0415

        found = {
            "processor": platform.machine(),
            "python": ".".join(platform.python_version_tuple()[:2]),
        }
        for name in (
            *("shufflenet-deploy", "torch", "numpy", "pillow", "safetensors", "flatbuffers"),
            *("onnx", "onnxruntime", "onnxscript", "onnxslim", "ai-edge-litert", "ziglang"),
            *("capstone", "pydantic", "distributed", "cloudpickle"),
        ):
            try:
                found[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                found[name] = "absent"
        spec = util.find_spec("shufflenet_deploy")
        total = hashlib.sha256()
        if spec is not None and spec.origin is not None:
            package = Path(spec.origin).parent
            for path in sorted(package.rglob("*")):
                if path.is_file() and path.suffix != ".pyc":
                    total.update(path.relative_to(package).as_posix().encode())
                    total.update(hashlib.sha256(path.read_bytes()).digest())
        found["source of shufflenet-deploy"] = total.hexdigest()[:12]
        return found

    return versions


versions = _probe()


@cache
def own() -> dict[str, str]:
    """The versions of this process."""
    return versions()


def check(wanted: Mapping[str, str], found: Mapping[str, str], *, where: str) -> None:
    """Refuse a machine whose results might differ.

    Raises:
        WorkerVersionsError: a version differs; the message names it and both values.
    """
    differing = [name for name in wanted if found.get(name) != wanted[name]]
    if not differing:
        return
    shown = ", ".join(
        f"{name} {found.get(name, 'absent')} (here {wanted[name]})" for name in differing[:_SHOWN]
    )
    more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
    raise WorkerVersionsError(
        f"the worker {where} has {shown}{more}: results may differ; install the same versions there"
    )
