"""Tensors in a pickle: from the recorded call that would rebuild one to its numbers.

A ``TensorRef`` is a view of a storage that has not been read yet; everything about it is checked
before a byte of it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from shufflenet_deploy.zoo.checkpoint.limits import MAX_DIMENSIONS, MAX_ELEMENTS
from shufflenet_deploy.zoo.checkpoint.numpy_arrays import array_parts, strides
from shufflenet_deploy.zoo.checkpoint.pickle_reader import Global, Instance
from shufflenet_deploy.zoo.checkpoint.storages import StorageRef, dtype_of, is_size, storage_of

Shape = tuple[int, ...]

#: Functions of torch that rebuild what has no plain numbers to offer, and what that is called.
_WITHOUT_NUMBERS = {
    "_rebuild_qtensor": "is quantised; give the float weights it was quantised from",
    "_rebuild_sparse_tensor": "is sparse; save it with .to_dense()",
    "_rebuild_nested_tensor": "is a nested tensor; no network here has one",
    "_rebuild_meta_tensor_no_storage": "is on the meta device: a shape without numbers",
    "_rebuild_wrapper_subclass": "is a tensor subclass; save it as a plain tensor",
    "_rebuild_device_tensor_from_numpy": "was on an XLA device; save it with .cpu()",
    "_rebuild_device_tensor_from_cpu_tensor": "was on another device; save it with .cpu()",
    "_rebuild_xla_tensor": "was on an XLA device; save it with .cpu()",
    "_reconstruct": "is a NumPy array of another kind than float32; save torch.from_numpy(array)",
    "_frombuffer": "is a NumPy array of another kind than float32; save torch.from_numpy(array)",
    "scalar": "is a NumPy number",
}


@dataclass(frozen=True, kw_only=True)
class TensorRef:
    """A tensor that has not been read. ``fault`` is why it cannot be; "" where it can."""

    shape: Shape = ()
    fault: str = ""
    dtype: torch.dtype = torch.float32
    storage: StorageRef | None = None
    offset: int = 0
    stride: Shape = ()

    @property
    def elements(self) -> int:
        """Product of the shape."""
        return math.prod(self.shape)

    def read(self, storage_bytes: Callable[[StorageRef], bytearray]) -> Tensor:
        """The numbers as float32, contiguous.

        Raises:
            ValueError: the storage is too short for the view; how, in words.
        """
        assert self.storage is not None
        if self.elements == 0:
            return torch.zeros(self.shape)
        steps = zip(self.shape, self.stride, strict=True)
        last = self.offset + sum((n - 1) * step for n, step in steps)
        content = storage_bytes(self.storage)
        size = self.dtype.itemsize
        if (last + 1) * size > len(content):
            raise ValueError(f"it needs {last + 1} numbers, and {len(content) // size} are stored")
        flat = torch.frombuffer(content, dtype=self.dtype, count=len(content) // size)
        view = flat.as_strided(self.shape, self.stride, self.offset)
        return view.to(torch.float32, copy=True).contiguous()


def tensor_of(value: object) -> TensorRef | None:
    """The tensor that ``value`` stands for, or None when it is no tensor."""
    for _ in range(MAX_DIMENSIONS):
        if not isinstance(value, Instance):
            return None
        function, args = value.name.rpartition(".")[2], value.args
        if function in ("_rebuild_parameter", "_rebuild_parameter_with_state", "Parameter"):
            value = args[0] if args else None
        elif function == "_rebuild_from_type_v2" and len(args) >= 3:
            value = _typed(args[0], args[2])
        elif function in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3"):
            return _plain(function, args)
        elif parts := array_parts(value):
            return _array(*parts)
        elif function in _WITHOUT_NUMBERS:
            return TensorRef(shape=_shape_of(args), fault=_WITHOUT_NUMBERS[function])
        else:
            return None
    return None


def _typed(function: object, args: object) -> object:
    if isinstance(function, Global) and isinstance(args, tuple):
        return Instance(name=function.name, args=args)
    return None


def _plain(function: str, args: tuple[object, ...]) -> TensorRef:
    if len(args) < 4:
        return TensorRef(fault="is damaged")
    storage = storage_of(args[0])
    if storage is None:
        return TensorRef(fault="has numbers of a kind that is unknown here")
    dtype = storage.dtype
    if function == "_rebuild_tensor_v3":
        known = dtype_of(args[6]) if len(args) > 6 else None
        if known is None:
            return TensorRef(fault="has numbers of a kind that is unknown here")
        dtype = known
    offset, shape, stride = args[1], _integers(args[2]), _integers(args[3])
    if shape is None or stride is None or not is_size(offset):
        return TensorRef(fault="has a shape that makes no sense")
    fault = check_shape(shape) or _kind_fault(dtype)
    if not fault and (len(shape) != len(stride) or min(stride, default=0) < 0):
        fault = "has a shape that makes no sense"
    return TensorRef(
        shape=shape, fault=fault, dtype=dtype, storage=storage, offset=offset, stride=stride
    )


def _array(storage: StorageRef, written: object, columns: bool) -> TensorRef:  # noqa: FBT001
    shape = _integers(written)
    if shape is None:
        return TensorRef(fault="has a shape that makes no sense")
    fault = check_shape(shape)
    stride = () if fault else strides(shape, columns=columns)
    return TensorRef(shape=shape, fault=fault, dtype=storage.dtype, storage=storage, stride=stride)


def check_shape(shape: Shape) -> str:
    """Fault of a shape, in words that follow a name; "" for none."""
    if any(n < 0 for n in shape):
        return f"has the negative shape {'x'.join(map(str, shape[:MAX_DIMENSIONS]))}"
    if len(shape) > MAX_DIMENSIONS:
        return f"has {len(shape)} dimensions"
    if math.prod(shape) > MAX_ELEMENTS:
        return f"claims {_big(math.prod(shape))} numbers, more than any network here has"
    if any(n > MAX_ELEMENTS for n in shape):
        return "claims a side longer than any network here has"
    return ""


def _kind_fault(dtype: torch.dtype) -> str:
    if dtype.is_complex:
        return "holds complex numbers"
    return "" if dtype.is_floating_point else "holds integers"


def _big(number: int) -> str:
    return str(number) if number < 10**12 else f"over 10^{int(math.log10(number))}"


def _integers(value: object) -> Shape | None:
    if isinstance(value, Instance) and value.name == "torch.Size" and value.args:
        value = value.args[0]
    if not isinstance(value, (tuple, list)):
        return None
    if not all(isinstance(n, int) and abs(n) < 1 << 63 for n in value):
        return None
    return tuple(value)


def _shape_of(args: tuple[object, ...]) -> Shape:
    """The shape among the arguments of a function that rebuilds no plain tensor, for messages."""
    found = [shape for shape in map(_integers, args) if shape]
    return found[0] if found else ()
