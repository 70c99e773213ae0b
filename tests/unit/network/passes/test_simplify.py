"""Few spellings after ``simplify``: what graphs of other frontends may hold, computed the same."""

import numpy as np
import pytest
import torch
from traced_modules import Lambda, check

from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.graph import (
    Activation,
    AdaptiveAveragePool,
    Add,
    Arithmetic,
    ArithmeticKind,
    Clip,
    Concat,
    Conv,
    Dense,
    Elementwise,
    Flatten,
    Graph,
    LeakyRelu,
    Multiply,
    Pad,
    Permute,
    Pool,
    PoolKind,
    Reduce,
    ReduceKind,
    Reshape,
    Shuffle,
    Slice,
)
from shufflenet_deploy.network.passes.simplify import simplify

torch.set_num_threads(1)

C, H, W = 8, 6, 5


def conv(name, source, *, kernel=1, outputs=C, inputs=C, **fields):
    generator = np.random.default_rng(0)
    weight = generator.normal(size=(outputs, inputs, kernel, kernel)).astype(np.float32)
    bias = generator.normal(size=outputs).astype(np.float32)
    return Conv(name=name, inputs=(source,), output=name, weight=weight, bias=bias, **fields)


def make(layer, name, *sources, **fields):
    return layer(name=name, inputs=sources, output=name, **fields)


def arithmetic(name, kind, *sources, constant=None, **fields):
    array = None if constant is None else np.asarray(constant, np.float32)
    return make(Arithmetic, name, *sources, kind=kind, constant=array, **fields)


def graph_of(*layers, outputs=None):
    """The graph of these layers, with the shapes that the interpreter finds."""
    shapes = {"input": (C, H, W)}
    known = {"input": torch.zeros(1, C, H, W)}
    for layer in layers:
        known[layer.output] = interpreter.compute(layer, [known[one] for one in layer.inputs])
        shapes[layer.output] = tuple(known[layer.output].shape[1:])
    return Graph(
        name="net",
        input="input",
        outputs=outputs or (layers[-1].output,),
        layers=layers,
        shapes=shapes,
    )


def same(graph, kinds):
    """The simplified graph, which has layers of these kinds and computes what it did."""
    simple = simplify(graph)
    assert [type(layer) for layer in simple.layers] == kinds
    image = np.random.default_rng(1).normal(size=(2, C, H, W)).astype(np.float32)
    expected, actual = interpreter.outputs(graph, image), interpreter.outputs(simple, image)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    assert set(simple.shapes) == {"input", *(layer.output for layer in simple.layers)}
    return simple


ADD, MULTIPLY = ArithmeticKind.ADD, ArithmeticKind.MULTIPLY
PER_CHANNEL = np.arange(1, C + 1).reshape(C, 1, 1)


def test_sums_and_gates():
    a = conv("a", "input")
    same(graph_of(a, arithmetic("b", ADD, "input", "a")), [Conv, Add])
    pooled = make(Reduce, "p", "a", kind=ReduceKind.MEAN, axes=(1, 2))
    gate = arithmetic("g", MULTIPLY, "p", "input")
    assert same(graph_of(a, pooled, gate), [Conv, AdaptiveAveragePool, Multiply])


@pytest.mark.parametrize(
    ("kind", "constant", "reverse"),
    [
        (ADD, 2.0, False),
        (ArithmeticKind.SUBTRACT, [3.0], True),
        (MULTIPLY, PER_CHANNEL, False),
        (ArithmeticKind.DIVIDE, PER_CHANNEL, False),
    ],
)
def test_constants_are_folded(kind, constant, reverse):
    layer = arithmetic("c", kind, "a", constant=constant, reverse=reverse)
    same(graph_of(conv("a", "input"), layer), [Conv])
    alone = arithmetic("c", kind, "input", constant=constant, reverse=reverse)
    assert same(graph_of(alone), [Conv]).layers[0].depthwise
    flat = (make(Flatten, "f", "input"), make(Slice, "s", "f", axis=0, start=0, stop=C))
    dense = make(Dense, "d", "s", weight=np.eye(C, dtype=np.float32), bias=np.ones(C, np.float32))
    vector = arithmetic("c", kind, "d", constant=np.ravel(constant), reverse=reverse)
    same(graph_of(*flat, dense, vector), [Flatten, Slice, Dense])


def test_a_constant_that_broadcasts_stays():
    row = arithmetic("c", ADD, "input", constant=np.arange(W))
    same(graph_of(row), [Arithmetic])
    first = make(Slice, "s", "input", axis=0, start=0, stop=1)
    wide = arithmetic("c", MULTIPLY, "s", constant=PER_CHANNEL)
    same(graph_of(first, wide), [Slice, Arithmetic])


def test_clips():
    ends = {(0.0, 6.0): Activation.RELU6, (0.0, np.inf): Activation.RELU}
    for (low, high), activation in ends.items():
        graph = graph_of(conv("a", "input"), make(Clip, "c", "a", low=low, high=high))
        assert same(graph, [Conv]).layers[0].activation is activation
    same(graph_of(make(Clip, "c", "input", low=-1.0, high=6.0)), [Clip])
    nothing = make(Clip, "c", "a", low=-np.inf, high=np.inf)
    same(graph_of(conv("a", "input"), nothing), [Conv])


