"""Every operator of the graph as a TFLite file in LiteRT, in fp32 and in int8."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from shufflenet_deploy.errors import UnsupportedError
from shufflenet_deploy.export.tflite import writer
from shufflenet_deploy.network import graph as g
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.quantization import calibration
from tests.builders.operator_graphs import (
    conv,
    graph_of,
    layer,
    numbers,
    random_network,
    transposed,
)

torch.set_num_threads(1)

RESOLVERS = (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)


def litert(content, resolver):
    loaded = Interpreter(
        model_content=content, experimental_op_resolver_type=resolver, num_threads=1
    )
    loaded.allocate_tensors()
    return loaded


def infer(loaded, image):
    """The outputs for one float image (C, H, W), in their order; maps come back as (C, H, W)."""
    (source,) = loaded.get_input_details()
    value = image.transpose(1, 2, 0)[None]
    if source["dtype"] is np.int8:
        scale, zero_point = source["quantization"]
        value = np.clip(np.round(value / scale) + zero_point, -128, 127).astype(np.int8)
    loaded.set_tensor(source["index"], value)
    loaded.invoke()
    found = []
    for detail in loaded.get_output_details():
        output = loaded.get_tensor(detail["index"])
        if detail["dtype"] is np.int8:
            scale, zero_point = detail["quantization"]
            output = (output.astype(np.float32) - zero_point) * np.float32(scale)
        found.append(output[0].transpose(2, 0, 1) if output.ndim == 4 else output[0])
    return found


def operations(content):
    """How often each operation is in a file."""
    model = schema.ModelT.InitFromPackedBuf(bytes(content))
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
    codes = [names[code.builtinCode] for code in model.operatorCodes]
    return Counter(codes[operator.opcodeIndex] for operator in model.subgraphs[0].operators)


def moves(content):
    """The name and shape of each tensor that a transpose writes."""
    model = schema.ModelT.InitFromPackedBuf(bytes(content))
    (main,) = model.subgraphs
    for operator in main.operators:
        if (
            model.operatorCodes[operator.opcodeIndex].builtinCode
            == schema.BuiltinOperator.TRANSPOSE
        ):
            tensor = main.tensors[operator.outputs[0]]
            yield tensor.name.decode(), tensor.shape


def sqnr_db(wanted, actual):
    return 10 * np.log10((wanted**2).sum() / max(((wanted - actual) ** 2).sum(), 1e-30))


def exact(graph, tolerance=1e-5):
    """The fp32 file, which computes what the reference computes, with and without XNNPACK."""
    image = numbers(*graph.shapes["input"], seed=7)
    values = interpreter.activations(graph, image)
    content = writer.to_bytes(graph)
    for resolver in RESOLVERS:
        found = infer(litert(content, resolver), image)
        assert len(found) == len(graph.outputs)
        for name, actual in zip(graph.outputs, found, strict=True):
            wanted = values[name]
            assert actual.shape == wanted.shape
            assert abs(actual - wanted).max() <= tolerance * max(1.0, abs(wanted).max()), resolver
    return content


def rounded(graph, least_db):
    """The int8 file, which stays near the reference, with and without XNNPACK."""
    images = [numbers(1, *graph.shapes["input"], seed=seed) for seed in range(7, 11)]
    ranges = calibration.calibrate(graph, images)
    content = writer.int8_to_bytes(graph, ranges)
    values = interpreter.activations(graph, images[0])
    for resolver in RESOLVERS:
        found = infer(litert(content, resolver), images[0][0])
        for name, actual in zip(graph.outputs, found, strict=True):
            assert actual.shape == values[name].shape
            assert sqnr_db(values[name], actual) >= least_db, (name, resolver)
    return content


def in_float(content):
    """True if any of an int8 file's operations computes in float."""
    return "DEQUANTIZE" in operations(content)


def both(graph, *, least_db=28, floats=False):
    """Both files; ``floats`` is whether the int8 one has a step in float."""
    content = exact(graph)
    assert in_float(rounded(graph, least_db)) == floats
    return operations(content)


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


