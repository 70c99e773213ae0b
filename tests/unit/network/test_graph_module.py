"""Graphs as modules: every layer that PyTorch says in another way, and names."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shufflenet_deploy.network import graph as g
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.frontends.file_builder import FileBuilder, Value
from shufflenet_deploy.network.graph_module import GraphModule

RANDOM = np.random.default_rng(0)
X = Value("input", (4, 7, 6))


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def pool(kind, padding, *, count):
    fields = {"kind": kind, "kernel": (3, 2), "stride": (2, 2), "padding": padding}
    return g.Pool, fields | {"count_padding": count}


def resize(mode, sampling):
    return g.Resize, {"size": (9, 13), "mode": mode, "sampling": sampling}


CONV = {"weight": normal(6, 2, 3, 2), "bias": normal(6), "groups": 2}
NORM = {"epsilon": 0.1, "scale": normal(4, 1, 1), "shift": normal(4, 1, 1)}
TRANSPOSED = {"weight": normal(4, 3, 3, 3), "bias": normal(3), "stride": (2, 3)}


@pytest.mark.parametrize(
    ("make", "fields"),
    [
        (g.Conv, CONV | {"padding": (1, 1, 1, 1), "activation": g.Activation.RELU}),
        (g.Conv, CONV | {"padding": (0, 1, 2, 1), "stride": (2, 1), "dilation": (2, 1)}),
        (g.ConvTranspose, TRANSPOSED | {"cropping": (1, 1, 1, 1)}),
        (g.ConvTranspose, TRANSPOSED | {"cropping": (1, 1, 0, 0)}),
        (g.ConvTranspose, TRANSPOSED | {"cropping": (0, 0, -1, -1)}),
        (g.ConvTranspose, TRANSPOSED | {"cropping": (0, 1, 2, 0)}),
        pool(g.PoolKind.MAX, (1, 0, 1, 0), count=True),
        pool(g.PoolKind.MAX, (0, 1, 1, 0), count=True),
        pool(g.PoolKind.AVERAGE, (1, 1, 1, 1), count=False),
        pool(g.PoolKind.AVERAGE, (0, 1, 1, 0), count=False),
        pool(g.PoolKind.AVERAGE, (0, 1, 1, 0), count=True),
        (g.LeakyRelu, {"slope": normal(4)}),
        (g.LeakyRelu, {"slope": normal(1)}),
        (g.Normalize, NORM | {"axes": (0,)}),
        (g.Normalize, NORM | {"axes": (0, 1, 2), "groups": 2}),
        (
            g.Arithmetic,
            {"kind": g.ArithmeticKind.DIVIDE, "constant": normal(4, 1, 1), "reverse": True},
        ),
        (g.AdaptiveAveragePool, {"size": (3, 4)}),
        *(resize(mode, sampling) for mode in g.ResizeMode for sampling in g.Sampling),
    ],
)
def test_layers_compute_what_the_interpreter_does(make, fields):
    builder = FileBuilder("test", X.shape)
    builder.name = "block.layer"
    graph = builder.graph("test", [builder.emit(make, X, **fields)])
    image = normal(2, *X.shape)
    module = GraphModule(graph)
    np.testing.assert_allclose(
        module(torch.from_numpy(image)), interpreter.outputs(graph, image), rtol=1e-4, atol=1e-5
    )
    assert all(name.startswith("block.layer.") for name in module.state_dict())


def test_names_that_modules_have_a_meaning_for():
    builder = FileBuilder("test", X.shape)
    value = X
    names = ["a.b", "a", "a.b.c", "forward", "training", "a.weight", "graph.type", "graph.half.x"]
    for name in names:
        builder.name = name
        value = builder.emit(g.Conv, value, weight=normal(4, 4, 1, 1), bias=normal(4))
    graph = builder.graph("test", [value])
    module = GraphModule(graph)
    image = normal(1, *X.shape)
    np.testing.assert_allclose(
        module(torch.from_numpy(image)), interpreter.outputs(graph, image), rtol=1e-4, atol=1e-4
    )
    assert len(module.state_dict()) == 2 * len(names)
    assert {"a.weight", "a.b.weight", "a.b.c.weight"} <= set(module.state_dict())


def test_several_outputs_are_a_tuple():
    builder = FileBuilder("test", X.shape)
    first = builder.elementwise(X, g.Activation.RELU)
    graph = builder.graph("test", [first, builder.elementwise(first, g.Activation.TANH)])
    found = GraphModule(graph)(torch.ones(1, *X.shape))
    assert [one.shape for one in found] == [(1, *X.shape)] * 2
