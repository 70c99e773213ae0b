"""Small graphs of one operator each, and random ones of several: what a lowering must say."""

from __future__ import annotations

import math

import numpy as np
import torch

from shufflenet_deploy.network import graph as g
from shufflenet_deploy.network import interpreter


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
