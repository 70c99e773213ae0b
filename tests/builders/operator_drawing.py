"""Layers beyond those of the classic networks, as methods that draw them into a graph."""

from __future__ import annotations

import numpy as np

from shufflenet_deploy.network import graph as g
from shufflenet_deploy.network.graph import Activation


class Operators:
    """What ``Drawing`` inherits: every method adds a layer and returns its output's name."""

    def transposed(self, x, out, kernel, stride, crop=(0, 0, 0, 0), groups=1, dilation=(1, 1)):
        channels, *size = self.shapes[x]
        extent = [
            (size[i] - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1 - crop[i] - crop[i + 2]
            for i in (0, 1)
        ]
        return self._add(
            g.ConvTranspose,
            (x,),
            (out, *extent),
            weight=self._numbers(channels, out // groups, *kernel),
            bias=self._numbers(out),
            stride=stride,
            cropping=crop,
            groups=groups,
            dilation=dilation,
            activation=Activation.RELU,
        )

    def combined(self, kind, x, y, act="none", *, reverse=False):
        """Two values, or a value and an array."""
        other = y.shape if isinstance(y, np.ndarray) else self.shapes[y]
        shape = np.broadcast_shapes(self.shapes[x], other)
        constant, inputs = (y, (x,)) if isinstance(y, np.ndarray) else (None, (x, y))
        return self._add(
            g.Arithmetic,
            inputs,
            tuple(map(int, shape)),
            kind=g.ArithmeticKind(kind),
            constant=constant,
            reverse=reverse,
            activation=Activation(act),
        )

    def joined(self, axis, *xs, act="none"):
        shape = list(self.shapes[xs[0]])
        shape[axis] = sum(self.shapes[x][axis] for x in xs)
        return self._add(g.Concat, xs, tuple(shape), axis=axis, activation=Activation(act))

    def cut(self, x, axis, start, stop, step=1):
        shape = list(self.shapes[x])
        shape[axis] = len(range(start, stop, step))
        return self._add(g.Slice, (x,), tuple(shape), axis=axis, start=start, stop=stop, step=step)

    def padded(self, x, padding, mode="constant", value=0.0):
        channels, height, width = self.shapes[x]
        top, left, bottom, right = padding
        shape = (channels, height + top + bottom, width + left + right)
        return self._add(g.Pad, (x,), shape, padding=padding, mode=g.PadMode(mode), value=value)

    def resized(self, x, size, mode="bilinear", sampling="half-pixel"):
        return self._add(
            g.Resize,
            (x,),
            (self.shapes[x][0], *size),
            size=size,
            mode=g.ResizeMode(mode),
            sampling=g.Sampling(sampling),
        )

    def spread(self, x, block):
        channels, height, width = self.shapes[x]
        shape = (channels // block**2, height * block, width * block)
        return self._add(g.DepthToSpace, (x,), shape, block=block)

    def gathered(self, x, block):
        channels, height, width = self.shapes[x]
        shape = (channels * block**2, height // block, width // block)
        return self._add(g.SpaceToDepth, (x,), shape, block=block)

    def leaky(self, x, slopes=1):
        slope = self.random.uniform(0.05, 0.5, slopes).astype(np.float32)
        return self._add(g.LeakyRelu, (x,), self.shapes[x], slope=slope)

    def elu(self, x, alpha=1.3):
        return self._add(g.Elu, (x,), self.shapes[x], alpha=alpha)

    def clip(self, x, low, high):
        return self._add(g.Clip, (x,), self.shapes[x], low=low, high=high)

    def softmax(self, x, axis=0, *, logarithm=False):
        return self._add(g.Softmax, (x,), self.shapes[x], axis=axis, logarithm=logarithm)

    def reduced(self, x, kind, axes, *, keep=True):
        shape = tuple(
            1 if axis in axes else size
            for axis, size in enumerate(self.shapes[x])
            if keep or axis not in axes
        )
        return self._add(g.Reduce, (x,), shape, kind=g.ReduceKind(kind), axes=axes, keep=keep)

    def reshaped(self, x, *shape):
        return self._add(g.Reshape, (x,), shape, shape=shape)

    def permuted(self, x, *order):
        shape = tuple(self.shapes[x][axis] for axis in order)
        return self._add(g.Permute, (x,), shape, order=order)
