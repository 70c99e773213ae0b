"""Graphs to generate code from: written by hand, or drawn at random from all layers there are."""

import numpy as np
import pytest
from operator_drawing import Operators

from shufflenet_deploy.codegen.schedule import winograd
from shufflenet_deploy.network import graph as g
from shufflenet_deploy.network.graph import Activation


class Drawing(Operators):
    """A graph under construction; every method adds a layer and returns its output's name."""

    def __init__(self, channels, height, width, seed=0):
        self.random = np.random.default_rng(seed)
        self.layers = []
        self.shapes = {"input": (channels, height, width)}

    def _add(self, layer, inputs, shape, /, **fields):
        name = f"v{len(self.layers)}"
        self.layers.append(layer(name=f"l{len(self.layers)}", inputs=inputs, output=name, **fields))
        self.shapes[name] = shape
        return name

    def _numbers(self, *shape):
        fan = max(1, int(np.prod(shape[1:])))
        return (self.random.standard_normal(shape) / np.sqrt(fan)).astype(np.float32)

    def conv(
        self,
        x,
        out,
        kernel=(1, 1),
        stride=(1, 1),
        pad=(0, 0, 0, 0),
        groups=1,
        act="none",
        dilation=(1, 1),
    ):
        channels, *size = self.shapes[x]
        covered = [(kernel[i] - 1) * dilation[i] + 1 for i in (0, 1)]
        extent = [(size[i] + pad[i] + pad[i + 2] - covered[i]) // stride[i] + 1 for i in (0, 1)]
        return self._add(
            g.Conv,
            (x,),
            (out, *extent),
            weight=self._numbers(out, channels // groups, *kernel),
            bias=self._numbers(out),
            stride=stride,
            padding=pad,
            groups=groups,
            dilation=dilation,
            activation=Activation(act),
        )

    def dense(self, x, out, act="none"):
        return self._add(
            g.Dense,
            (x,),
            (out,),
            weight=self._numbers(out, self.shapes[x][0]),
            bias=self._numbers(out),
            activation=Activation(act),
        )

    def pool(self, x, kind, kernel, stride, pad=(0, 0, 0, 0), act="none", count=True):
        channels, *size = self.shapes[x]
        extent = [(size[i] + pad[i] + pad[i + 2] - kernel[i]) // stride[i] + 1 for i in (0, 1)]
        return self._add(
            g.Pool,
            (x,),
            (channels, *extent),
            kind=g.PoolKind(kind),
            kernel=kernel,
            stride=stride,
            padding=pad,
            count_padding=count,
            activation=Activation(act),
        )

    def adaptive(self, x, size):
        return self._add(g.AdaptiveAveragePool, (x,), (self.shapes[x][0], *size), size=size)

    def add(self, x, y, act="none"):
        return self._add(g.Add, (x, y), self.shapes[x], activation=Activation(act))

    def multiply(self, x, y):
        return self._add(g.Multiply, (x, y), self.shapes[x])

    def concat(self, *xs, act="none"):
        channels = sum(self.shapes[x][0] for x in xs)
        shape = (channels, *self.shapes[xs[0]][1:])
        return self._add(g.Concat, xs, shape, activation=Activation(act))

    def shuffle(self, x, groups):
        return self._add(g.Shuffle, (x,), self.shapes[x], groups=groups)

    def normalise(self, x, size=5, alpha=1e-2, beta=0.75, k=1.0):
        return self._add(
            g.LocalResponseNorm, (x,), self.shapes[x], size=size, alpha=alpha, beta=beta, k=k
        )

    def elementwise(self, x, act):
        return self._add(g.Elementwise, (x,), self.shapes[x], activation=Activation(act))

    def flatten(self, x):
        return self._add(g.Flatten, (x,), (int(np.prod(self.shapes[x])),))

    def done(self, output, name="drawn"):
        return self.several((output,), name)

    def several(self, outputs, name="drawn"):
        """The graph with more than one output."""
        return g.Graph(
            name=name,
            input="input",
            outputs=tuple(outputs),
            layers=tuple(self.layers),
            shapes=self.shapes,
        )

    def unit(self, x, out, groups, stride=1, first_groups=None):
        """A ShuffleNet unit (paper, figure 2)."""
        channels = self.shapes[x][0]
        mid = out // 4
        grown = out if stride == 1 else out - channels
        y = self.conv(x, mid, groups=first_groups or groups, act="relu")
        y = self.shuffle(y, groups)
        y = self.conv(y, mid, (3, 3), (stride, stride), (1, 1, 1, 1), groups=mid)
        y = self.conv(y, grown, groups=groups)
        if stride == 1:
            return self.add(x, y, act="relu")
        short = self.pool(x, "average", (3, 3), (2, 2), (1, 1, 1, 1))
        return self.concat(short, y, act="relu")


def draw(seed, inputs=(1, 3, 4, 12)):
    """A random network of six to fourteen layers on a small, odd picture of so many channels."""
    random = np.random.default_rng(seed)
    sides = random.choice([1, 2, 3, 5, 7, 8, 13, 17, 20, 33], 2)
    drawing = Drawing(int(random.choice(inputs)), int(sides[0]), int(sides[1]), seed)
    values = ["input"]
    acts = ["none", "relu", "relu6", "none", "relu"]
    for _ in range(int(random.integers(5, 14))):
        x = values[int(random.integers(max(0, len(values) - 3), len(values)))]
        channels, height, width = drawing.shapes[x]
        act = str(random.choice(acts))
        kind = int(random.integers(0, 13))
        if kind in {0, 1}:
            groups = int(random.choice([d for d in (1, 2, 3, 4, 6) if channels % d == 0]))
            out = groups * int(random.integers(1, 12))
            values.append(drawing.conv(x, out, groups=groups, act=act))
        elif kind in {2, 3}:
            kernel = (int(random.integers(1, 6)), int(random.integers(1, 6)))
            pad = tuple(int(random.integers(0, kernel[i % 2])) for i in range(4))
            stride = (int(random.integers(1, 5)), int(random.integers(1, 5)))
            if height + pad[0] + pad[2] < kernel[0] or width + pad[1] + pad[3] < kernel[1]:
                continue
            groups = int(random.choice([d for d in (1, 2, 3) if channels % d == 0]))
            out = groups * int(random.integers(1, 9))
            values.append(drawing.conv(x, out, kernel, stride, pad, groups, act))
        elif kind in {4, 5}:
            stride = int(random.choice([1, 1, 2]))
            values.append(
                drawing.conv(x, channels, (3, 3), (stride, stride), (1, 1, 1, 1), channels, act)
            )
        elif kind == 6:
            kernel = (int(random.integers(1, 4)), int(random.integers(1, 4)))
            stride = (int(random.integers(1, 4)), int(random.integers(1, 4)))
            pad = tuple(int(random.integers(0, kernel[i % 2] // 2 + 1)) for i in range(4))
            if height + pad[0] + pad[2] < kernel[0] or width + pad[1] + pad[3] < kernel[1]:
                continue
            pool = str(random.choice(["max", "average"]))
            count = bool(random.integers(0, 2))
            values.append(drawing.pool(x, pool, kernel, stride, pad, act, count))
        elif kind == 7:
            groups = int(random.choice([d for d in (1, 2, 3, 4, 6) if channels % d == 0]))
            values.append(drawing.shuffle(x, groups))
        elif kind == 8:
            same = [v for v in values if drawing.shapes[v] == drawing.shapes[x] and v != x]
            if same:
                values.append(drawing.add(x, str(random.choice(same)), act))
            else:
                values.append(drawing.add(x, drawing.conv(x, channels, act="none"), act))
        elif kind == 9:
            same = [v for v in values if drawing.shapes[v][1:] == (height, width)]
            values.append(drawing.concat(x, str(random.choice(same)), act=act))
        elif kind == 10:
            gate = drawing.adaptive(x, (1, 1))
            gate = drawing.conv(gate, max(1, channels // 2), act="relu")
            gate = drawing.conv(gate, channels, act="sigmoid")
            values.append(drawing.multiply(x, gate))
        elif kind == 11:
            values.append(drawing.normalise(x, int(random.integers(1, 6))))
        else:
            act = str(random.choice(["relu", "relu6", "sigmoid"]))
            values.append(drawing.elementwise(x, act))
    x = values[-1]
    channels, height, width = drawing.shapes[x]
    end = int(random.integers(0, 4))
    if end == 0:
        x = drawing.dense(drawing.flatten(drawing.adaptive(x, (1, 1))), 10)
    elif end == 1:
        x = drawing.dense(drawing.flatten(x), 7, str(random.choice(["none", "relu", "sigmoid"])))
    elif end == 2:
        x = drawing.adaptive(x, (min(3, height), min(2, width)))
    return drawing.done(x, f"drawn-{seed}")


def draw_pointwise(seed):
    """A random network of what ARM has assembly and shortcuts for: pointwise, and halving 3x3."""
    random = np.random.default_rng(seed)
    sides = random.choice([2, 3, 5, 7, 12, 14, 20, 31, 45, 70], 2)
    channels = int(random.choice([12, 83]))  # 83: no loop of equal steps
    x, drawing = "input", Drawing(channels, int(sides[0]), int(sides[1]), seed)
    for _ in range(4):
        channels, act = drawing.shapes[x][0], str(random.choice(["none", "relu", "relu6"]))
        groups = int(random.choice([d for d in (1, 2, 3, 4) if channels % d == 0]))
        out = groups * int(random.integers(1, 45))
        x = drawing.conv(x, out, groups=groups, act=act)
        kind = int(random.integers(0, 7))
        if kind == 0:
            y = drawing.conv(x, max(1, out // 3), act="relu")
            x = drawing.add(x, drawing.conv(y, out), act)
        elif kind == 1:
            y = drawing.conv(x, out)
            x = drawing.concat(drawing.add(y, drawing.conv(y, out), act), x)
        elif min(drawing.shapes[x][1:]) > 3:
            if kind == 2:
                x = drawing.conv(x, out, (3, 3), (2, 2), (1, 1, 1, 1), out, act)
            elif kind > 4:
                stride, pad = int(random.integers(1, 3)), int(random.integers(0, 2))
                kernel = (int(random.integers(1, 4)), 3)
                many = groups * int(random.integers(1, 9))
                x = drawing.conv(x, many, kernel, (stride, stride), (pad,) * 4, groups, act)
            else:
                pool = str(random.choice(["max", "average"]))
                x = drawing.pool(x, pool, (3, 3), (2, 2), (1, 1, 1, 1), act)
    return drawing.done(x, f"pointwise-{seed}")


def draw_tiles(height, width):
    """Convolutions of every kind that Winograd's method has, on a picture of two rows or more."""
    d = Drawing(3, height, width, seed=width)
    around = {3: ((3, 3), (1, 1), (1, 1, 1, 1)), 5: ((5, 5), (1, 1), (2, 2, 2, 2))}
    x = d.conv("input", 6, *around[3], groups=3, act="relu6")
    x = d.add(x, d.conv(x, 6, *around[5]), "relu")  # in the place of what is added
    x = d.conv(x, 4, (3, 3), (1, 1), (2, 1, 1, 0), groups=2, act="sigmoid")
    y = d.add(x, d.conv(x, 4, *around[3]), "relu6")  # elsewhere
    return d.done(d.shuffle(d.concat(x, y), 2), "tiles")


@pytest.fixture(scope="session")
def drawn_tiles():
    """A function from a picture's size to a graph of convolutions with square windows."""
    return draw_tiles


@pytest.fixture
def forced(monkeypatch):
    """``forced(height, width)`` has every convolution that can be computed in such tiles so."""

    def force(height, width):
        monkeypatch.setattr(winograd, "MIN_CHANNELS", 1)
        monkeypatch.setattr(winograd, "MIN_GAIN", -float("inf"))
        for tiles in ("OUTPUT_TILES", "SQUARE_TILES"):
            monkeypatch.setattr(winograd, tiles, ((height, width),))

    return force


@pytest.fixture(scope="session")
def drawing():
    """The class to draw a graph with."""
    return Drawing


@pytest.fixture(scope="session")
def drawn():
    """``drawn(seed)`` is a random graph."""
    return draw


@pytest.fixture(scope="session")
def drawn_pointwise():
    """A function from seed to random graph of pointwise and halving layers."""
    return draw_pointwise
