"""Deploy ShuffleNet to ARM boards and measure the paper's speedup on them.

The command ``shufflenet-deploy`` is the product; its main steps are functions, too:

    import shufflenet_deploy as sd

    sd.load(...), sd.export(...), sd.bench(...), sd.table(...)

They live in ``shufflenet_deploy.api`` and are imported on first use. ``docs/api.md`` documents
them, ``docs/architecture.md`` the layers behind them.
"""

import os

# Read when onnxruntime is imported: names and hashes of the user's models are nobody else's.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"

#: Names that ``api`` defines.
_FUNCTIONS = ("load", "table")
_RECORDS = ("BenchResult",)
#: Functions of ``api`` with the name of a subpackage: see ``callable_package``.
_CALLABLE_PACKAGES = ("bench", "export")

__all__ = ["BenchResult", "__version__", "bench", "export", "load", "table"]


def __getattr__(name: str) -> object:
    """Import a name of the Python API on first use."""
    from importlib import import_module  # noqa: PLC0415

    if name in _CALLABLE_PACKAGES:
        return import_module(f"{__name__}.{name}")
    if name in (*_FUNCTIONS, *_RECORDS):
        return getattr(import_module(f"{__name__}.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
