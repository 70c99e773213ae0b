"""Shapes of the results of ATen operators, and why an operator cannot take its arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from shufflenet_deploy.errors import ExportError

Shape = tuple[int, ...]

DATA_DEPENDENT = (
    "depends on the values of its input (an if, a loop or a number made of a tensor), which no "
    "exported file can"
)

#: Results have the shape of the operand. PyTorch would tell, but imports its compiler for that,
#: which takes seconds.
_LIKE_THEIR_OPERAND = {
    *("relu", "sigmoid", "hardsigmoid", "tanh", "hardswish", "silu", "mish", "gelu", "clamp"),
    *("hardtanh", "leaky_relu", "elu", "softplus", "_softmax"),
}


def without_values(func: Any, args: Any, kwargs: Any) -> Any:
    """The results of an operator on tensors of PyTorch's device "meta".

    Raises:
        ExportError: the operator does not take these arguments; the message goes after its module.
    """
    name = func.overloadpacket.__name__
    if name.rstrip("_") in _LIKE_THEIR_OPERAND:
        return args[0] if name.endswith("_") else torch.empty_like(args[0])
    if name == "native_batch_norm":
        return torch.empty_like(args[0]), *torch.empty((2, 0), device="meta")
    if name == "cat" and len({(one.dim(), *_around(one, *args[1:])) for one in args[0]}) == 1:
        size = list(args[0][0].shape)
        dim = args[1] if len(args) > 1 else 0
        size[dim] = sum(one.shape[dim] for one in args[0])
        return torch.empty(size, dtype=args[0][0].dtype, device="meta")
    try:
        return func(*args, **kwargs)
    except RuntimeError as error:
        lines = str(error).splitlines() or [type(error).__name__]
        if isinstance(error, NotImplementedError) and "torch.nonzero()" in lines[0]:
            raise ExportError(DATA_DEPENDENT) from error  # Elements are chosen by a mask.
        raise ExportError(_misfit(name, args) or f"fails: {lines[0]}") from error


def mapped(tree: Any, function: Callable[[Any], Any]) -> Any:
    """Arguments or results, in lists, tuples and dictionaries, with every leaf replaced."""
    if isinstance(tree, dict):
        return {key: mapped(one, function) for key, one in tree.items()}
    if isinstance(tree, list):
        return [mapped(one, function) for one in tree]
    if isinstance(tree, tuple):
        return tuple(mapped(one, function) for one in tree)
    return function(tree)


def _around(tensor: torch.Tensor, dim: int = 0) -> Shape:
    place = dim % max(tensor.dim(), 1)
    return (*tensor.shape[:place], *tensor.shape[place + 1 :])


def _misfit(name: str, args: Any) -> str:
    """The reason why an operator cannot take its arguments, where users meet it; "" otherwise."""
    if name in {"mm", "addmm"}:
        x, weight = args[-2:]
        if x.shape[-1] != weight.shape[0]:
            return (
                f"expects a vector of {weight.shape[0]} features and gets {x.shape[-1]}: the "
                "input resolution does not suit this head"
            )
    if name == "convolution":
        x, weight, transposed, groups = args[0], args[1], args[6], args[8]
        channels = weight.shape[0] if transposed else weight.shape[1] * groups
        if x.shape[1] != channels:
            return f"expects {channels} channels and gets {x.shape[1]}"
    if name == "convolution" or "pool" in name:
        size = "x".join(map(str, args[0].shape[2:]))
        return f"needs larger windows than its input of {size}: choose a larger resolution"
    return ""
