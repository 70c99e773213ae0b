"""Small graphs of one operator each, and random ones of several: what a lowering must say."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch

from shufflenet_deploy.network import graph as g
from shufflenet_deploy.network import interpreter

_T = TypeVar("_T")


def graph_of(*layers: g.Layer, shape: tuple[int, ...], outputs: tuple[str, ...] = ()) -> g.Graph:
    """A graph whose shapes are what the reference computes; its output is the last layer's."""
    values, shapes = {"input": torch.zeros(1, *shape)}, {"input": shape}
    for layer in layers:
        values[layer.output] = interpreter.compute(layer, [values[name] for name in layer.inputs])
        shapes[layer.output] = tuple(values[layer.output].shape[1:])
    return g.Graph(
        name="net",
        input="input",
        outputs=outputs or (layers[-1].output,),
        layers=layers,
        shapes=shapes,
    )


def layer(made: type[g.Layer], name: str, *inputs: str, **fields: object) -> g.Layer:
    """A layer that writes the value of its own name; it reads the input unless stated."""
    return made(name=name, inputs=inputs or ("input",), output=name, **fields)


def numbers(*shape: int, seed: int = 0) -> g.FloatArray:
    """Standard normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def conv(
    channels: int,
    out: int,
    kernel: tuple[int, int] = (1, 1),
    name: str = "conv",
    source: str = "input",
    groups: int = 1,
    **fields: object,
) -> g.Conv:
    """A convolution with weights that keep the size of what they read."""
    shape = (out, channels // groups, *kernel)
    weight = numbers(*shape, seed=channels * 100 + out) / math.sqrt(math.prod(shape[1:]))
    return g.Conv(
        name=name,
        inputs=(source,),
        output=name,
        weight=weight,
        bias=numbers(out, seed=1) / 2,
        groups=groups,
        **fields,
    )


def transposed(
    channels: int, out: int, kernel: tuple[int, int], groups: int = 1, **fields: object
) -> g.ConvTranspose:
    """A transposed convolution of the input."""
    shape = (channels, out // groups, *kernel)
    return g.ConvTranspose(
        name="up",
        inputs=("input",),
        output="up",
        weight=numbers(*shape, seed=3) / math.sqrt(math.prod(kernel) * channels / groups),
        bias=numbers(out, seed=1) / 2,
        groups=groups,
        **fields,
    )


def random_network(seed: int, depth: int = 12) -> g.Graph:
    """A network of random operators over maps, rows and vectors, with two outputs."""
    return _Drawing(np.random.default_rng(seed)).network(depth)


class _Drawing:
    """Layers drawn one after another, each reading what is there already."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        height, width = (int(side) for side in random.integers(1, 9, 2))
        self._values = {"input": torch.zeros(1, 3, height, width)}
        self._layers: list[g.Layer] = []
        self._makers = [
            *(self._conv, self._conv, self._pool, self._transposed, self._resize, self._pad),
            *(self._activation, self._activation, self._unit, self._clip, self._arithmetic),
            *(self._sum, self._concat, self._slice, self._reduce, self._softmax),
            *(self._permute, self._reshape, self._pixels, self._shuffle),
        ]

    def network(self, depth: int) -> g.Graph:
        while len(self._layers) < depth:
            source = self._chosen(list(self._values)[-4:])
            maker = self._makers[self._random.integers(len(self._makers))]
            maker(f"v{len(self._layers)}", source, self._shape(source))
        shapes = {name: tuple(value.shape[1:]) for name, value in self._values.items()}
        last = self._layers[-1].output
        other = self._layers[depth // 2].output
        return g.Graph(
            name="net",
            input="input",
            outputs=(last, other),
            layers=tuple(self._layers),
            shapes=shapes,
        )

    def _shape(self, value: str) -> tuple[int, ...]:
        return tuple(self._values[value].shape[1:])

    def _chosen(self, options: list[_T]) -> _T:
        return options[self._random.integers(len(options))]

    def _size(self, low: int, high: int) -> int:
        return int(self._random.integers(low, high + 1))

    def _add(self, made: g.Layer) -> None:
        value = interpreter.compute(made, [self._values[name] for name in made.inputs])
        if value.numel() and value.numel() < 6000 and value.ndim <= 4:
            self._layers.append(made)
            self._values[made.output] = value

    def _conv(self, name: str, source: str, shape: tuple[int, ...]) -> None:
        if len(shape) != 3:
            return
        kernel = (self._size(1, 3), self._size(1, 3))
        dilation = (self._size(1, 2), self._size(1, 2))
        window = [(size - 1) * step + 1 for size, step in zip(kernel, dilation, strict=True)]
        padding = tuple(self._size(0, 2) for _ in range(4))
        if any(
            extent + padding[i] + padding[i + 2] < window[i] for i, extent in enumerate(shape[1:])
        ):
            return
        groups = self._chosen([one for one in (1, 2, shape[0]) if shape[0] % one == 0])
        out = groups * self._size(1, max(1, 12 // groups))
        self._add(
            conv(
                shape[0], out, kernel, name, source, groups, dilation=dilation, padding=padding,
                stride=(self._size(1, 2),) * 2, activation=self._chosen(list(g.Activation)),
            )
        )  # fmt: skip

    def _transposed(self, name: str, source: str, shape: tuple[int, ...]) -> None:
        if len(shape) != 3:
            return
        step = self._size(1, 2)
        kernel = (self._size(step, 3), self._size(step, 3))
        groups = self._chosen([one for one in (1, 2) if shape[0] % one == 0])
        made = transposed(
            shape[0], groups * self._size(1, 4), kernel, groups, stride=(step, step),
            cropping=(0, self._size(0, 1) * (shape[2] > 1), 0, -self._size(0, step - 1)),
        )  # fmt: skip
        self._add(replace(made, name=name, inputs=(source,), output=name))

    def _pool(self, name: str, source: str, shape: tuple[int, ...]) -> None:
        if len(shape) == 3 and min(shape[1:]) > 1:
            kind = self._chosen(list(g.PoolKind))
            self._add(layer(g.Pool, name, source, kind=kind, kernel=(2, 2), stride=(2, 2)))

    def _resize(self, name: str, source: str, shape: tuple[int, ...]) -> None:
        if len(shape) == 3:
            size = (self._size(1, 8), self._size(1, 8))
            mode, sampling = self._chosen(list(g.ResizeMode)), self._chosen(list(g.Sampling))
            self._add(layer(g.Resize, name, source, size=size, mode=mode, sampling=sampling))

    def _pad(self, name: str, source: str, shape: tuple[int, ...]) -> None:
        if len(shape) == 3 and min(shape[1:]) > 2:
            padding = tuple(self._size(0, 2) for _ in range(4))
            mode = self._chosen(list(g.PadMode))
            self._add(layer(g.Pad, name, source, padding=padding, mode=mode))

    def _activation(self, name: str, source: str, _: tuple[int, ...]) -> None:
        activation = self._chosen([one for one in g.Activation if one is not one.NONE])
        self._add(layer(g.Elementwise, name, source, activation=activation))

    def _unit(self, name: str, source: str, shape: tuple[int, ...]) -> None:
        slopes = numbers(self._chosen([1, shape[0]]), seed=4) / 4
        self._add(layer(g.LeakyRelu, name, source, slope=slopes))

    def _clip(self, name: str, source: str, _: tuple[int, ...]) -> None:
        low, high = self._chosen([(-1.0, 1.0), (-0.5, math.inf), (-math.inf, 1.0), (-0.3, 2.0)])
        self._add(layer(g.Clip, name, source, low=low, high=high))

    def _arithmetic(self, name: str, source: str, shape: tuple[int, ...]) -> None:
        kind = self._chosen([one for one in g.ArithmeticKind if one is not one.DIVIDE])
        sizes = [self._chosen([1, size]) for size in shape][self._size(0, len(shape) - 1) :]
        constant, reverse = numbers(*sizes, seed=6), bool(self._size(0, 1))
        made = layer(g.Arithmetic, name, source, kind=kind, constant=constant, reverse=reverse)
        self._add(made)

    def _sum(self, name: str, source: str, shape: tuple[int, ...]) -> None:
        same = [one for one in self._values if self._shape(one) == shape]
        self._add(layer(g.Add, name, source, self._chosen(same)))

    def _concat(self, name: str, source: str, shape: tuple[int, ...]) -> None:
        same = [one for one in self._values if self._shape(one) == shape]
        axis, activation = self._size(0, len(shape) - 1), self._chosen(list(g.Activation)[:3])
        other = self._chosen(same)
        self._add(layer(g.Concat, name, source, other, axis=axis, activation=activation))

    def _slice(self, name: str, source: str, shape: tuple[int, ...]) -> None:
        axis = self._size(0, len(shape) - 1)
        start = self._size(0, shape[axis] // 2)
        stop = self._size(start + 1, shape[axis]) if start < shape[axis] else shape[axis]
        step = self._size(1, 2)
        self._add(layer(g.Slice, name, source, axis=axis, start=start, stop=stop, step=step))

    def _reduce(self, name: str, source: str, shape: tuple[int, ...]) -> None:
        if len(shape) > 1:
            kind, axes = self._chosen(list(g.ReduceKind)[::2]), (self._size(0, len(shape) - 1),)
            keep = bool(self._size(0, 1))
            self._add(layer(g.Reduce, name, source, kind=kind, axes=axes, keep=keep))

    def _softmax(self, name: str, source: str, shape: tuple[int, ...]) -> None:
        self._add(layer(g.Softmax, name, source, axis=self._size(0, len(shape) - 1)))

    def _permute(self, name: str, source: str, shape: tuple[int, ...]) -> None:
        order = tuple(int(axis) for axis in self._random.permutation(len(shape)))
        self._add(layer(g.Permute, name, source, order=order))

    def _reshape(self, name: str, source: str, shape: tuple[int, ...]) -> None:
        rows = math.prod(shape[:-1])
        options = [(rows, shape[-1]), (shape[0], -1), (1, rows, shape[-1]), (-1,)]
        options += [(2, rows // 2, shape[-1])] if rows % 2 == 0 else []
        chosen = self._chosen(options)
        known = abs(math.prod(chosen))
        sizes = tuple(math.prod(shape) // known if size == -1 else size for size in chosen)
        self._add(layer(g.Reshape, name, source, shape=sizes))

    def _pixels(self, name: str, source: str, shape: tuple[int, ...]) -> None:
        if len(shape) == 3 and shape[0] % 4 == 0:
            self._add(layer(g.DepthToSpace, name, source, block=2))
        elif len(shape) == 3 and shape[1] % 2 == shape[2] % 2 == 0:
            self._add(layer(g.SpaceToDepth, name, source, block=2))

    def _shuffle(self, name: str, source: str, shape: tuple[int, ...]) -> None:
        if len(shape) == 3 and shape[0] % 2 == 0:
            self._add(layer(g.Shuffle, name, source, groups=2))
