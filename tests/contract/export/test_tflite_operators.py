"""Every operator of the graph as a TFLite file in LiteRT, in fp32 and in int8."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from shufflenet_deploy.errors import UnsupportedError
from shufflenet_deploy.export.tflite import writer
from shufflenet_deploy.network import graph as g
from shufflenet_deploy.network import interpreter
from tests.builders.operator_graphs import conv, graph_of, layer, numbers, transposed
from tests.builders.tflite_files import RESOLVERS, both, exact, infer, litert, operations, rounded

torch.set_num_threads(1)

SIZES = [(1, 1), (5, 7), (8, 6)]
A, S = g.ArithmeticKind, g.Sampling


@pytest.mark.parametrize("activation", [one for one in g.Activation if one is not one.NONE])
def test_activations(activation):
    """Alone, on a map and on a vector; and as a convolution's own."""
    alone = [
        layer(g.Elementwise, "act", activation=activation),
        layer(g.Flatten, "flat", "act"),
        layer(g.Elementwise, "again", "flat", activation=activation),
    ]
    both(
        graph_of(*alone, shape=(3, 5, 4), outputs=("act", "again")),
        floats=activation is g.Activation.MISH,
    )
    own = conv(3, 4, (3, 3), activation=activation)
    exact(graph_of(own, shape=(3, 5, 4)))
    rounded(graph_of(own, shape=(3, 5, 4)), 28)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("dilation", "stride"), [((2, 3), (1, 1)), ((2, 2), (2, 2))])
def test_dilated_convolutions(size, groups, dilation, stride):
    pad = dilation if groups < 4 else (0, 3)
    one = conv(
        4, 8, (3, 3), groups=groups, dilation=dilation, stride=stride,
        padding=(*pad, *dilation) if size != (1, 1) else (*dilation, *dilation),
    )  # fmt: skip
    if min(size) > 1 or groups < 4:
        both(graph_of(one, shape=(4, max(size[0], 3), max(size[1], 5))))


@pytest.mark.parametrize("size", [(1, 1), (4, 3)])
@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize(
    ("kernel", "stride", "cropping"),
    [
        ((2, 2), (2, 2), (0, 0, 0, 0)),
        ((4, 4), (2, 2), (1, 1, 1, 1)),
        ((3, 3), (2, 2), (1, 1, 0, 0)),
        ((3, 3), (2, 2), (0, 0, -1, -1)),
        ((3, 2), (1, 3), (1, 0, 1, -2)),
        ((1, 1), (2, 2), (0, 0, 0, -1)),
    ],
)
def test_transposed_convolutions(size, groups, kernel, stride, cropping):
    up = transposed(8, 16, kernel, groups, stride=stride, cropping=cropping)
    both(graph_of(up, shape=(8, *size)))


@pytest.mark.parametrize("activation", ["relu", "hard-swish"])
@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolutions_with_dilation_and_activation(activation, groups):
    up = transposed(
        4, 4, (3, 3), groups, stride=(2, 1), dilation=(1, 2), cropping=(1, 1, 0, 2),
        activation=g.Activation(activation),
    )  # fmt: skip
    both(graph_of(up, shape=(4, 5, 4)), floats=activation == "hard-swish")


def test_too_much_output_padding_is_refused():
    up = transposed(4, 4, (3, 3), stride=(2, 2), dilation=(3, 3), cropping=(0, 0, -2, 0))
    with pytest.raises(UnsupportedError, match="'up' has more output padding than its stride of 2"):
        writer.to_bytes(graph_of(up, shape=(4, 5, 4)))


OPERANDS = {
    "map": (4, 5, 6),
    "scalar": (),
    "channels": (4, 1, 1),
    "row": (6,),
    "plane": (5, 6),
    "column": (1, 5, 1),
}


