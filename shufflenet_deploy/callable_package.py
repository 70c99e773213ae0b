"""Subpackages that share their name with a function of the Python API.

``shufflenet_deploy.export`` is a package, and ``sd.export(...)`` a call. Python binds a submodule
to its name in the parent package as soon as anything imports it, so a function cannot keep that
name; the module itself is made callable instead.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class CallablePackage(ModuleType):
    """A module whose call is that of the function of its name in ``shufflenet_deploy.api``."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        root, _, name = self.__name__.rpartition(".")
        return getattr(importlib.import_module(f"{root}.api"), name)(*args, **kwargs)


def make_callable(module: str) -> None:
    """Make the imported module of this full name callable."""
    sys.modules[module].__class__ = CallablePackage
