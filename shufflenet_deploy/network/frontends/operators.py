"""The ATen operators that a file may call: those that are read, and what PyTorch makes them of."""

from __future__ import annotations

from typing import Any

import torch

from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.network.frontends.aten_comparisons import COMPARISON_READERS
from shufflenet_deploy.network.frontends.aten_composed import COMPOSED_READERS
from shufflenet_deploy.network.frontends.aten_functions import FUNCTION_READERS
from shufflenet_deploy.network.frontends.aten_layers import LAYER_READERS
from shufflenet_deploy.network.frontends.aten_shapes import SHAPE_READERS
from shufflenet_deploy.network.frontends.aten_unpool import PLACE_READERS
from shufflenet_deploy.network.frontends.aten_values import OPERAND_READERS, VALUE_READERS

#: Readers by operator; each gets the operator's arguments, values for what depends on the image.
READERS = {
    **LAYER_READERS,
    **VALUE_READERS,
    **FUNCTION_READERS,
    **OPERAND_READERS,
    **SHAPE_READERS,
    **COMPOSED_READERS,
    **COMPARISON_READERS,
    **PLACE_READERS,
}

#: Operators that PyTorch breaks down into those that are read.
_COMPOSITE = {
    *("conv1d", "conv2d", "conv_transpose2d", "linear", "matmul", "batch_norm", "max_pool2d"),
    *("adaptive_avg_pool2d", "dropout", "feature_dropout", "alpha_dropout", "flatten", "unflatten"),
    *("reshape", "reshape_as", "view_as", "contiguous", "chunk", "narrow", "swapaxes", "movedim"),
    *("relu6", "prelu", "selu", "pad", "softmax", "log_softmax", "square", "multiply", "divide"),
    *("subtract", "negative", "clip", "concat", "concatenate", "to", "type_as", "float"),
    *("upsample_nearest2d", "upsample_bilinear2d", "expand_as", "broadcast_to", "numpy_T"),
    *("lift_fresh_copy", "dropout", "hsplit", "vsplit", "tensor_split", "squeeze", "softplus"),
    *("instance_norm", "group_norm", "layer_norm", "avg_pool3d", "view_copy", "sym_size"),
}

#: Operators that make constants of numbers, and of constants.
_OF_CONSTANTS = {
    *("arange", "full", "zeros", "ones", "scalar_tensor", "zeros_like", "ones_like", "full_like"),
    *("new_zeros", "new_ones", "new_full", "sqrt", "rsqrt", "exp", "log", "var", "var_mean", "std"),
}

#: A constant of more elements than this is no part of a small network.
_MAX_ELEMENTS = 1 << 26


def known(name: str, overload: str) -> Any:
    """The operator of ATen, in place or not; None if it is none of those that a file may call."""
    plain = name.removesuffix("_") if not name.startswith("__") else name
    if not {name, plain} & {*READERS, *_COMPOSITE, *_OF_CONSTANTS}:
        return None
    return getattr(getattr(torch.ops.aten, name, None), overload, None)


def call(operator: Any, given: dict[str, Any]) -> Any:
    """The result of an operator for arguments by name.

    Raises:
        ExportError: a constant would be larger than any small network has.
    """
    name = operator.overloadpacket.__name__
    if name == "sym_size":
        return int(given["self"].shape[given["dim"]])
    if name in _OF_CONSTANTS:
        sizes = given.get("size") or [given.get("end", 1)]
        if not all(isinstance(one, (int, float)) and one >= 0 for one in sizes):
            raise ExportError(f"makes a constant of the size {sizes}")
        count = 1.0
        for one in sizes:
            count *= one
        if count > _MAX_ELEMENTS:
            raise ExportError(f"makes a constant of {count:.0f} elements")
    return operator(**given)