@pytest.mark.parametrize("kind", list(A))
@pytest.mark.parametrize("operand", OPERANDS)
def test_arithmetic_with_constants(kind, operand):
    """On either side; what is divided by one is multiplied by its reciprocal."""
    constant = np.asarray(np.abs(numbers(*OPERANDS[operand], seed=5)) / 2 + 0.2)
    layers = [
        conv(4, 4),
        layer(g.Elementwise, "share", "conv", activation=g.Activation.SIGMOID),
        layer(g.Arithmetic, "in", "share", kind=A.ADD, constant=np.float32([0.25])),
    ]
    for reverse in (False, True):
        operation = layer(
            g.Arithmetic,
            "out",
            "in",
            kind=kind,
            constant=constant,
            reverse=reverse,
            activation=g.Activation.RELU,
        )
        floats = kind is A.DIVIDE and reverse
        both(graph_of(*layers, operation, shape=(4, 5, 6)), floats=floats, least_db=25)


@pytest.mark.parametrize("kind", [A.SUBTRACT, A.MAXIMUM, A.DIVIDE])
def test_arithmetic_of_two_values(kind):
    """Operands of one shape, with a scale of channels, and with fewer axes."""
    layers = [
        conv(4, 4, name="a"),
        conv(4, 4, name="b", activation=g.Activation.RELU),
        layer(g.Arithmetic, "c", "b", kind=A.ADD, constant=np.ones((1, 1, 1), np.float32)),
        layer(g.Arithmetic, "same", "a", "c", kind=kind),
        layer(g.Reduce, "mean", "c", kind=g.ReduceKind.MEAN, axes=(0,), keep=False),
        layer(g.Arithmetic, "plane", "same", "mean", kind=kind),
        layer(g.Reduce, "column", "c", kind=g.ReduceKind.MAX, axes=(0, 1), keep=False),
        layer(g.Arithmetic, "row", "plane", "column", kind=kind),
    ]
    both(graph_of(*layers, shape=(4, 5, 6)), floats=kind is A.DIVIDE, least_db=20)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_slices_and_concatenations(axis, step):
    """Slices of a map on every axis, joined again on another; nothing is transposed."""
    shape = (6, 7, 5)
    one = layer(g.Slice, "one", axis=axis, start=1, stop=shape[axis], step=step)
    two = layer(g.Slice, "two", axis=axis, start=0, stop=shape[axis] - 1, step=step)
    joined = layer(g.Concat, "cat", "one", "two", axis=(axis + 1) % 3)
    if shape[axis] % step == 0 or step != 3:
        found = both(graph_of(one, two, joined, shape=shape))
        assert "TRANSPOSE" not in found


@pytest.mark.parametrize("size", [(2, 2), (5, 7)])
@pytest.mark.parametrize("padding", [(1, 0, 1, 1), (0, 1, 3, 2)])
@pytest.mark.parametrize(
    ("mode", "value"), [*((mode, 0.0) for mode in g.PadMode), (g.PadMode.CONSTANT, -1.5)]
)
def test_pads(size, padding, mode, value):
    if mode is g.PadMode.REFLECT:
        padding = tuple(min(pad, size[i % 2] - 1) for i, pad in enumerate(padding))
    both(graph_of(layer(g.Pad, "pad", padding=padding, mode=mode, value=value), shape=(3, *size)))


def test_a_border_of_less_than_nothing_is_refused():
    graph = graph_of(layer(g.Pad, "pad", padding=(0, -1, 0, 0)), shape=(3, 4, 4))
    with pytest.raises(UnsupportedError, match="'pad' pads by less than nothing"):
        writer.to_bytes(graph)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("new", [(1, 1), (2, 3), (10, 14), (11, 5)])
@pytest.mark.parametrize("mode", list(g.ResizeMode))
def test_resizes(size, new, mode):
    layers = [
        layer(g.Resize, str(sampling), size=new, mode=mode, sampling=sampling) for sampling in S
    ]
    outputs = tuple(map(str, S))
    both(graph_of(*layers, shape=(3, *size), outputs=outputs))


