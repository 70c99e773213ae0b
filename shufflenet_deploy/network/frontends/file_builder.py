"""Builder of a graph from a file's operations: names made valid, shapes computed, errors located.

The readers of ONNX and Caffe files share it, and what both formats mean alike: the rounding of
windows, batch normalisation, the sum of values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.network.graph import (
    Activation,
    Add,
    Arithmetic,
    ArithmeticKind,
    Elementwise,
    Flatten,
    FloatArray,
    Graph,
    Layer,
    Multiply,
    Pad,
    Pair,
    Permute,
    Pool,
    PoolKind,
    Reshape,
    Shuffle,
    Slice,
)
from shufflenet_deploy.network.passes.affine import ChannelAffine
from shufflenet_deploy.network.shapes import Shape, output_shape
from shufflenet_deploy.printing import first_line

INPUT_NAME = "input"

#: (top, left, bottom, right)
Padding = tuple[int, int, int, int]

_MOST_NAME = 200
_MOST_MESSAGE = 400


@dataclass(frozen=True)
class Value:
    """A tensor of the graph, its shape without the batch of one."""

    name: str
    shape: Shape


class FileBuilder:
    """Append layers one at a time; ``name`` and ``what`` say which operation is being read."""

    def __init__(self, source: str, image: Shape) -> None:
        """``source`` is the file as messages show it, ``image`` the input (channels, H, W)."""
        self.source = source
        self.name = ""
        """The name of the next layers; more than one gets numbers."""
        self.what = ""
        """The operation in the file's words, such as ``Conv 'stem'``."""
        self.layers: list[Layer] = []
        self.shapes: dict[str, Shape] = {INPUT_NAME: image}
        self._names = Names([INPUT_NAME])
        self._wanted: dict[str, str] = {}
        self._viewed: dict[str, Value] = {}

    def emit(self, make: Callable[..., Layer], *inputs: Value, **fields: Any) -> Value:
        """Append a layer named by the operation.

        Raises:
            UsageError: it cannot take its inputs.
        """
        name = self._names.give(self.name)
        layer = make(name=name, inputs=tuple(one.name for one in inputs), output=name, **fields)
        try:
            shape = output_shape(layer, [one.shape for one in inputs])
        except (ValueError, IndexError) as error:
            self.fail(str(error))
        self._wanted[name] = self.name
        self.layers.append(layer)
        self.shapes[name] = shape
        return Value(name, shape)

    def graph(self, name: str, outputs: Sequence[Value]) -> Graph:
        """The value that was read, as it is written."""
        return Graph(
            name=name,
            input=INPUT_NAME,
            outputs=tuple(dict.fromkeys(value.name for value in outputs)),
            layers=tuple(self.layers),
            shapes=self.shapes,
        )

    def tidied(self, graph: Graph) -> Graph:
        """A graph that was made of this one, its layers named without needless numbers.

        What an operation became is numbered while it is read; when the graph is simplified, one
        layer of it is left as a rule, and has the operation's name.
        """
        own = [layer.name for layer in graph.layers if layer.name in self._wanted]
        others = {*graph.shapes, *(layer.name for layer in graph.layers)} - {*own}
        names = Names(others)
        new = {name: names.give(self._wanted[name]) for name in own}
        return replace(
            graph,
            outputs=tuple(new.get(name, name) for name in graph.outputs),
            layers=tuple(
                replace(
                    layer,
                    name=new.get(layer.name, layer.name),
                    inputs=tuple(new.get(name, name) for name in layer.inputs),
                    output=new.get(layer.output, layer.output),
                )
                for layer in graph.layers
            ),
            shapes={new.get(name, name): shape for name, shape in graph.shapes.items()},
        )

    def fail(self, reason: str) -> NoReturn:
        """Raise a ``UsageError`` that names the file and the operation."""
        text = first_line(f"{first_line(self.what)} {reason}", _MOST_MESSAGE)
        raise UsageError(f"cannot read {self.source}: {text}")

    @contextmanager
    def malformed(self) -> Iterator[None]:
        """Errors of a reader that a damaged operation brings about are said in a line, too."""
        try:
            yield
        except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError) as error:
            self.fail(f"is damaged ({first_line(str(error), 80) or type(error).__name__})")

    # --- what more than one operation of a file becomes ---------------------------------------

    def elementwise(self, x: Value, activation: Activation) -> Value:
        """Append an activation."""
        return self.emit(Elementwise, x, activation=activation)

    def with_constant(
        self, x: Value, kind: ArithmeticKind, constant: Any, *, reverse: bool = False
    ) -> Value:
        """Append an operation of a value and a constant, aligned at their last axis."""
        array = np.asarray(constant, np.float32).reshape(np.shape(constant) or (1,))
        return self.emit(Arithmetic, x, kind=kind, constant=array, reverse=reverse)

    def of_two(self, a: Value, b: Value, kind: ArithmeticKind) -> Value:
        """Append an operation of two values, by the most specific layer that says it."""
        if kind is ArithmeticKind.ADD and a.shape == b.shape:
            return self.emit(Add, a, b)
        if kind is ArithmeticKind.MULTIPLY:
            for x, gate in ((a, b), (b, a)):
                if len(x.shape) == 3 and gate.shape == (x.shape[0], 1, 1) != x.shape:
                    return self.emit(Multiply, x, gate)
        return self.emit(Arithmetic, a, b, kind=kind)

    def affine(self, x: Value, scale: NDArray[np.float64], shift: NDArray[np.float64]) -> Value:
        """Append ``x * scale + shift`` per channel, which ``simplify`` folds into convolutions."""
        if scale.shape != x.shape[:1] or shift.shape != x.shape[:1]:
            self.fail(f"has {scale.size} and {shift.size} statistics for {x.shape[0]} channels")
        if len(x.shape) == 3:
            return self.emit(ChannelAffine, x, scale=scale, shift=shift)
        ones = (1,) * (len(x.shape) - 1)
        scaled = self.with_constant(x, ArithmeticKind.MULTIPLY, scale.reshape(-1, *ones))
        return self.with_constant(scaled, ArithmeticKind.ADD, shift.reshape(-1, *ones))

    def reshaped(self, x: Value, shape: Shape) -> Value:
        """``x`` in another shape; of several views in a row the last is appended to the first."""
        x = self._viewed.get(x.name, x) if shape != x.shape else x
        if shape == x.shape:
            return x
        flat = len(x.shape) == 3 and shape == (math.prod(x.shape),)
        made = self.emit(Flatten, x) if flat else self.emit(Reshape, x, shape=shape)
        self._viewed[made.name] = x
        return made

    def permuted(self, x: Value, order: Sequence[int]) -> Value:
        """``x`` with its axes in another order."""
        if list(order) == list(range(len(x.shape))):
            return x
        return self.emit(Permute, x, order=tuple(order))

    def shuffled(self, x: Value, groups: int) -> Value:
        """``x`` with its channels shuffled; one group, or groups of one channel, move nothing."""
        return x if groups in {1, x.shape[0]} else self.emit(Shuffle, x, groups=groups)

    def sliced(self, x: Value, axis: int, start: int, stop: int, step: int = 1) -> Value:
        """A part of ``x`` along an axis; all of it is ``x`` itself."""
        if (start, stop, step) == (0, x.shape[axis], 1):
            return x
        return self.emit(Slice, x, axis=axis, start=start, stop=stop, step=step)

    def pool(
        self,
        x: Value,
        kind: PoolKind,
        kernel: Pair,
        stride: Pair,
        padding: Padding,
        *,
        ceil: bool,
        count_padding: bool = True,
    ) -> Value:
        """Append a pool.

        Of an average, ``count_padding`` counts the declared padding; what ``ceil`` adds beyond it
        never counts.
        """
        touched, overhang = self.windows(x, kernel, stride, padding, ceil=ceil)
        if overhang and kind is PoolKind.AVERAGE:
            if count_padding and any(padding):
                counted = [min(pair) for pair in zip(touched, padding, strict=True)]
                x = self.emit(Pad, x, padding=tuple(counted))
                rest = [all_ - part for all_, part in zip(touched, counted, strict=True)]
                touched = (rest[0], rest[1], rest[2], rest[3])
            count_padding = False
        return self.emit(
            Pool,
            x,
            kind=kind,
            kernel=kernel,
            stride=stride,
            padding=touched,
            count_padding=count_padding,
        )

    def windows(
        self, x: Value, kernel: Pair, stride: Pair, padding: Padding, *, ceil: bool = False
    ) -> tuple[Padding, bool]:
        """Padding that the windows touch, and whether it is more than declared.

        With ``ceil`` a last window may reach beyond the padding, if it begins inside the map or
        before it: the rule of Caffe, PyTorch and ONNX.
        """
        if len(x.shape) != 3 or min(*kernel, *stride) < 1 or min(padding) < 0:
            self.fail(f"has windows of {kernel[0]}x{kernel[1]} on {_sizes(x.shape)}")
        ends: list[int] = []
        for axis in (0, 1):
            extent, before, after = x.shape[1 + axis], padding[axis], padding[2 + axis]
            room = extent + before + after - kernel[axis]
            count = (-(-room // stride[axis]) if ceil else room // stride[axis]) + 1
            if ceil and (count - 1) * stride[axis] >= extent + before:
                count -= 1
            if count < 1:
                self.fail(
                    f"has windows of {kernel[0]}x{kernel[1]} on {_sizes(x.shape)}: "
                    "choose a larger resolution"
                )
            ends.append(max(0, (count - 1) * stride[axis] + kernel[axis] - extent - before))
        overhang = any(end > declared for end, declared in zip(ends, padding[2:], strict=True))
        return (padding[0], padding[1], ends[0], ends[1]), overhang


class Names:
    """Names of layers that are given once: what module paths may hold, numbered where taken."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)
        self._counts: dict[str, int] = {}

    def give(self, wanted: str) -> str:
        """``wanted``, or what is nearest to it and not given yet."""
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", wanted)[:_MOST_NAME]
        base = ".".join(part for part in name.split(".") if part) or "layer"
        given, count = base, self._counts.get(base, 1)
        while given in self._taken:
            count += 1
            given = f"{base}_{count}"
        self._counts[base] = count
        self._taken.add(given)
        return given


def float_array(values: Any) -> FloatArray:
    """An array of float32, its elements in order, that torch may share."""
    return np.require(values, np.float32, ["C", "W"])


def _sizes(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "one number"
