"""What a small install leaves out: the packages that only making and running files needs.

``pip install shufflenet-deploy`` measures files that are there, and shows what was measured;
``pip install 'shufflenet-deploy[export]'`` makes files too.
"""

from __future__ import annotations

from importlib.util import find_spec

from shufflenet_deploy.errors import UsageError

#: Modules that come with ``[export]``, by which the import system knows them.
EXPORT_MODULES = (
    "ai_edge_litert",
    "flatbuffers",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "onnxslim",
    "safetensors",
    "torch",
)

INSTALL = "pip install 'shufflenet-deploy[export]'"


def is_missing(module: str) -> bool:
    """Whether a module of ``EXPORT_MODULES`` is not installed; it is not imported."""
    try:
        return find_spec(module) is None
    except (ImportError, ValueError):
        return True


def can_export() -> bool:
    """Whether files can be made here."""
    return not any(map(is_missing, EXPORT_MODULES))


def explained(error: ModuleNotFoundError) -> UsageError | None:
    """What to tell the user of a module that a small install leaves out; None for any other."""
    module = (error.name or "").partition(".")[0].replace("-", "_").lower()
    if module not in EXPORT_MODULES:
        return None
    return UsageError(f"this needs {error.name}, which a small install leaves out: {INSTALL}")


def require_export(what: str) -> None:
    """Refuse what needs every package of ``[export]``, before anything slow.

    Raises:
        UsageError: one of them is not installed.
    """
    missing = [module for module in EXPORT_MODULES if is_missing(module)]
    if missing:
        raise UsageError(
            f"{what} needs {', '.join(missing)}, which a small install leaves out: {INSTALL}"
        )
