"""Recording of a forward pass with torch.fx, in which a channel shuffle is one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

from shufflenet_deploy.errors import DeployError, ExportError


def record(module: nn.Module, name: str) -> fx.Graph:
    """Record the forward pass of an eval-mode module.

    Raises:
        ExportError: it is in training mode, or its forward pass cannot be recorded.
    """
    if module.training:
        raise ExportError(f"{name} is in training mode: call .eval() before exporting it")
    tracer = _Tracer()
    try:
        return tracer.trace(module)
    except DeployError:
        raise
    except Exception as error:  # Recording runs the module's own code, which may raise anything.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        where = f"module '{tracer.where}'" if tracer.where else "its forward()"
        raise ExportError(f"{name}: {where} cannot be recorded: {reason}") from error


class _Tracer(fx.Tracer):
    """Record a forward pass, and keep the path of the current module for error messages."""

    where = ""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """A shuffle is one layer, however it is written."""
        return is_shuffle(m) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Keep the path of the module in which recording fails."""
        before, self.where = self.where, self.path_of_module(m)
        result = super().call_module(m, forward, args, kwargs)
        self.where = before
        return result


def is_shuffle(module: nn.Module) -> bool:
    """True for modules named ``ChannelShuffle`` with a number of groups."""
    return type(module).__name__ == "ChannelShuffle" and isinstance(
        getattr(module, "groups", None), int
    )


def module_path_of(node: fx.Node) -> str:
    """Path of the module a call was recorded in, or of the module it calls."""
    stack = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else ""


def called_by(node: fx.Node) -> str:
    """Name of the function or method a module calls; "" where it calls another module."""
    if node.op == "call_module":
        return ""
    return (
        node.target
        if isinstance(node.target, str)
        else getattr(node.target, "__name__", "function")
    )


def is_in_place(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """True where a call overwrites its first operand."""
    if node.op == "call_module":
        return bool(getattr(modules[str(node.target)], "inplace", False))
    if node.op == "call_method":
        return str(node.target).endswith("_")
    return bool(node.kwargs.get("inplace")) or node.target is torch.relu_
