"""Transposed convolutions as convolutions of phases: the same numbers, by the reference."""

from __future__ import annotations

import numpy as np
import pytest

from shufflenet_deploy.codegen.passes.transposed_convolution import expand_transposed_convolutions
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.graph import Activation, Conv, ConvTranspose, Graph

SHAPES = [
    # kernel, stride, cropping, groups, dilation
    ((2, 2), (2, 2), (0, 0, 0, 0), 1, (1, 1)),
    ((4, 4), (2, 2), (1, 1, 1, 1), 2, (1, 1)),
    ((3, 3), (2, 2), (1, 1, 0, 0), 4, (1, 1)),
    ((1, 1), (3, 3), (0, 0, -2, -1), 1, (1, 1)),
    ((3, 2), (2, 3), (2, 0, 1, 1), 1, (2, 1)),
    ((3, 3), (1, 1), (1, 1, 1, 1), 2, (1, 1)),
    ((3, 3), (4, 2), (3, 2, 1, 0), 1, (2, 3)),
]


@pytest.mark.parametrize(("kernel", "stride", "cropping", "groups", "dilation"), SHAPES)
@pytest.mark.parametrize("size", [(1, 1), (5, 4)])
def test_phases_make_the_transposed_convolution(kernel, stride, cropping, groups, dilation, size):
    random = np.random.default_rng(0)
    out = [
        (size[i] - 1) * stride[i]
        + (kernel[i] - 1) * dilation[i]
        + 1
        - cropping[i]
        - cropping[i + 2]
        for i in (0, 1)
    ]
    layer = ConvTranspose(
        name="up",
        inputs=("x",),
        output="y",
        weight=random.standard_normal((4, 8 // groups, *kernel)).astype(np.float32),
        bias=random.standard_normal(8).astype(np.float32),
        stride=stride,
        cropping=cropping,
        groups=groups,
        dilation=dilation,
        activation=Activation.RELU,
    )
    shapes = {"x": (4, *size), "y": (8, *out)}
    graph = Graph(name="up", input="x", outputs=("y",), layers=(layer,), shapes=shapes)
    expanded = expand_transposed_convolutions(graph)
    assert not any(isinstance(one, ConvTranspose) for one in expanded.layers)
    picture = random.standard_normal((1, 4, *size)).astype(np.float32)
    values = interpreter.activations(expanded, picture)
    for name, value in values.items():
        assert value.shape == expanded.shapes[name]
    np.testing.assert_allclose(
        values["y"], interpreter.outputs(graph, picture)[0], rtol=1e-4, atol=1e-5
    )


def test_phases_multiply_no_zeros():
    layer = ConvTranspose(
        name="up",
        inputs=("x",),
        output="y",
        weight=np.ones((3, 5, 4, 4), np.float32),
        bias=np.zeros(5, np.float32),
        stride=(2, 2),
        cropping=(1, 1, 1, 1),
    )
    shapes = {"x": (3, 6, 6), "y": (5, 12, 12)}
    graph = Graph(name="up", input="x", outputs=("y",), layers=(layer,), shapes=shapes)
    convolutions = [
        one for one in expand_transposed_convolutions(graph).layers if isinstance(one, Conv)
    ]
    assert [one.weight.shape for one in convolutions] == [(5, 3, 2, 2)] * 4
    assert all(one.weight.all() for one in convolutions)
