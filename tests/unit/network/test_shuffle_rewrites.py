"""Moving, absorbing and blocking shuffles: the network computes the same, with less to move."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.network.graph import Conv, Graph, Layer, Shuffle
from shufflenet_deploy.network.passes.shuffle_rewrites import (
    BlockShuffle,
    absorbed,
    after_stride,
    in_blocks,
    in_dense,
    shuffled_order,
)
from shufflenet_deploy.records import Resolution

torch.set_num_threads(1)


def unit(*, groups, width, stride, first_groups=None):
    """Stem, grouped 1x1, shuffle, depthwise, grouped 1x1; ``width`` channels in each group."""
    torch.manual_seed(groups * 100 + width)
    channels = groups * width
    net = nn.Sequential(
        nn.Conv2d(3, 2 * channels, 1),
        nn.Conv2d(2 * channels, channels, 1, groups=first_groups or groups),
        nn.ReLU(),
        nn.ChannelShuffle(groups),
        nn.Conv2d(channels, channels, 3, stride, 1, groups=channels),
        nn.Conv2d(channels, groups * 4, 1, groups=groups),
    )
    return trace(net.eval(), Resolution(height=7, width=6), "unit")


def run(graph, image):
    """The output of a graph that may hold block shuffles, which the reference does not know."""

    def blocks(layer, x):
        shape = (len(x), layer.groups, layer.groups, layer.block, *x.shape[2:])
        return x.reshape(shape).transpose(1, 2).flatten(1, 3)

    values = {graph.input: image}
    for layer in graph.layers:
        inputs = [values[name] for name in layer.inputs]
        values[layer.output] = (
            blocks(layer, *inputs)
            if isinstance(layer, BlockShuffle)
            else interpreter.compute(layer, inputs)
        )
        assert tuple(values[layer.output].shape[1:]) == graph.shapes[layer.output]
    return values[graph.output].numpy()


def same(before: Graph, after: Graph) -> list[type[Layer]]:
    image = torch.from_numpy(
        np.random.default_rng(0).standard_normal((2, *before.shapes["input"]), np.float32)
    )
    np.testing.assert_allclose(run(after, image), run(before, image), atol=1e-5, rtol=1e-5)
    assert after.output == before.output
    assert set(after.shapes) == {after.input, *(layer.output for layer in after.layers)}
    return [type(layer) for layer in after.layers]


@pytest.mark.parametrize(("channels", "groups"), [(6, 2), (12, 3), (30, 3), (8, 8)])
def test_the_order_is_the_shuffle_itself(channels, groups):
    marks = torch.arange(channels, dtype=torch.float32).reshape(1, channels, 1, 1)
    layer = Shuffle(name="s", inputs=("x",), output="s", groups=groups)
    shuffled = interpreter.compute(layer, [marks]).flatten().numpy()
    assert (shuffled == shuffled_order(channels, groups)).all()


@pytest.mark.parametrize("stride", [1, 2])
def test_an_ungrouped_convolution_absorbs_a_shuffle(stride):
    graph = unit(groups=3, width=4, stride=stride, first_groups=1)
    assert same(graph, absorbed(graph)) == [Conv] * 4
    grouped = unit(groups=3, width=4, stride=stride)
    assert absorbed(grouped).layers == grouped.layers


def test_a_shuffle_moves_behind_a_stride_and_stays_before_none():
    graph = unit(groups=3, width=4, stride=2)
    moved = after_stride(graph)
    assert same(graph, moved) == [Conv, Conv, Conv, Shuffle, Conv]
    assert moved.shapes[moved.layers[3].output] == (12, 4, 3)
    # The value of the depthwise layer is still there under its name.
    assert moved.layers[3].output == graph.layers[3].output
    still = unit(groups=3, width=4, stride=1)
    assert after_stride(still).layers == still.layers


@given(groups=st.integers(2, 4), width=st.integers(2, 14), stride=st.integers(1, 2))
@settings(max_examples=40, deadline=None)
def test_blocks(groups, width, stride):
    graph = unit(groups=groups, width=width, stride=stride)
    names = [layer.name for layer in graph.layers if isinstance(layer, Shuffle)]
    blocked = in_blocks(graph, names)
    block = -(-width // groups)
    kinds = same(graph, blocked)
    if block * groups > 1.25 * width:
        assert blocked.layers == graph.layers
    else:
        assert (BlockShuffle in kinds) == (len(names) == 1)
        assert Shuffle not in kinds
    assert in_blocks(graph, []).layers == graph.layers


def test_what_others_read_stays_as_it_is():
    class Shared(nn.Module):
        def __init__(self, where):
            super().__init__()
            self.where = where
            self.first = nn.Conv2d(9, 9, 1, groups=3)
            self.shuffle = nn.ChannelShuffle(3)
            self.depthwise = nn.Conv2d(9, 9, 3, 2, 1, groups=9)
            self.last = nn.Conv2d(9, 9, 1, groups=3)
            self.other = nn.Conv2d(9, 9, 3, 2, 1)

        def forward(self, x):
            a = self.first(x)
            b = self.shuffle(a)
            c = self.depthwise(b)
            d = self.last(c)
            return d + {"a": self.other(a), "b": self.other(b), "c": c, "d": d}[self.where]

    for where, stride in itertools.product("abcd", [1, 2]):
        net = Shared(where).eval()
        net.depthwise.stride = net.other.stride = (stride, stride)
        graph = trace(net, Resolution(height=6, width=5), "shared", channels=9)
        same(graph, after_stride(absorbed(graph)))
        same(graph, in_blocks(graph, ["shuffle"]))
        rewritten = in_blocks(graph, ["shuffle"])
        assert any(isinstance(layer, BlockShuffle) for layer in rewritten.layers) == (where == "d")


@pytest.mark.parametrize("first_groups", [None, 1])
@pytest.mark.parametrize("multiple", [1, 8])
@pytest.mark.parametrize("stride", [1, 2])
def test_dense_convolutions_take_the_shuffle_into_their_weights(first_groups, multiple, stride):
    graph = unit(groups=3, width=5, stride=stride, first_groups=first_groups)
    (shuffle,) = (layer for layer in graph.layers if isinstance(layer, Shuffle))
    changed = in_dense(graph, {shuffle.name}, multiple=multiple)
    assert not any(isinstance(layer, Shuffle) for layer in changed.layers)
    (depthwise,) = (one for one in changed.layers if isinstance(one, Conv) and one.depthwise)
    assert len(depthwise.weight) == {1: 15, 8: 16}[multiple]
    assert {one.groups for one in changed.layers if isinstance(one, Conv)} == {1, depthwise.groups}
    image = torch.rand(1, 3, 7, 6, generator=torch.Generator().manual_seed(1))
    np.testing.assert_allclose(run(changed, image), run(graph, image), atol=1e-5)


def test_other_shuffles_stay():
    graph = unit(groups=3, width=5, stride=1)
    assert in_dense(graph, {"elsewhere"}) is graph


def test_blocks_fill_up_to_a_multiple():
    graph = unit(groups=3, width=20, stride=1)
    (shuffle,) = (layer for layer in graph.layers if isinstance(layer, Shuffle))
    changed = in_blocks(graph, {shuffle.name}, multiple=8)
    (blocks,) = (layer for layer in changed.layers if isinstance(layer, BlockShuffle))
    assert (blocks.block, changed.shapes[blocks.output][0]) == (8, 72)
    image = torch.rand(1, 3, 7, 6, generator=torch.Generator().manual_seed(1))
    np.testing.assert_allclose(run(changed, image), run(graph, image), atol=1e-5)