def test_hard_sigmoid_by_a_clip():
    scaled = arithmetic("m", MULTIPLY, "input", constant=1 / 6)
    moved = arithmetic("a", ADD, "m", constant=0.5)
    gate = make(Clip, "c", "a", low=0.0, high=1.0)
    graph = same(graph_of(scaled, moved, gate), [Elementwise])
    assert graph.layers[0].activation is Activation.HARD_SIGMOID
    swish = arithmetic("s", MULTIPLY, "c", "input")
    graph = same(graph_of(scaled, moved, gate, swish), [Elementwise])
    assert graph.layers[0].activation is Activation.HARD_SWISH


def test_moves_that_move_nothing():
    there = make(Permute, "p", "input", order=(1, 2, 0))
    back = make(Permute, "q", "p", order=(2, 0, 1))
    same(graph_of(there, back, conv("a", "q")), [Conv])
    split = make(Reshape, "r", "input", shape=(2, 4, H * W))
    joined = make(Reshape, "s", "r", shape=(C, H, W))
    same(graph_of(split, joined, conv("a", "s")), [Conv])
    flat = make(Reshape, "f", "input", shape=(C * H * W,))
    same(graph_of(flat), [Flatten])


def test_a_shuffle_in_the_middle_that_others_read():
    split = make(Reshape, "x/Reshape", "input", shape=(2, 4, H, W))
    turned = make(Permute, "x/Transpose", "x/Reshape", order=(1, 0, 2, 3))
    joined = make(Reshape, "x/Reshape_1", "x/Transpose", shape=(C, H, W))
    graph = same(graph_of(split, turned, joined), [Shuffle])
    assert graph.layers[0].groups == 2
    other = make(Reduce, "m", "x/Transpose", kind=ReduceKind.MAX, axes=(0,))
    both = graph_of(split, turned, joined, other, outputs=("x/Reshape_1", "m"))
    same(both, [Reshape, Shuffle, Reduce, Permute])  # Less is moved after the reduction.


def test_slices():
    outer = make(Slice, "s", "input", axis=0, start=1, stop=8, step=2)
    inner = make(Slice, "t", "s", axis=0, start=1, stop=4, step=2)
    graph = same(graph_of(outer, inner), [Slice])
    assert (graph.layers[0].start, graph.layers[0].stop, graph.layers[0].step) == (3, 8, 4)
    first = make(Slice, "a", "input", axis=0, start=0, stop=3)
    last = make(Slice, "b", "input", axis=0, start=3, stop=8)
    same(graph_of(first, last, make(Concat, "c", "a", "b"), conv("d", "c")), [Conv])
    same(graph_of(first, last, make(Concat, "c", "b", "a")), [Slice, Slice, Concat])


def test_borders():
    border = make(Pad, "p", "input", padding=(1, 2, 0, 1))
    graph = same(graph_of(border, conv("c", "p", kernel=3, stride=(2, 2))), [Conv])
    assert graph.layers[0].padding == (1, 2, 0, 0)
    fields = {"kernel": (3, 3), "stride": (1, 1)}
    pool = make(Pool, "m", "p", kind=PoolKind.AVERAGE, **fields)
    same(graph_of(border, pool), [Pool])
    largest = make(Pool, "m", "p", kind=PoolKind.MAX, **fields)
    same(graph_of(border, largest), [Pad, Pool])
    wide = make(Pad, "p", "input", padding=(3, 3, 3, 3))
    same(graph_of(wide, pool), [Pad, Pool])


def test_means():
    mean = make(Reduce, "m", "input", kind=ReduceKind.MEAN, axes=(1, 2), keep=False)
    same(graph_of(mean), [AdaptiveAveragePool, Flatten])
    same(graph_of(make(Reduce, "m", "input", kind=ReduceKind.SUM, axes=(1, 2))), [Reduce])


def test_gates_of_vectors_and_what_only_looks_like_one():
    eye = {"weight": np.eye(C, dtype=np.float32), "bias": np.ones(C, np.float32)}
    pooled = make(AdaptiveAveragePool, "p", "input", size=(1, 1))
    flat = make(Flatten, "f", "p")
    dense = make(Dense, "d", "f", **eye)
    gate = make(Reshape, "r", "d", shape=(C, 1, 1))
    product = make(Multiply, "x", "input", "r")
    same(graph_of(pooled, flat, dense, gate, product), [AdaptiveAveragePool, Conv, Multiply])
    whole = make(Flatten, "f", "input")
    weight = np.ones((C, C * H * W), np.float32)
    wide = make(Dense, "d", "f", weight=weight, bias=np.ones(C, np.float32))
    same(graph_of(whole, wide, gate, product), [Flatten, Dense, Reshape, Multiply])
    bent = make(LeakyRelu, "l", "d", slope=np.array([0.1], np.float32))
    gate = make(Reshape, "r", "l", shape=(C, 1, 1))
    kinds = [AdaptiveAveragePool, Flatten, Dense, LeakyRelu, Reshape, Multiply]
    same(graph_of(pooled, flat, dense, bent, gate, product), kinds)


def test_an_output_in_the_middle_keeps_its_value():
    graph = graph_of(
        conv("a", "input"), make(Clip, "r", "a", low=0.0, high=np.inf), outputs=("a", "r")
    )
    simple = simplify(graph)
    assert simple.outputs == ("a", "r")
    assert [type(layer) for layer in simple.layers] == [Conv, Elementwise]


def test_the_view_of_a_whole_map_as_a_vector_is_no_gate():
    fc = torch.nn.Linear(8 * 9 * 12, 8)
    module = Lambda(lambda self, x: x * self.fc(x.flatten(1)).view(-1, 8, 1, 1), fc=fc)
    check(module, channels=8, kinds=[Flatten, Dense, Reshape, Multiply])
