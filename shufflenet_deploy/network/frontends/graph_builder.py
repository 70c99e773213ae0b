"""Builder of a graph from recorded calls: layers with names and shapes, and located errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.network.graph import (
    Activation,
    Elementwise,
    Flatten,
    Layer,
    Pair,
    Shuffle,
)

INPUT_NAME = "input"

#: (top, left, bottom, right)
Padding = tuple[int, int, int, int]


@dataclass(frozen=True)
class Value:
    """Symbolic tensor without its batch of one: a feature map (C, H, W) or a vector (F,).

    ``split`` is the number of groups while the channels are viewed as (groups, C / groups), and
    ``transposed`` whether those two have been exchanged: the inside of a hand-written shuffle.
    """

    name: str
    shape: tuple[int, ...]
    split: int = 0
    transposed: bool = False

    @property
    def batched(self) -> tuple[int, ...]:
        """Shape that the network itself sees, batch first."""
        if not self.split:
            return (1, *self.shape)
        groups = (self.split, self.shape[0] // self.split)
        return (1, *(reversed(groups) if self.transposed else groups), *self.shape[1:])


class GraphBuilder:
    """Append layers one at a time; ``module_path`` and ``called`` name the call that is read."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._names: set[str] = {INPUT_NAME}
        self.module_path = ""
        self.called = ""
        """Function that the module calls, where the layer is no module of its own; else ""."""
        self.layers: list[Layer] = []
        self.shapes: dict[str, tuple[int, ...]] = {}

    def emit(
        self,
        make: Callable[..., Layer],
        inputs: tuple[Value, ...],
        shape: tuple[int, ...],
        word: str = "",
        **fields: Any,
    ) -> Value:
        """Append a layer, named by its module, or by the calling module and ``word``."""
        path = ".".join(
            part for part in (self.module_path, self.called and (word or self.called)) if part
        )
        name = self._unique(path)
        self.layers.append(
            make(name=name, inputs=tuple(value.name for value in inputs), output=name, **fields)
        )
        self.shapes[name] = shape
        return Value(name, shape)

    def _unique(self, path: str) -> str:
        name, count = path, 1
        while name in self._names:
            count += 1
            name = f"{path}_{count}"
        self._names.add(name)
        return name

    def fail(self, what: str) -> NoReturn:
        """Raise an ``ExportError`` that names the module."""
        where = f"module '{self.module_path}'" if self.module_path else "forward()"
        raise ExportError(f"cannot export {self._name}: {where} {what}")

    def finished(self, value: Any) -> Value:
        """Return a tensor; fails in the middle of a hand-written shuffle."""
        if not isinstance(value, Value) or value.split:
            self.fail("uses something other than a feature map")
        return value

    def require_map(self, x: Value) -> None:
        """Fail unless ``x`` is a feature map."""
        if len(x.shape) != 3:
            self.fail(f"expects a feature map and gets a vector of {x.shape[0]} values")

    def windows(
        self,
        x: Value,
        kernel: Pair,
        stride: Pair,
        padding: Padding,
        *,
        ceil: bool = False,
    ) -> tuple[Padding, Pair]:
        """Padding that the windows really touch, and the size (H, W) of the output."""
        self.require_map(x)
        ends, sizes = [], []
        for axis in (0, 1):
            extent, before, after = x.shape[1 + axis], padding[axis], padding[2 + axis]
            room = extent + before + after - kernel[axis]
            count = (math.ceil(room / stride[axis]) if ceil else room // stride[axis]) + 1
            if ceil and (count - 1) * stride[axis] >= extent + before:
                count -= 1  # PyTorch: every window starts inside the image or its left padding.
            if count < 1:
                self.fail(
                    f"needs windows of {kernel[0]}x{kernel[1]} and gets a map of "
                    f"{x.shape[1]}x{x.shape[2]}: choose a larger resolution"
                )
            sizes.append(count)
            ends.append(max(0, (count - 1) * stride[axis] + kernel[axis] - extent - before))
        return (padding[0], padding[1], ends[0], ends[1]), (sizes[0], sizes[1])

    def elementwise(self, x: Value, activation: Activation) -> Value:
        """Append an activation."""
        return self.emit(Elementwise, (x,), x.shape, activation=activation)

    def flat(self, x: Value) -> Value:
        """Append a flatten; a vector is returned as it is."""
        x = self.finished(x)
        if len(x.shape) == 1:
            return x
        return self.emit(Flatten, (x,), (math.prod(x.shape),), word="flatten")

    def shuffle(self, x: Value, groups: int) -> Value:
        """Append a channel shuffle."""
        self.require_map(x)
        if groups < 1 or x.shape[0] % groups:
            self.fail(f"shuffles {x.shape[0]} channels in {groups} groups")
        if groups in {1, x.shape[0]}:
            return x  # One group, or groups of one channel: nothing moves.
        return self.emit(Shuffle, (x,), x.shape, groups=groups, word="shuffle")


def pair(value: Any) -> Pair:
    """Height and width of a module's size argument, which may be one number."""
    return (int(value[0]), int(value[1])) if isinstance(value, (tuple, list)) else (value, value)


def both_sides(padding: Pair) -> Padding:
    """Symmetric padding from (vertical, horizontal)."""
    return (*padding, *padding)
