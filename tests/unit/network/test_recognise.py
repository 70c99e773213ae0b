"""Activations are recognised in every spelling, and nothing else is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.frontends.file_builder import FileBuilder, Value
from shufflenet_deploy.network.graph import Activation, ArithmeticKind, Clip, Elementwise
from shufflenet_deploy.network.passes.recognise import Erf, Softplus, recognise

ADD, SUBTRACT = ArithmeticKind.ADD, ArithmeticKind.SUBTRACT
MULTIPLY, DIVIDE = ArithmeticKind.MULTIPLY, ArithmeticKind.DIVIDE


@pytest.fixture
def builder():
    return FileBuilder("test", (2, 3, 3))


X = Value("input", (2, 3, 3))


def activations_of(builder, value):
    """The activations of the recognised graph, which computes what was written."""
    written = builder.graph("test", [value])
    graph = recognise(written)
    image = np.random.default_rng(0).normal(scale=4, size=(1, 2, 3, 3)).astype(np.float32)
    if not any(isinstance(layer, (Erf, Softplus)) for layer in written.layers):
        before, after = (interpreter.outputs(one, image) for one in (written, graph))
        np.testing.assert_allclose(before, after, rtol=1e-4, atol=1e-5)
    return [getattr(layer, "activation", type(layer).__name__) for layer in graph.layers]


def test_gelu(builder):
    scaled = builder.with_constant(X, DIVIDE, math.sqrt(2))
    error = builder.emit(Erf, scaled)
    raised = builder.with_constant(error, ADD, 1.0)
    product = builder.of_two(X, raised, MULTIPLY)
    assert activations_of(builder, builder.with_constant(product, MULTIPLY, 0.5)) == [
        Activation.GELU
    ]


def test_gelu_with_the_half_first(builder):
    half = builder.with_constant(X, MULTIPLY, 0.5)
    error = builder.emit(Erf, builder.with_constant(X, MULTIPLY, math.sqrt(0.5)))
    raised = builder.with_constant(error, ADD, 1.0)
    assert activations_of(builder, builder.of_two(half, raised, MULTIPLY)) == [Activation.GELU]


def test_gelu_by_tanh(builder):
    cube = builder.of_two(builder.of_two(X, X, MULTIPLY), X, MULTIPLY)
    inner = builder.of_two(X, builder.with_constant(cube, MULTIPLY, 0.044715), ADD)
    scaled = builder.with_constant(inner, MULTIPLY, math.sqrt(2 / math.pi))
    raised = builder.with_constant(builder.elementwise(scaled, Activation.TANH), ADD, 1.0)
    product = builder.of_two(builder.with_constant(X, MULTIPLY, 0.5), raised, MULTIPLY)
    assert activations_of(builder, product) == [Activation.GELU_TANH]


def test_silu_and_mish(builder):
    silu = builder.of_two(X, builder.elementwise(X, Activation.SIGMOID), MULTIPLY)
    soft = builder.elementwise(builder.emit(Softplus, silu), Activation.TANH)
    mish = builder.of_two(silu, soft, MULTIPLY)
    assert activations_of(builder, mish) == [Activation.SILU, Activation.MISH]


@pytest.mark.parametrize("gate_first", [False, True])
def test_hard_swish(builder, gate_first):
    clipped = builder.emit(Clip, builder.with_constant(X, ADD, 3.0), low=0.0, high=6.0)
    if gate_first:
        gate = builder.with_constant(clipped, DIVIDE, 6.0)
        result = builder.of_two(gate, X, MULTIPLY)
    else:
        result = builder.with_constant(builder.of_two(X, clipped, MULTIPLY), DIVIDE, 6.0)
    assert activations_of(builder, result) == [Activation.HARD_SWISH]


def test_clips(builder):
    six = builder.emit(Clip, X, low=0.0, high=6.0)
    assert activations_of(builder, six) == [Activation.RELU6]


def test_what_is_only_alike_stays(builder):
    seven = builder.emit(Clip, X, low=0.0, high=7.0)
    gate = builder.elementwise(builder.with_constant(seven, MULTIPLY, 1.702), Activation.SIGMOID)
    result = builder.of_two(seven, gate, MULTIPLY)
    assert activations_of(builder, result) == [
        "Clip",
        Activation.NONE,
        Activation.SIGMOID,
        Activation.NONE,
    ]


def test_a_value_that_is_read_elsewhere_stays(builder):
    gate = builder.elementwise(X, Activation.SIGMOID)
    silu = builder.of_two(X, gate, MULTIPLY)
    both = builder.with_constant(builder.of_two(silu, gate, SUBTRACT), ADD, 1.0)
    kinds = activations_of(builder, both)
    assert kinds[:2] == [Activation.SIGMOID, Activation.SILU]


def test_an_error_function_alone_is_refused(builder):
    graph = builder.graph("test", [builder.emit(Erf, X)])
    with pytest.raises(ExportError, match="'layer' is Erf outside of GELU and Mish"):
        recognise(graph)


def test_numbers_of_another_shape_are_no_activation(builder):
    wide = builder.with_constant(X, MULTIPLY, np.ones((2, 1, 1)))
    assert recognise(builder.graph("test", [wide])).layers[0].output == wide.name
    assert not any(isinstance(one, Elementwise) for one in builder.layers)