def test_heads_of_detectors_move_nothing():
    """Permutations and reshapes of maps to rows of boxes are how files hold maps anyway."""
    layers = []
    for name, source in (("a", "input"), ("b", "input.half")):
        layers += [
            conv(8, 6, (3, 3), name=f"{name}.conv", source=source, padding=(1, 1, 1, 1)),
            layer(g.Permute, f"{name}.last", f"{name}.conv", order=(1, 2, 0)),
        ]
    half = layer(g.Pool, "input.half", kind=g.PoolKind.MAX, kernel=(2, 2), stride=(2, 2))
    layers = [
        half,
        *layers,
        layer(g.Reshape, "a.rows", "a.last", shape=(48, 3)),
        layer(g.Reshape, "b.rows", "b.last", shape=(12, 3)),
        layer(g.Concat, "rows", "a.rows", "b.rows", axis=0),
        layer(g.Slice, "boxes", "rows", axis=1, start=0, stop=2),
        layer(g.Slice, "rest", "rows", axis=1, start=2, stop=3),
        layer(g.Elementwise, "scores", "rest", activation=g.Activation.SIGMOID),
        layer(g.Concat, "all", "boxes", "scores", axis=1),
    ]
    graph = graph_of(*layers, shape=(8, 4, 6), outputs=("scores", "all"))
    assert "TRANSPOSE" not in both(graph)


def test_tokens_of_maps_move_nothing():
    layers = [
        conv(3, 8),
        layer(g.Reshape, "flat", "conv", shape=(8, 20)),
        layer(g.Permute, "tokens", "flat", order=(1, 0)),
        layer(g.Softmax, "soft", "tokens", axis=1),
        layer(g.Permute, "back", "soft", order=(1, 0)),
        layer(g.Reshape, "map", "back", shape=(8, 4, 5)),
        conv(8, 4, source="map", name="last"),
    ]
    assert "TRANSPOSE" not in both(graph_of(*layers, shape=(3, 4, 5)), least_db=20)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_permutations_and_reshapes(order):
    layers = [
        layer(g.Permute, "moved", order=order),
        layer(g.Elementwise, "act", "moved", activation=g.Activation.RELU),
        layer(g.Reshape, "rows", "act", shape=(12, 5)),
        layer(g.Permute, "columns", "rows", order=(1, 0)),
        layer(g.Reshape, "map", "columns", shape=(5, 3, 4)),
        conv(5, 4, source="map"),
        layer(g.Flatten, "flat", "moved"),
        layer(g.Reshape, "deep", "moved", shape=(2, 2, 3, 5)),
    ]
    outputs = ("moved", "act", "columns", "conv", "flat", "deep")
    both(graph_of(*layers, shape=(3, 4, 5), outputs=outputs))


def test_outputs_that_are_one_tensor_or_the_input():
    layers = [conv(3, 3), layer(g.Permute, "same", "conv", order=(0, 1, 2))]
    outputs = ("same", "input", "conv", "same")
    both(graph_of(*layers, shape=(3, 4, 5), outputs=outputs))


def test_vectors_are_joined_scaled_and_divided_among_classes():
    weight = numbers(6, 8, seed=2) / 3
    layers = [
        conv(3, 4, activation=g.Activation.RELU),
        layer(g.Reduce, "mean", "conv", kind=g.ReduceKind.MEAN, axes=(1, 2), keep=False),
        layer(g.Reduce, "most", "conv", kind=g.ReduceKind.MAX, axes=(1, 2), keep=False),
        layer(g.Concat, "both", "mean", "most"),
        layer(g.Dense, "dense", "both", weight=weight, bias=numbers(6)),
        layer(g.Add, "twice", "dense", "dense"),
        layer(g.Softmax, "soft", "twice"),
    ]
    both(graph_of(*layers, shape=(3, 4, 5), outputs=("soft", "twice")))


def test_what_a_file_says_of_several_outputs_and_old_runtimes():
    layers = [conv(3, 3), layer(g.Elementwise, "act", "conv", activation=g.Activation.GELU)]
    content = writer.to_bytes(graph_of(*layers, shape=(3, 4, 5), outputs=("act", "conv")))
    loaded = litert(content, RESOLVERS[1])
    assert [one["name"] for one in loaded.get_output_details()] == ["act", "conv"]
    assert list(loaded.get_signature_list()["serving_default"]["outputs"]) == ["act", "conv"]
    assert b"2.9.0\0" in bytes(content)


def test_values_of_five_axes_are_computed_on_and_of_six_refused():
    layers = [
        layer(g.Reshape, "deep", shape=(2, 2, 1, 3, 2)),
        layer(g.Concat, "cat", "deep", "deep", axis=1),
        layer(g.Reduce, "mean", "cat", kind=g.ReduceKind.MEAN, axes=(1, 4)),
        layer(g.Arithmetic, "scaled", "mean", kind=A.MULTIPLY, constant=numbers(2, 1, 1, 3, 1)),
        layer(g.LeakyRelu, "act", "scaled", slope=np.float32([0.25])),
    ]
    both(graph_of(*layers, shape=(4, 3, 2)))
    deeper = [
        layer(g.Reshape, "deep", shape=(2, 2, 1, 3, 1, 2)),
        layer(g.Concat, "cat", "deep", "deep", axis=1),
    ]
    with pytest.raises(UnsupportedError, match="'cat' computes on 6 axes"):
        writer.to_bytes(graph_of(*deeper, shape=(4, 3, 2)))


