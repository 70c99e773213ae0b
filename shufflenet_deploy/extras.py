"""The optional ``[export]`` packages, which a small install leaves out.

``pip install shufflenet-deploy`` measures existing files and reports on stored runs;
``pip install 'shufflenet-deploy[export]'`` exports files too.
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
    """True if a module of ``EXPORT_MODULES`` is not installed; checked without importing it."""
    try:
        return find_spec(module) is None
    except (ImportError, ValueError):
        return True


def can_export() -> bool:
    """True if the packages for export are installed."""
    return not any(map(is_missing, EXPORT_MODULES))


def explained(error: ModuleNotFoundError) -> UsageError | None:
    """The user's message for a missing optional module; None for any other module."""
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
