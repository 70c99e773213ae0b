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

    def normalized(self, x, axes, groups=1, epsilon=1e-5, *, per="channel"):
        """A norm whose scale and shift are of each channel, of each element or of all."""
        shape = self.shapes[x]
        grid = {"channel": (shape[0], *[1] * (len(shape) - 1)), "element": shape}
        sizes = grid.get(per, (1,) * len(shape))
        scale = self.random.uniform(0.5, 1.5, sizes).astype(np.float32)
        shift = self.random.normal(size=sizes).astype(np.float32)
        fields = {"axes": axes, "groups": groups, "epsilon": epsilon}
        return self._add(g.Normalize, (x,), shape, scale=scale, shift=shift, **fields)

    def power(self, x, exponent):
        return self._add(g.Power, (x,), self.shapes[x], exponent=exponent)

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


ACTS = ("none", "relu", "relu6", "none", *(str(one) for one in Activation if one != "none"))
#: Elements beyond which a drawn value grows no more.
MOST_ELEMENTS = 6000


def draw_operators(make, seed):
    """A random network of every operator, with up to three outputs.

    ``make`` is the class ``Drawing``.
    """
    random = np.random.default_rng(seed + 70_000)
    sides = random.choice([1, 2, 3, 5, 8, 13, 17], 2)
    drawing = make(int(random.choice([3, 4, 12])), int(sides[0]), int(sides[1]), seed)
    values = ["input"]
    for _ in range(int(random.integers(7, 16))):
        x = values[int(random.integers(max(0, len(values) - 4), len(values)))]
        act = str(random.choice(ACTS))
        shape = drawing.shapes[x]
        steps = _MAP_STEPS if len(shape) == 3 else _STEPS
        step = steps[int(random.integers(0, len(steps)))]
        made = step(drawing, random, x, values, act)
        if made is not None:
            values.append(made)
    last = values[-1]
    some = random.choice(values, int(random.integers(0, 3)))
    return drawing.several(dict.fromkeys([last, *map(str, some)]), f"operators-{seed}")


def _alike(drawing, random, x, values):
    """A value of the same shape."""
    return str(random.choice([one for one in values if drawing.shapes[one] == drawing.shapes[x]]))


def _chosen(random, *numbers):
    return int(random.choice(numbers))


def _function(drawing, random, x, values, act):
    kind = int(random.integers(0, 5))
    if kind == 4:
        axes = tuple(axis for axis in range(len(drawing.shapes[x])) if random.integers(0, 2))
        per = str(random.choice(["channel", "element", "all"]))
        return drawing.normalized(x, axes or (0,), epsilon=0.1, per=per)
    if kind == 0:
        return drawing.leaky(x, _chosen(random, 1, drawing.shapes[x][0]))
    if kind == 1:
        return drawing.elu(x)
    if kind == 2:
        low, high = ((0.0, np.inf), (0.0, 6.0), (-0.5, 0.7), (-np.inf, 1.0))[
            _chosen(random, 0, 1, 2, 3)
        ]
        return drawing.clip(x, low, high)
    return drawing.elementwise(x, act)


def _combination(drawing, random, x, values, act):
    kind = str(random.choice(["add", "subtract", "multiply", "maximum", "minimum"]))
    shape = drawing.shapes[x]
    if random.integers(0, 2):
        sizes = [_chosen(random, 1, size) for size in shape[_chosen(random, 0, len(shape) - 1) :]]
        constant = random.normal(size=sizes).astype(np.float32)
        return drawing.combined(kind, x, constant, act, reverse=bool(random.integers(0, 2)))
    return drawing.combined(kind, x, _alike(drawing, random, x, values), act)


def _cut(drawing, random, x, values, act):
    shape = drawing.shapes[x]
    axis = _chosen(random, 0, *range(len(shape)))
    start = int(random.integers(0, shape[axis]))
    stop = int(random.integers(start + 1, shape[axis] + 1))
    return drawing.cut(x, axis, start, stop, _chosen(random, 1, 1, 2))


def _join(drawing, random, x, values, act):
    axis = _chosen(random, 0, *range(len(drawing.shapes[x])))
    if int(np.prod(drawing.shapes[x])) > MOST_ELEMENTS:
        return None
    return drawing.joined(axis, x, _alike(drawing, random, x, values), act=act)