def test_an_attention_over_groups_of_channels_moves_its_gate_alone():
    """Of two operands in different orders the smaller one is moved."""
    layers = [
        conv(3, 8),
        layer(g.Reshape, "groups", "conv", shape=(2, 4, 6, 5)),
        layer(g.Reduce, "sum", "groups", kind=g.ReduceKind.SUM, axes=(0,), keep=False),
        layer(g.AdaptiveAveragePool, "mean", "sum", size=(1, 1)),
        conv(4, 8, name="gates", source="mean"),
        layer(g.Reshape, "split", "gates", shape=(2, 4, 1, 1)),
        layer(g.Softmax, "shares", "split", axis=0),
        layer(g.Arithmetic, "scaled", "groups", "shares", kind=A.MULTIPLY),
        layer(g.Reshape, "last", "scaled", shape=(8, 6, 5)),
    ]
    graph = graph_of(*layers, shape=(3, 6, 5))
    both(graph)
    moved = {
        name.partition(":")[0]: math.prod(shape) for name, shape in moves(writer.to_bytes(graph))
    }
    assert moved == {"split": 8, "shares": 8}


def test_a_matrix_is_no_vector():
    layers = [
        layer(g.Reshape, "rows", shape=(4, 15)),
        layer(g.Dense, "dense", "rows", weight=numbers(2, 15), bias=numbers(2)),
    ]
    with pytest.raises(UnsupportedError, match="'dense' multiplies the rows of a matrix"):
        writer.to_bytes(graph_of(*layers, shape=(3, 4, 5)))


@pytest.mark.parametrize("first", range(0, 32, 8))
def test_random_networks(first):
    for seed in range(first, first + 8):
        graph = random_network(seed)
        exact(graph)
        rounded(graph, 15)


def inverted_residual(name, source, activation):
    """A unit of MobileNet v3: expansion, depthwise, gate of squeezed channels, projection, sum."""
    names = {word: f"{name}.{word}" for word in ("wide", "act", "deep", "down", "gate", "scaled")}
    return [
        conv(8, 16, name=names["wide"], source=source),
        layer(g.Elementwise, names["act"], names["wide"], activation=activation),
        conv(
            16, 16, (3, 3), names["deep"], names["act"], groups=16, padding=(1, 1, 1, 1),
            activation=g.Activation.RELU6,
        ),
        layer(g.AdaptiveAveragePool, names["down"], names["deep"], size=(1, 1)),
        layer(
            g.Elementwise, names["gate"], names["down"], activation=g.Activation.HARD_SIGMOID
        ),
        layer(g.Multiply, names["scaled"], names["deep"], names["gate"]),
        conv(16, 8, name=f"{name}.narrow", source=names["scaled"]),
        layer(g.Add, name, source, f"{name}.narrow"),
    ]  # fmt: skip


def test_mobilenets_transpose_nothing():
    layers = [
        conv(3, 8, (3, 3), "stem", stride=(2, 2), padding=(1, 1, 1, 1)),
        layer(g.Elementwise, "start", "stem", activation=g.Activation.HARD_SWISH),
        *inverted_residual("one", "start", g.Activation.RELU),
        *inverted_residual("two", "one", g.Activation.HARD_SWISH),
        layer(g.AdaptiveAveragePool, "mean", "two", size=(1, 1)),
        layer(g.Flatten, "flat", "mean"),
        layer(g.Dense, "logits", "flat", weight=numbers(5, 8) / 3, bias=numbers(5)),
    ]
    found = both(graph_of(*layers, shape=(3, 12, 16)), least_db=20)
    assert "TRANSPOSE" not in found


def test_the_second_shufflenet_transposes_for_its_shuffles_alone():
    layers = [conv(3, 8, (3, 3), "stem", activation=g.Activation.RELU)]
    source = "stem"
    for name in ("one", "two"):
        layers += [
            layer(g.Slice, f"{name}.kept", source, axis=0, start=0, stop=4),
            layer(g.Slice, f"{name}.half", source, axis=0, start=4, stop=8),
            conv(4, 4, name=f"{name}.conv", source=f"{name}.half", activation=g.Activation.RELU),
            layer(g.Concat, f"{name}.cat", f"{name}.kept", f"{name}.conv"),
            layer(g.Shuffle, name, f"{name}.cat", groups=2),
        ]
        source = name
    found = both(graph_of(*layers, shape=(3, 7, 8)))
    assert found["TRANSPOSE"] == 2
