"""Runtimes: what executes an exported model on a target, described without any I/O."""

from __future__ import annotations

import difflib
import importlib
import re
from functools import cache
from pathlib import Path
from typing import cast

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import RuntimeSpec
from shufflenet_deploy.runtime.base import BuildCheck, Payload, Report, Runtime

__all__ = ["BuildCheck", "Payload", "Report", "Runtime", "get", "names"]

_VERSION = re.compile(r"[0-9][0-9A-Za-z.]*")


@cache
def names() -> tuple[str, ...]:
    """Every runtime that can be asked for, in alphabetical order: the files in ``runtimes``."""
    files = Path(__file__).with_name("runtimes").glob("[a-z]*.py")
    return tuple(sorted(path.stem.replace("_", "-") for path in files))


def get(name: str) -> Runtime:
    """The runtime called ``name``, or a certain version of it: ``"onnxruntime==1.30"``.

    Raises:
        UsageError: there is no such runtime; the message names the nearest.
    """
    spec = RuntimeSpec.parse(name.strip())
    is_version = spec.version is None or _VERSION.fullmatch(spec.version) is not None
    if spec.name not in names() or not is_version:
        wanted = spec.name if is_version else name
        near = difflib.get_close_matches(wanted, names(), n=1, cutoff=0.6)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(names())}"
        raise UsageError(
            f"'{name}' is not a runtime: {hint} (a version is written onnxruntime==1.30)"
        )
    found = _described(spec.name)
    return found if spec.version is None else found.pinned(spec.version)


@cache
def _described(name: str) -> Runtime:
    module = f"shufflenet_deploy.runtime.runtimes.{name.replace('-', '_')}"
    return cast("Runtime", importlib.import_module(module).RUNTIME)
