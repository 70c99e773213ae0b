"""One node of an ONNX file as its reader sees it: typed attributes, tensors and constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto

from shufflenet_deploy.network.frontends.file_builder import FileBuilder, Value
from shufflenet_deploy.network.shapes import Shape

Array = NDArray[Any]

_NUMBERS: dict[type, tuple[int, str]] = {
    int: (AttributeProto.INT, "i"),
    float: (AttributeProto.FLOAT, "f"),
    str: (AttributeProto.STRING, "s"),
    tuple: (AttributeProto.INTS, "ints"),
}


@dataclass(frozen=True)
class Tensor:
    """A computed tensor of the file: its whole ``shape``, and the graph's value that holds it.

    The value has no batch: its shape is ``shape`` without a first axis of one, if there is one.
    """

    value: Value
    shape: Shape

    @property
    def batched(self) -> bool:
        """True if the first axis is the batch, which the graph's value does not have."""
        return without_batch(self.shape) != self.shape


def without_batch(shape: Shape) -> Shape:
    """The shape of the graph's value for a tensor of the file."""
    return shape[1:] if shape[:1] == (1,) else shape


def settled(builder: FileBuilder, value: Value, shape: Shape) -> Tensor:
    """A value of the elements of a tensor as the tensor: reshaped where it has other axes."""
    return Tensor(builder.reshaped(value, without_batch(shape)), shape)


class Node:
    """A node with its inputs: computed tensors, constants, or None where one is left out."""

    def __init__(
        self,
        builder: FileBuilder,
        proto: onnx.NodeProto,
        inputs: Sequence[Tensor | Array | None],
        opset: int,
    ) -> None:
        self.builder = builder
        self.proto = proto
        self.inputs = tuple(inputs)
        self.opset = opset
        self.attributes = {entry.name: entry for entry in proto.attribute}

    @property
    def op(self) -> str:
        """The operator's name."""
        return self.proto.op_type

    @property
    def outputs(self) -> int:
        """The number of outputs that the file names."""
        return len(self.proto.output)

    def fail(self, reason: str) -> NoReturn:
        """Raise a ``UsageError`` that names the file and this node."""
        self.builder.fail(reason)

    def has(self, index: int) -> bool:
        """True if the input is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def tensor(self, index: int = 0) -> Tensor:
        """A computed input."""
        found = self.inputs[index] if index < len(self.inputs) else None
        if not isinstance(found, Tensor):
            self.fail(f"needs a computed tensor as input {index}")
        return found

    def map(self, index: int = 0) -> Value:
        """A computed input that is a feature map (1, C, H, W)."""
        tensor = self.tensor(index)
        if len(tensor.shape) != 4 or not tensor.batched:
            self.fail(f"needs (1, C, H, W) and gets ({', '.join(map(str, tensor.shape))})")
        return tensor.value

    def constant(self, index: int) -> Array:
        """An input that is known when the file is read."""
        found = self.inputs[index] if index < len(self.inputs) else None
        if found is None or isinstance(found, Tensor):
            self.fail(f"needs a constant as input {index}, and the file computes it from the image")
        return found

    def optional(self, index: int) -> Array | None:
        """An input that is known when the file is read, or None if it is not given."""
        return self.constant(index) if self.has(index) else None

    def integers(self, index: int) -> tuple[int, ...] | None:
        """A constant input as integers, or None if it is not given."""
        found = self.optional(index)
        if found is None:
            return None
        if found.dtype.kind not in "iu" or found.size > 64:
            self.fail(f"needs a few integers as input {index}")
        return tuple(int(one) for one in found.reshape(-1))

    def number(self, index: int, default: float) -> float:
        """A constant input of one number."""
        found = self.optional(index)
        if found is None:
            return default
        if found.size != 1:
            self.fail(f"needs one number as input {index}")
        return float(found.reshape(-1)[0])

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute of the default's type: int, float, str or a tuple of ints."""
        return default if name not in self.attributes else self._typed(name, type(default))

    def sizes(self, name: str, default: Sequence[int]) -> tuple[int, ...]:
        """An attribute of as many integers as the default has."""
        found: tuple[int, ...] = self.attribute(name, tuple(default))
        if len(found) != len(default):
            self.fail(f"has '{name}' of {len(found)} numbers instead of {len(default)}")
        return found

    def optional_integers(self, name: str) -> tuple[int, ...] | None:
        """An attribute of integers, or None if it is not given."""
        return self._typed(name, tuple) if name in self.attributes else None

    def floats(self, name: str) -> tuple[float, ...] | None:
        """An attribute of floating-point numbers, or None if it is not given."""
        entry = self.attributes.get(name)
        return None if entry is None else tuple(entry.floats)

    def axis(self, axis: int, rank: int) -> int:
        """An axis counted from the front."""
        if not -rank <= axis < rank:
            self.fail(f"works along axis {axis} of {rank}")
        return axis % rank

    def _typed(self, name: str, kind: type) -> Any:
        entry = self.attributes[name]
        number, field = _NUMBERS[kind]
        if entry.type != number:
            self.fail(f"has an attribute '{name}' of the wrong type")
        value = getattr(entry, field)
        if kind is float and not np.isfinite(value):
            self.fail(f"has an attribute '{name}' that is no finite number")
        return value.decode(errors="replace") if kind is str else kind(value)
