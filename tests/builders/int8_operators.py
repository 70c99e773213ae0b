"""Graphs of every operator, a few layers each, with all results as outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from shufflenet_deploy.network import graph as g
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.graph import Activation, ArithmeticKind


class Growing:
    """A graph under construction: every layer's shape is that of what the interpreter computes."""

    def __init__(self, channels: int, height: int, width: int, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.layers: list[g.Layer] = []
        self.shapes: dict[str, tuple[int, ...]] = {"input": (channels, height, width)}

    def add(self, kind: type[g.Layer], /, *inputs: str, **fields: Any) -> str:
        """Append a layer; returns the name of its output."""
        at = len(self.layers)
        layer = kind(name=f"l{at}", inputs=inputs, output=f"v{at}", **fields)
        zeros = [torch.zeros(1, *self.shapes[value]) for value in inputs]
        self.shapes[layer.output] = tuple(interpreter.compute(layer, zeros).shape[1:])
        self.layers.append(layer)
        return layer.output

    def numbers(self, *shape: int) -> g.FloatArray:
        """Normally distributed weights, smaller the more of them are summed."""
        fan = max(1, int(np.prod(shape[1:])))
        return (self.random.standard_normal(shape) / np.sqrt(fan)).astype(np.float32)

    def conv(self, x: str, out: int, kernel: int = 1, groups: int = 1, **fields: Any) -> str:
        """A convolution with random weights."""
        weight = self.numbers(out, self.shapes[x][0] // groups, kernel, kernel)
        return self.add(g.Conv, x, weight=weight, bias=self.numbers(out), groups=groups, **fields)

    def done(self, *outputs: str, name: str = "operators") -> g.Graph:
        """The graph with these outputs, or with all values that nobody reads."""
        read = {value for layer in self.layers for value in layer.inputs}
        loose = tuple(layer.output for layer in self.layers if layer.output not in read)
        return g.Graph(
            name=name,
            input="input",
            outputs=outputs or loose,
            layers=tuple(self.layers),
            shapes=self.shapes,
        )


def activations() -> g.Graph:
    """Every activation in a convolution and on its own, and those with parameters."""
    d = Growing(3, 5, 7, seed=1)
    x = d.conv("input", 19)
    for activation in Activation:
        if activation is not Activation.NONE:
            d.conv(x, 5, activation=activation)
            d.add(g.Elementwise, x, activation=activation)
    d.add(g.LeakyRelu, x, slope=np.array([0.2], np.float32))
    d.add(g.LeakyRelu, x, slope=d.random.uniform(-0.5, 0.5, 19).astype(np.float32))
    d.add(g.Elu, x, alpha=0.7)
    d.add(g.Clip, x, low=-0.4, high=np.inf)
    d.add(g.Clip, x, low=0.1, high=0.8)
    return d.done(name="activations")


def convolutions() -> g.Graph:
    """Dilated, transposed and depthwise convolutions with a multiplier, and parts of channels."""
    d = Growing(3, 8, 9, seed=2)
    x = d.conv("input", 24, activation=Activation.RELU)
    d.conv(x, 17, 3, dilation=(2, 2), padding=(2, 2, 2, 2))
    d.conv(x, 24, 3, groups=24, dilation=(2, 1), padding=(2, 1, 2, 1), stride=(2, 2))
    d.conv(x, 48, 3, groups=24, padding=(1, 1, 1, 1), stride=(2, 1))
    d.conv(x, 24, 5, groups=24, padding=(2, 2, 2, 2))
    d.conv("input", 9, 2, groups=3, dilation=(3, 2))
    # Neighbouring channels are read where they are.
    for start, stop in ((12, 24), (5, 20)):
        part = d.add(g.Slice, x, axis=0, start=start, stop=stop)
        d.conv(part, 10)
        d.conv(part, stop - start, 3, groups=stop - start, padding=(1, 1, 1, 1))
        d.conv(part, 7, 3, padding=(1, 1, 1, 1), stride=(2, 2))
        d.add(g.AdaptiveAveragePool, part, size=(1, 1))
        pooled = {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1, 1, 1)}
        d.add(g.Pool, part, kind=g.PoolKind.MAX, **pooled)
        d.add(g.Pool, part, kind=g.PoolKind.AVERAGE, **pooled)
    first = d.add(g.Slice, "input", axis=0, start=1, stop=3)
    d.conv(first, 6, 3, padding=(1, 1, 1, 1))
    for kernel, stride, cropping, groups, dilation in (
        (4, (2, 2), (1, 1, 1, 1), 1, (1, 1)),
        (3, (2, 2), (1, 1, 0, 0), 3, (1, 1)),
        (2, (2, 2), (0, 0, 0, 0), 24, (1, 1)),
        (3, (1, 1), (1, 1, 1, 1), 1, (2, 2)),
        (3, (3, 3), (0, 1, -1, -2), 1, (1, 1)),
    ):
        weight = d.numbers(24, 24 if groups == 24 else 6, kernel, kernel)
        weight = weight[:, : 1 if groups == 24 else None]
        d.add(
            g.ConvTranspose,
            x,
            weight=np.ascontiguousarray(weight),
            bias=d.numbers(weight.shape[1] * groups),
            stride=stride,
            cropping=cropping,
            groups=groups,
            dilation=dilation,
            activation=Activation.RELU6 if groups == 3 else Activation.NONE,
        )
    return d.done(name="convolutions")


def shuffles() -> g.Graph:
    """Shuffles alone and after an activation: channels of a group that fill vectors, and others."""
    d = Growing(3, 2, 3, seed=7)
    for groups in (2, 3, 4, 5):
        for channels in (7, 16, 37):
            x = d.conv("input", groups * channels, activation=Activation.SIGMOID)
            d.add(g.Shuffle, x, groups=groups)
            both = d.add(g.Concat, x, d.conv("input", groups * channels), axis=0)
            d.add(g.Shuffle, both, groups=groups)
            y = d.conv("input", groups * channels, activation=Activation.HARD_SWISH)
            d.add(g.Shuffle, y, groups=groups)
    return d.done(name="shuffles")


def arithmetic() -> g.Graph:
    """Operations of values of one shape and of others, and with constants of every shape."""
    d = Growing(3, 5, 4, seed=3)
    x, y = d.conv("input", 18), d.conv("input", 18, activation=Activation.RELU6)
    row = d.add(g.Slice, y, axis=1, start=2, stop=3)
    gate = d.add(g.Elementwise, d.conv(d.add(g.AdaptiveAveragePool, y, size=(1, 1)), 18),
                 activation=Activation.SIGMOID)  # fmt: skip
    divisor = d.add(g.Clip, y, low=0.5, high=3.0)
    scalar = np.array([1.5], np.float32)
    channels = d.random.uniform(0.5, 2, (18, 1, 1)).astype(np.float32)
    plane = d.random.uniform(-2, 2, (5, 4)).astype(np.float32)
    whole = d.random.uniform(0.5, 2, (18, 5, 4)).astype(np.float32)
    for kind in ArithmeticKind:
        second = divisor if kind is ArithmeticKind.DIVIDE else y
        d.add(g.Arithmetic, x, second, kind=kind)
        d.add(g.Arithmetic, x, gate, kind=kind, activation=Activation.RELU)
        if kind is not ArithmeticKind.DIVIDE:
            d.add(g.Arithmetic, row, x, kind=kind)
            d.add(g.Arithmetic, x, kind=kind, constant=plane, activation=Activation.HARD_SWISH)
        d.add(g.Arithmetic, divisor, kind=kind, constant=scalar, reverse=True)
        d.add(g.Arithmetic, x, kind=kind, constant=channels)
        d.add(g.Arithmetic, divisor, kind=kind, constant=channels, reverse=True)
        d.add(g.Arithmetic, divisor, kind=kind, constant=whole, reverse=True)
    d.add(g.Arithmetic, gate, kind=ArithmeticKind.ADD, constant=whole)
    return d.done(name="arithmetic")


def rearrangements() -> g.Graph:
    """Movement of elements: slices, pads, resizes, shuffles of pixels, permutations, joins."""
    d = Growing(3, 6, 8, seed=4)
    x = d.conv("input", 20)
    for axis, start, stop, step in ((0, 1, 20, 3), (1, 1, 5, 1), (2, 0, 8, 2)):
        d.add(g.Slice, x, axis=axis, start=start, stop=stop, step=step)
    for mode in g.PadMode:
        padded = d.add(g.Pad, x, padding=(1, 2, 3, 0), mode=mode)
        if mode is g.PadMode.REFLECT:
            d.conv(padded, 5, 3, padding=(1, 1, 1, 1))
    d.add(g.Pad, x, padding=(0, 1, 1, 0), value=-7.5)
    for resize in g.ResizeMode:
        for sampling in g.Sampling:
            d.add(g.Resize, x, size=(9, 5), mode=resize, sampling=sampling)
    d.add(g.DepthToSpace, x, block=2)
    d.add(g.SpaceToDepth, x, block=2)
    d.add(g.Permute, x, order=(2, 0, 1))
    four = d.add(g.Reshape, x, shape=(4, 5, 6, 8))
    turned = d.add(g.Permute, four, order=(1, 3, 2, 0))
    d.add(g.Reshape, turned, shape=(40, 24))
    d.add(g.Softmax, turned, axis=1)
    d.add(g.Reduce, four, kind=g.ReduceKind.SUM, axes=(1, 2))
    d.add(g.Concat, four, four, axis=2)
    d.add(g.Reshape, d.add(g.Flatten, x), shape=(8, 20, 6))
    other = d.conv("input", 20, activation=Activation.RELU)
    d.add(g.Concat, x, other, axis=1)
    d.add(g.Concat, other, x, other, axis=2, activation=Activation.RELU)
    flat = [d.add(g.Flatten, value) for value in (x, other)]
    d.add(g.Concat, *flat, axis=0)
    d.add(g.Elementwise, flat[0], activation=Activation.HARD_SWISH)
    return d.done(name="rearrangements")


def norms() -> g.Graph:
    """Layer, group and instance norms of maps and of other values, and powers."""
    d = Growing(3, 6, 5, seed=6)
    x = d.conv("input", 22)

    def norm(x: str, *axes: int, groups: int = 1, wide: bool = False, epsilon: float = 1e-5) -> str:
        shape = d.shapes[x]
        sizes = shape if wide else (shape[0], *[1] * (len(shape) - 1))
        fields = {"axes": axes, "groups": groups, "epsilon": epsilon}
        scale = d.random.uniform(0.5, 1.5, sizes).astype(np.float32)
        shift = d.random.standard_normal(sizes).astype(np.float32)
        return d.add(g.Normalize, x, scale=scale, shift=shift, **fields)

    for axes in ((0,), (1, 2), (0, 1, 2), (2,), (0, 2)):
        norm(x, *axes)
    norm(x, 0, 1, 2, groups=2)
    norm(x, 0, 1, 2, groups=11, epsilon=0.5)
    norm(x, 0, 1, 2, wide=True)
    rows = d.add(g.Reshape, x, shape=(11, 2, 6, 5))
    norm(rows, 1, 3)
    norm(d.add(g.Flatten, x), 0)
    d.conv(norm(x, 0), 9, 3, padding=(1, 1, 1, 1))
    raised = d.add(g.Clip, x, low=0.5, high=2.0)
    for exponent in (0.5, -0.5, 1.5, 3.0):
        d.add(g.Power, raised, exponent=exponent)
    few = d.add(g.Reshape, rows, shape=(11, 12, 5))
    turned = d.add(g.Permute, few, order=(0, 2, 1))
    d.add(g.MatMul, few, turned)
    d.add(g.MatMul, rows, d.add(g.Permute, rows, order=(0, 1, 3, 2)))
    pixels = d.add(g.Reshape, x, shape=(22, 30))
    d.add(g.MatMul, d.add(g.Permute, pixels, order=(1, 0)), pixels)
    return d.done(name="norms")


def heads() -> g.Graph:
    """Softmax and reductions along every axis, and dense layers among several outputs."""
    d = Growing(3, 6, 5, seed=5)
    x = d.conv("input", 22)
    for axis in range(3):
        d.add(g.Softmax, x, axis=axis)
        d.add(g.Softmax, x, axis=axis, logarithm=True)
    for kind in g.ReduceKind:
        for axes, keep in (((0,), True), ((1, 2), False), ((2,), False), ((0, 1, 2), True)):
            d.add(g.Reduce, x, kind=kind, axes=axes, keep=keep)
    vector = d.add(g.Reduce, x, kind=g.ReduceKind.MEAN, axes=(1, 2), keep=False)
    for activation in (Activation.NONE, Activation.TANH):
        dense = d.add(g.Dense, vector, weight=d.numbers(10, 22), bias=d.numbers(10),
                      activation=activation)  # fmt: skip
        last = d.add(g.Softmax, dense, axis=0)
    loose = d.done().outputs
    return d.done(dense, *loose, last, name="heads")


#: All of them, by name.
ALL = {
    one.__name__: one
    for one in (activations, convolutions, shuffles, arithmetic, rearrangements, norms, heads)
}