def test_nearest_pixels_are_those_of_the_graph_whatever_the_rounding():
    """TFLite computes places in single precision, which now and then is a pixel off."""
    rows = np.arange(64, dtype=np.float32)
    image = rows.reshape(1, 64, 1)
    codes = Counter()
    for new in range(1, 100):
        for sampling in S:
            one = layer(
                g.Resize, "out", size=(new, 1), mode=g.ResizeMode.NEAREST, sampling=sampling
            )
            graph = graph_of(one, shape=(1, 64, 1))
            content = writer.to_bytes(graph)
            codes.update(operations(content))
            if new % 8 == 0 or "GATHER" in operations(content):
                (found,) = infer(litert(content, RESOLVERS[1]), image)
                wanted = interpreter.activations(graph, image)["out"]
                assert (found == wanted).all(), (new, sampling)
    assert codes["RESIZE_NEAREST_NEIGHBOR"] > 200
    assert codes["GATHER"] > 0


@pytest.mark.parametrize("channels", [4, 12])
@pytest.mark.parametrize("folded", [False, True])
def test_pixel_shuffles(channels, folded):
    """An ungrouped convolution on the right side computes TFLite's order of channels."""
    before = [
        conv(4, channels, (3, 3), groups=1 if folded else 2, padding=(1, 1, 1, 1)),
        layer(g.DepthToSpace, "wide", "conv", block=2),
    ]
    found = both(graph_of(*before, shape=(4, 4, 5)))
    assert ("TRANSPOSE" in found) == (not folded and channels > 4)
    after = [
        layer(g.SpaceToDepth, "deep", block=2),
        conv(channels, 6, (3, 3), source="deep", groups=1 if folded else 2),
    ]
    found = both(graph_of(*after, shape=(channels // 4, 8, 6)))
    assert ("TRANSPOSE" in found) == (not folded and channels > 4)


@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 1, 1)])
def test_parametric_units(shape):
    layers = [
        layer(g.LeakyRelu, "leaky", slope=np.float32([0.1])),
        layer(g.LeakyRelu, "steep", slope=np.float32([1.5])),
        layer(g.LeakyRelu, "prelu", slope=np.float32([0.1, 0.25, -0.5, 0])),
        layer(g.Elu, "elu"),
        layer(g.Flatten, "flat", "leaky"),
        layer(g.LeakyRelu, "vector", "flat", slope=np.float32([0.2])),
    ]
    outputs = ("leaky", "steep", "prelu", "elu", "vector")
    both(graph_of(*layers, shape=shape, outputs=outputs))
    other = layer(g.Elu, "elu", alpha=0.5)
    both(graph_of(other, shape=shape), floats=True)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, np.inf, {"RELU": 1}),
        (0.0, 6.0, {"RELU6": 1}),
        (-1.0, 1.0, {"RELU_N1_TO_1": 1}),
        (-0.5, np.inf, {"MAXIMUM": 1}),
        (-np.inf, 0.75, {"MINIMUM": 1}),
        (-0.5, 0.75, {"MAXIMUM": 1, "MINIMUM": 1}),
    ],
)
def test_clips(low, high, expected):
    layers = [conv(3, 4), layer(g.Clip, "clip", "conv", low=low, high=high)]
    found = both(graph_of(*layers, shape=(3, 5, 4)))
    assert found == {"CONV_2D": 1, **expected}


def norm(name, *inputs, shape, axes, **fields):
    sizes = (shape[0], *[1] * (len(shape) - 1))
    scale, shift = (numbers(*sizes, seed=seed) for seed in (7, 8))
    fields = {"epsilon": 1e-3, **fields}
    return layer(g.Normalize, name, *inputs, axes=axes, scale=scale, shift=shift, **fields)


