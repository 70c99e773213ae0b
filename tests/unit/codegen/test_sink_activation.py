"""Activations below max pools: the same values, of fewer pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from shufflenet_deploy.codegen import int8_interpreter, pipeline
from shufflenet_deploy.codegen.ir.int8 import Requantization
from shufflenet_deploy.codegen.ir.ops import LookupTable
from shufflenet_deploy.codegen.passes.sink_activation import sink_lookup_below_maxpool
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.network.graph import Pool
from shufflenet_deploy.network.quantization import calibration
from shufflenet_deploy.records import Resolution


def graph_of(activation, pool=None):
    torch.manual_seed(3)
    layers = (
        nn.Conv2d(3, 8, 3, padding=1),
        activation,
        pool or nn.MaxPool2d(3, 2, padding=1),
        nn.Conv2d(8, 4, 1),
    )
    return trace(nn.Sequential(*layers).eval(), Resolution.parse("16x16"), "net")


def names(graph):
    return [type(layer).__name__ for layer in graph.layers]


RISING = [nn.LeakyReLU(0.1), nn.PReLU(8), nn.ELU(), nn.Sigmoid(), nn.Tanh()]


@pytest.mark.parametrize("activation", RISING, ids=lambda one: type(one).__name__)
def test_the_network_computes_the_same(activation):
    before = graph_of(activation)
    after = sink_lookup_below_maxpool(before)
    assert names(after) != names(before)
    batch = np.random.default_rng(1).standard_normal((1, 3, 16, 16)).astype(np.float32)
    wanted, found = (interpreter.outputs(graph, batch)[0] for graph in (before, after))
    assert np.array_equal(found, wanted)
    (pool,) = (layer for layer in after.layers if isinstance(layer, Pool))
    assert after.shapes[pool.output] == (8, 8, 8)


def falling():
    activation = nn.PReLU(8)
    activation.weight.data[3] = -0.1
    return activation


@pytest.mark.parametrize(
    ("activation", "pool"),
    [(falling(), None), (nn.Hardswish(), None), (nn.LeakyReLU(), nn.AvgPool2d(2))],
)
def test_what_may_fall_or_is_no_maximum_stays(activation, pool):
    graph = graph_of(activation, pool)
    assert sink_lookup_below_maxpool(graph).layers == graph.layers


@pytest.mark.parametrize("arithmetic", Requantization)
def test_int8_looks_up_a_quarter_of_the_pixels(arithmetic):
    graph = graph_of(nn.LeakyReLU(0.1))
    random = np.random.default_rng(2)
    images = [random.standard_normal((1, 3, 16, 16)).astype(np.float32) for _ in range(4)]
    ranges = calibration.calibrate(graph, images)
    program = pipeline.int8_program(graph, ranges, arithmetic)
    (lookup,) = (op for op in program.ops if isinstance(op, LookupTable))
    assert (lookup.target.height, lookup.target.width) == (8, 8)
    wanted = interpreter.outputs(graph, images[0])[0].ravel()
    noise = ((int8_interpreter.run(program, images[0][0]) - wanted) ** 2).sum()
    assert noise < 1e-3 * (wanted**2).sum()
