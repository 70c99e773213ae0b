"""NumPy arrays in a pickle: the bytes lie inside it, next to a shape and the name of their type."""

from __future__ import annotations

import math

import torch

from shufflenet_deploy.zoo.checkpoint.pickle_reader import Instance
from shufflenet_deploy.zoo.checkpoint.storages import StorageRef

_KINDS = {"f2": torch.float16, "f4": torch.float32, "f8": torch.float64}

Shape = tuple[int, ...]


def array_parts(array: Instance) -> tuple[StorageRef, object, bool] | None:
    """The numbers, the shape as it was written and whether the first side is the fastest.

    None when it is no array of little-endian floats.
    """
    function = array.name.rpartition(".")[2]
    if function == "_frombuffer" and len(array.args) == 4:
        content, kind, shape, order = array.args
        columns = order == "F"
    elif function == "_reconstruct" and isinstance(array.state, tuple) and len(array.state) == 5:
        _, shape, kind, columns, content = array.state
    else:
        return None
    if not isinstance(content, (bytes, bytearray)) or not isinstance(kind, Instance):
        return None
    order = kind.state[1] if isinstance(kind.state, tuple) and len(kind.state) > 1 else "|"
    dtype = _KINDS.get(str(kind.args[0])) if kind.args else None
    if dtype is None or order != "<" or kind.name != "numpy.dtype":
        return None
    elements = len(content) // dtype.itemsize
    storage = StorageRef(key="", dtype=dtype, elements=elements, inline=bytes(content))
    return storage, shape, bool(columns)


def strides(shape: Shape, *, columns: bool) -> Shape:
    """Steps in elements of a dense array."""
    if columns:
        return tuple(math.prod(shape[:side]) for side in range(len(shape)))
    return tuple(math.prod(shape[side + 1 :]) for side in range(len(shape)))
