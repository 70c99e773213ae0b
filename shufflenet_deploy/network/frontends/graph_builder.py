"""Builder of a graph: layers with names and shapes, located errors, what several readers emit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np

from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.network.graph import (
    Activation,
    Concat,
    Conv,
    Dense,
    Elementwise,
    Flatten,
    Layer,
    Pair,
    Permute,
    Reshape,
    Resize,
    ResizeMode,
    Sampling,
    Shuffle,
    Slice,
)

INPUT_NAME = "input"

#: More pieces than this are no sensible way to reorder channels.
_MOST_PIECES = 64

#: (top, left, bottom, right)
Padding = tuple[int, int, int, int]


@dataclass(frozen=True)
class Value:
    """Symbolic tensor without its batch of one: a feature map (C, H, W), a vector (F,), or other.

    ``batch`` is the position of the batch among the axes that the network itself sees; None once
    the network has merged or squeezed it. ``spread`` is the shape to which the network has
    broadcast the value without an operation of its own (``expand``).
    """

    name: str
    shape: tuple[int, ...]
    batch: int | None = 0
    spread: tuple[int, ...] | None = None

    @property
    def rank(self) -> int:
        """Number of axes that the network sees."""
        return len(self.shape) + (self.batch is not None)

    @property
    def seen(self) -> tuple[int, ...]:
        """Shape without the batch that the network sees."""
        return self.spread or self.shape


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
        /,
        word: str = "",
        *,
        auxiliary: bool = False,
        **fields: Any,
    ) -> Value:
        """Append a layer, named by its module, or by the calling module and ``word``.

        An ``auxiliary`` layer only prepares what the module computes, and always has the ``word``.
        """
        last = word if auxiliary else self.called and (word or self.called)
        path = ".".join(part for part in (self.module_path, last) if part)
        name = self._unique(path)
        self.layers.append(
            make(name=name, inputs=tuple(value.name for value in inputs), output=name, **fields)
        )
        self.shapes[name] = shape
        return Value(name, shape, inputs[0].batch)

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

    def require_map(self, x: Value) -> None:
        """Fail unless ``x`` is a feature map."""
        if len(x.shape) != 3 or x.batch not in {0, None}:
            self.fail(f"expects a feature map and gets values of shape {x.shape}")

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

    def axis(self, x: Value, dim: int) -> int:
        """The axis of a value that the network calls ``dim``; fails for the batch."""
        place = dim % x.rank
        if place == x.batch:
            self.fail("works along the batch")
        return place - (x.batch is not None and place > x.batch)

    def elementwise(self, x: Value, activation: Activation) -> Value:
        """Append an activation."""
        return self.emit(Elementwise, (x,), x.shape, activation=activation)

    def reshaped(
        self, x: Value, shape: Sequence[int], word: str = "reshape", *, auxiliary: bool = False
    ) -> Value:
        """Append a reshape; a value that has the shape is returned as it is."""
        wanted = tuple(shape)
        if wanted == x.shape:
            return x
        if len(x.shape) == 3 and len(wanted) == 1:
            return self.emit(Flatten, (x,), wanted, "flatten", auxiliary=auxiliary)
        return self.emit(Reshape, (x,), wanted, word, auxiliary=auxiliary, shape=wanted)

    def permuted(self, x: Value, order: Sequence[int], *, auxiliary: bool = False) -> Value:
        """Append a permutation of axes; where none moves the value is returned as it is."""
        axes = tuple(order)
        if axes == tuple(range(len(axes))):
            return x
        shape = tuple(x.shape[axis] for axis in axes)
        return self.emit(Permute, (x,), shape, "permute", auxiliary=auxiliary, order=axes)

    def cut(self, x: Value, axis: int, start: int, stop: int, step: int = 1) -> Value:
        """Append a slice; what is no cut is returned as it is."""
        count = len(range(start, stop, step))
        if count == x.shape[axis]:
            return x
        if count < 1:
            self.fail(f"cuts an empty piece out of {x.shape}")
        shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
        return self.emit(Slice, (x,), shape, "slice", axis=axis, start=start, stop=stop, step=step)

    def joined(self, parts: Sequence[Value], axis: int) -> Value:
        """Append a concatenation; a single part is returned as it is."""
        if len(parts) == 1:
            return parts[0]
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        return self.emit(Concat, tuple(parts), tuple(shape), "concat", axis=axis)

    def whole(self, x: Value) -> Value:
        """Append what carries out a broadcast that the network left to the reader of a value."""
        if x.spread is None:
            return x
        made, wanted = replace(x, spread=None), x.spread
        if len(x.shape) == 3 and x.shape[1:] == (1, 1) and x.shape[0] == wanted[0]:
            fields = {"mode": ResizeMode.NEAREST, "sampling": Sampling.ASYMMETRIC}
            return self.emit(
                Resize, (made,), wanted, "expand", auxiliary=True, size=wanted[1:], **fields
            )
        for axis, size in enumerate(wanted):
            if made.shape[axis] != size:
                if size > _MOST_PIECES:
                    self.fail(f"broadcasts a value of shape {x.shape} to {wanted}")
                made = self.joined([made] * size, axis)
        return made

    def gathered(self, x: Value, axis: int, indices: Sequence[int]) -> Value:
        """Append what takes ``indices`` along an axis: a shuffle, a slice, or a few of them."""
        count = x.shape[axis]
        order = [index % count for index in indices]
        groups = _shuffle_groups(order, count) if len(x.shape) == 3 and axis == 0 else 0
        if groups:
            return self.shuffle(x, groups)
        pieces = _progressions(order)
        if len(pieces) > _MOST_PIECES:
            return self._gathered_by_weights(x, axis, order)
        parts = [self.cut(x, axis, part.start, part.stop, part.step) for part in pieces]
        return self.joined(parts, axis)

    def _gathered_by_weights(self, x: Value, axis: int, order: list[int]) -> Value:
        """Any order of channels or features, by weights of which each row has a single one."""
        if axis != 0 or len(x.shape) not in {1, 3}:
            self.fail(f"reorders {x.shape[axis]} elements in a way that is no channel shuffle")
        weight = np.zeros((len(order), x.shape[0]), np.float32)
        weight[np.arange(len(order)), order] = 1
        bias = np.zeros(len(order), np.float32)
        shape = (len(order), *x.shape[1:])
        if len(shape) == 1:
            return self.emit(Dense, (x,), shape, "gather", weight=weight, bias=bias)
        kernel = weight[:, :, None, None]
        return self.emit(Conv, (x,), shape, "gather", weight=kernel, bias=bias)

    def shuffle(self, x: Value, groups: int) -> Value:
        """Append a channel shuffle."""
        self.require_map(x)
        if groups < 1 or x.shape[0] % groups:
            self.fail(f"shuffles {x.shape[0]} channels in {groups} groups")
        if groups in {1, x.shape[0]}:
            return x  # One group, or groups of one channel: nothing moves.
        return self.emit(Shuffle, (x,), x.shape, groups=groups, word="shuffle")


def with_batch(x: Value, batch: int | None) -> Value:
    """The same value seen with its batch elsewhere."""
    return replace(x, batch=batch)


def pair(value: Any) -> Pair:
    """Height and width of a size argument, which may be one number or a list of one."""
    if not isinstance(value, (tuple, list)):
        return (value, value)
    return (int(value[0]), int(value[-1]))


def both_sides(padding: Pair) -> Padding:
    """Symmetric padding from (vertical, horizontal)."""
    return (*padding, *padding)


def _shuffle_groups(order: list[int], count: int) -> int:
    """Groups of the channel shuffle that an order is; 0 if it is none."""
    if len(order) != count or count < 4 or order[0] != 0 or order[1] < 2 or count % order[1]:
        return 0
    step = order[1]
    shuffled = [j * step + i for i in range(step) for j in range(count // step)]
    return count // step if order == shuffled else 0


def _progressions(order: list[int]) -> list[range]:
    """The order as increasing arithmetic progressions, each as long as possible."""
    found: list[range] = []
    at = 0
    while at < len(order):
        step = max(1, order[at + 1] - order[at]) if at + 1 < len(order) else 1
        end = at + 1
        while end < len(order) and order[end] == order[end - 1] + step:
            end += 1
        found.append(range(order[at], order[end - 1] + 1, step))
        at = end
    return found