def _turn(drawing, random, x, values, act):
    order = random.permutation(len(drawing.shapes[x]))
    return drawing.permuted(x, *map(int, order))


def _reshape(drawing, random, x, values, act):
    size, shape = int(np.prod(drawing.shapes[x])), []
    for _ in range(_chosen(random, 0, 1, 2, 2, 2, 3)):
        shape.append(_chosen(random, *(one for one in (1, 2, 3, 4, 5) if size % one == 0)))
        size //= shape[-1]
    return drawing.reshaped(x, *shape, size)


def _reduction(drawing, random, x, values, act):
    axes = range(len(drawing.shapes[x]))
    some = tuple(axis for axis in axes if random.integers(0, 3) == 0)
    if not some or len(some) == len(axes):
        return drawing.softmax(x, _chosen(random, *axes), logarithm=bool(random.integers(0, 2)))
    kind = str(random.choice(["mean", "sum", "max"]))
    return drawing.reduced(x, kind, some, keep=bool(random.integers(0, 2)))


def _convolution(drawing, random, x, values, act):
    channels, height, width = drawing.shapes[x]
    kernel = (_chosen(random, 1, 1, 3, 3, 2), _chosen(random, 1, 1, 3, 3, 5))
    dilation = (_chosen(random, 1, 1, 2), _chosen(random, 1, 1, 3))
    pad = tuple(int(random.integers(0, kernel[i % 2])) for i in range(4))
    covered = [(kernel[i] - 1) * dilation[i] + 1 for i in (0, 1)]
    if height + pad[0] + pad[2] < covered[0] or width + pad[1] + pad[3] < covered[1]:
        return None
    groups = _chosen(random, *(one for one in (1, 2, 3, channels) if channels % one == 0))
    out = groups * _chosen(random, 1, 2, 3) if groups > 1 else _chosen(random, 4, 6, 12)
    stride = (_chosen(random, 1, 1, 2), _chosen(random, 1, 1, 2))
    return drawing.conv(
        x, min(out, 48) // groups * groups or groups, kernel, stride, pad, groups, act, dilation
    )


def _pointwise(drawing, random, x, values, act):
    """A residual: in the place of what is added, where nothing else needs that."""
    channels = drawing.shapes[x][0]
    y = drawing.conv(x, channels)
    return drawing.add(_alike(drawing, random, x, values), y, act) if channels < 60 else None


def _transposed(drawing, random, x, values, act):
    if int(np.prod(drawing.shapes[x])) > MOST_ELEMENTS // 4:
        return None
    kernel, stride = _chosen(random, 2, 3, 4), _chosen(random, 1, 2)
    return drawing.transposed(x, 4, (kernel, 2), (stride, 2), (0, 1, 0, 0))


def _samples(drawing, random, x, values, act):
    _, height, width = drawing.shapes[x]
    if height * width > 400:
        return drawing.resized(x, (7, 6))
    if random.integers(0, 2):
        mode = str(random.choice(["constant", "replicate"]))
        return drawing.padded(x, (1, 0, 2, 1), mode, 0.0 if mode == "replicate" else 0.5)
    mode, sampling = (
        str(random.choice(["nearest", "bilinear"])),
        str(random.choice(["half-pixel", "asymmetric", "align-corners"])),
    )
    return drawing.resized(x, (_chosen(random, height, 2 * height, 5), 2 * width), mode, sampling)


def _depth(drawing, random, x, values, act):
    channels, height, width = drawing.shapes[x]
    if channels % 4 == 0:
        return drawing.spread(x, 2)
    return drawing.gathered(x, 2) if height % 2 == width % 2 == 0 else drawing.adaptive(x, (1, 1))


def _shuffle(drawing, random, x, values, act):
    channels = drawing.shapes[x][0]
    return drawing.shuffle(
        x, _chosen(random, *(one for one in (1, 2, 3, 4) if channels % one == 0))
    )


_STEPS = (_function, _combination, _cut, _join, _turn, _reshape, _reduction)
_MAP_STEPS = (
    *(_convolution, _convolution, _convolution, _pointwise, _pointwise, _transposed),
    *(_samples, _depth, _shuffle, _join, _cut, _function, *_STEPS),
)