@pytest.mark.parametrize("shape", [(12, 5, 7), (12, 1, 1)])
def test_norms(shape):
    """Over channels, pixels or both, in groups, of maps and of vectors; all of them in float."""
    flat = (int(np.prod(shape)),)
    layers = [
        norm("layer", shape=shape, axes=(0,)),
        norm("pixels", shape=shape, axes=(1, 2), epsilon=0.5),
        norm("all", shape=shape, axes=(0, 1, 2)),
        norm("groups", shape=shape, axes=(0, 1, 2), groups=3),
        layer(g.Flatten, "flat"),
        norm("vector", "flat", shape=flat, axes=(0,)),
        norm("parts", "flat", shape=flat, axes=(0,), groups=4),
    ]
    outputs = ("layer", "pixels", "all", "groups", "vector", "parts")
    found = both(graph_of(*layers, shape=shape, outputs=outputs), floats=True)
    assert found["RSQRT"] == len(outputs)


def test_powers():
    layers = [
        layer(g.Elementwise, "positive", activation=g.Activation.SIGMOID),
        *(layer(g.Power, f"power{at}", "positive", exponent=one) for at, one in enumerate(POWERS)),
    ]
    outputs = tuple(one.name for one in layers[1:])
    found = both(graph_of(*layers, shape=(3, 5, 4), outputs=outputs), floats=True)
    assert {"SQRT", "RSQRT", "POW"} <= set(found)


POWERS = (0.5, -0.5, 3.0, 0.25)


@pytest.mark.parametrize("logarithm", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_softmax_of_maps(axis, logarithm):
    """The channels are last in a file anyway; only for another axis is anything moved."""
    layers = [conv(3, 4), layer(g.Softmax, "soft", "conv", axis=axis, logarithm=logarithm)]
    found = both(graph_of(*layers, shape=(3, 5, 6)), floats=logarithm)
    assert found.get("TRANSPOSE", 0) == (0 if axis == 0 else 2)


def test_softmax_of_vectors_and_of_many_axes():
    vector = [layer(g.Flatten, "flat"), layer(g.Softmax, "soft", "flat")]
    both(graph_of(*vector, shape=(3, 2, 2)))
    deep = [
        layer(g.Reshape, "split", shape=(2, 3, 2, 5)),
        layer(g.Softmax, "soft", "split", axis=1),
    ]
    both(graph_of(*deep, shape=(6, 2, 5)))


def test_shares_of_many_elements_are_computed_in_float():
    """The kernel's steps of 1/256 are too coarse for them."""
    many = [conv(3, 40), layer(g.Flatten, "flat", "conv"), layer(g.Softmax, "soft", "flat")]
    both(graph_of(*many, shape=(3, 5, 6)), floats=True, least_db=25)


@pytest.mark.parametrize("kind", list(g.ReduceKind))
@pytest.mark.parametrize("keep", [False, True])
def test_reductions(kind, keep):
    axes = [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2), *[(0, 1, 2)] * keep]
    layers = [
        layer(g.Reduce, f"over-{''.join(map(str, some))}", kind=kind, axes=some, keep=keep)
        for some in axes
    ]
    outputs = tuple(one.name for one in layers)
    found = both(graph_of(*layers, shape=(4, 5, 6), outputs=outputs), least_db=25)
    # What is left of an odd order of axes is put in order for the caller.
    assert "TRANSPOSE" not in found or not keep
    whole = layer(g.Reduce, "whole", kind=kind, axes=(0, 1, 2), keep=False)
    exact(graph_of(whole, shape=(4, 5, 6)))


def test_a_matrix_is_no_vector():
    layers = [
        layer(g.Reshape, "rows", shape=(4, 15)),
        layer(g.Dense, "dense", "rows", weight=numbers(2, 15), bias=numbers(2)),
    ]
    with pytest.raises(UnsupportedError, match="'dense' multiplies the rows of a matrix"):
        writer.to_bytes(graph_of(*layers, shape=(3, 4, 5)))
