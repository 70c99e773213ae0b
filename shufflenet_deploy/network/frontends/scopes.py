"""The modules that are running while a module runs, by the paths that name layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Scope:
    """The module that is running; a ``layer`` is one in which nothing else runs by a name."""

    path: str
    layer: bool


class RecordedProgram(nn.Module):
    """A module that says itself which of the modules it was made of is running."""

    follow: Callable[[Scope], None] = staticmethod(lambda _: None)


class Scopes:
    """The stack of modules that are running, while a module runs."""

    def __init__(self, root: nn.Module) -> None:
        self._root = root
        self._scopes = {
            module: Scope(path, bool(path) and _is_layer(module))
            for path, module in root.named_modules()
        }
        self._running = [Scope("", layer=False)]

    @property
    def innermost(self) -> Scope:
        """The innermost call."""
        return self._running[-1]

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Follow every call of a submodule."""
        hooks = []
        for module in self._scopes:
            if isinstance(module, torch.jit.ScriptModule):
                continue  # Has no hooks; what it calls counts as its parent's.
            hooks.append(module.register_forward_pre_hook(self._enter))
            hooks.append(module.register_forward_hook(self._leave))
        if isinstance(self._root, RecordedProgram):
            self._root.follow = self._jump
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            if isinstance(self._root, RecordedProgram):
                del self._root.follow

    def _enter(self, module: nn.Module, _: Any) -> None:
        self._running.append(self._scopes[module])

    def _leave(self, *_: Any) -> None:
        self._running.pop()

    def _jump(self, scope: Scope) -> None:
        self._running[-1] = scope


#: Modules of PyTorch in which other modules run.
CONTAINERS = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict)


def _is_layer(module: nn.Module) -> bool:
    """True for modules of PyTorch, what is derived from them, and modules without submodules."""
    if not any(True for _ in module.children()):
        return True
    ancestors = [kind for kind in type(module).__mro__ if kind.__module__.startswith("torch.nn.")]
    return any(kind not in CONTAINERS for kind in ancestors)
