"""Tracing: every building block becomes layers that compute the same, or a clear error."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from traced_modules import Lambda, check

from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.network.graph import (
    Activation,
    AdaptiveAveragePool,
    Add,
    Concat,
    Conv,
    Dense,
    Elementwise,
    Flatten,
    Multiply,
    Pool,
    Shuffle,
)
from shufflenet_deploy.records import Resolution

torch.set_num_threads(1)


class ChannelShuffle(nn.Module):
    def __init__(self, groups):
        super().__init__()
        self.groups = groups

    def forward(self, x):
        n, c, h, w = x.shape
        return x.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)


def test_conv_norm_relu_is_one_layer_named_by_its_path():
    block = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU())
    graph = check(nn.Sequential(block, nn.Conv2d(6, 6, 1, groups=3)), kinds=[Conv, Conv])
    assert [layer.name for layer in graph.layers] == ["0.0", "1"]
    assert graph.layers[0].activation is Activation.RELU
    assert graph.layers[1].groups == 3
    assert graph.output == "1"


@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    size=st.tuples(st.integers(5, 13), st.integers(5, 13)),
    padding=st.integers(0, 3),
    groups=st.sampled_from([1, 2, 4]),
)
@settings(max_examples=40, deadline=None)
def test_conv_of_any_window(kernel, stride, size, padding, groups):
    conv = nn.Conv2d(4, 8, kernel, stride, padding, groups=groups)
    check(conv, channels=4, size=size)


@pytest.mark.filterwarnings("ignore:Using padding=.same. with even")
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, (2, 5)])
def test_same_padding(kernel):
    check(nn.Conv2d(3, 4, kernel, padding="same"))


@given(
    kernel=st.integers(1, 4),
    stride=st.integers(1, 4),
    size=st.tuples(st.integers(5, 14), st.integers(5, 14)),
    padding=st.integers(0, 2),
    ceil=st.booleans(),
    average=st.booleans(),
    count=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_pools(kernel, stride, size, padding, ceil, average, count):
    padding = min(padding, kernel // 2)
    if average:
        pool = nn.AvgPool2d(kernel, stride, padding, ceil_mode=ceil, count_include_pad=count)
    else:
        pool = nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil)
    try:
        graph = check(pool, size=size, kinds=[Pool])
    except ExportError:
        assert (average, ceil, count, padding > 0) == (True, True, True, True)
        return
    top, left, bottom, right = graph.layers[0].padding
    assert (top, left) == (padding, padding)
    assert min(bottom, right) >= 0


@pytest.mark.parametrize("size", [1, (6, 6), (1, 5), (None, 2), (9, 12)])
def test_adaptive_pool(size):
    check(nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(size)))


def test_inline_shuffle_is_one_layer():
    def shuffle(_, x):
        n, c, h, w = x.size()
        x = x.view(n, 3, c // 3, h, w)
        x = torch.transpose(x, 1, 2).contiguous()
        return x.view(n, -1, h, w)

    graph = check(Lambda(shuffle), channels=12, kinds=[Shuffle])
    assert graph.layers[0].groups == 3
    permuted = Lambda(lambda _, x: x.reshape(-1, 2, 6, 9, 12).permute(0, 2, 1, 3, 4).flatten(1, 2))
    assert check(permuted, channels=12, kinds=[Shuffle]).layers[0].groups == 2
    permuted = Lambda(
        lambda _, x: x.reshape(1, 2, 6, 9, 12).permute(0, 2, 1, 3, 4).reshape(x.shape)
    )
    permuted.eval()
    graph = trace(permuted, Resolution(height=9, width=12), "net", channels=12)
    image = torch.randn(1, 12, 9, 12)
    assert (interpreter.outputs(graph, image.numpy()) == permuted(image).numpy()).all()


def test_shuffle_modules():
    graph = check(nn.Sequential(ChannelShuffle(4), nn.ChannelShuffle(2)), channels=8)
    assert [(type(layer), layer.name) for layer in graph.layers] == [(Shuffle, "0"), (Shuffle, "1")]


def test_residual_unit_with_concat():
    class Unit(nn.Module):
        def __init__(self):
            super().__init__()
            self.compress = nn.Conv2d(6, 4, 1, groups=2)
            self.norm = nn.BatchNorm2d(4)
            self.shuffle = ChannelShuffle(2)
            self.depthwise = nn.Conv2d(4, 4, 3, 2, 1, groups=4, bias=False)
            self.expand = nn.Conv2d(4, 6, 1, groups=2)
            self.pool = nn.AvgPool2d(3, 2, 1)
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x):
            y = self.relu(self.norm(self.compress(x)))
            y = self.expand(self.depthwise(self.shuffle(y)))
            return self.relu(torch.cat([self.pool(x), y], 1))

    graph = check(
        nn.Sequential(Unit(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5)),
        channels=6,
        kinds=[Conv, Shuffle, Conv, Conv, Pool, Concat, AdaptiveAveragePool, Flatten, Dense],
    )
    assert graph.layers[5].activation is Activation.RELU
    assert graph.layers[5].name == "0.concat"
    assert graph.layers[2].depthwise


def test_add_then_relu_and_a_relu_that_two_read():
    def twice(self, x):
        y = self.conv(x)
        return functional.relu(y + self.relu(y))

    graph = check(
        Lambda(twice, conv=nn.Conv2d(3, 3, 1), relu=nn.ReLU()), kinds=[Conv, Elementwise, Add]
    )
    assert graph.layers[-1].activation is Activation.RELU


def test_in_place_relu_changes_what_later_readers_see():
    def later(self, x):
        y = self.conv(x)
        z = self.relu(y)
        return torch.cat([y, z], 1)

    net = Lambda(later, conv=nn.Conv2d(3, 3, 1), relu=nn.ReLU(inplace=True))
    check(net, kinds=[Conv, Concat])


@pytest.mark.parametrize("gate", [nn.Sigmoid(), nn.Hardsigmoid()])
def test_squeeze_and_excitation(gate):
    def by_convolutions(self, x):
        return x * self.gate(self.up(functional.relu(self.down(self.pool(x)))))

    check(
        Lambda(
            by_convolutions,
            pool=nn.AdaptiveAvgPool2d(1),
            down=nn.Conv2d(8, 2, 1),
            up=nn.Conv2d(2, 8, 1),
            gate=gate,
        ),
        channels=8,
        kinds=[AdaptiveAveragePool, Conv, Conv, Elementwise, Multiply],
    )

    def by_vectors(self, x):
        y = self.up(functional.relu(self.down(x.mean((2, 3)))))
        return self.gate(y).view(x.size(0), -1, 1, 1) * x

    graph = check(
        Lambda(by_vectors, down=nn.Linear(8, 2), up=nn.Linear(2, 8), gate=gate),
        channels=8,
        kinds=[AdaptiveAveragePool, Conv, Conv, Elementwise, Multiply],
    )
    assert graph.shapes["down"] == (2, 1, 1)


def test_heads():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Dropout(), nn.LocalResponseNorm(5, 1e-2), nn.Identity(), nn.ReLU6()
    )
    flat = Lambda(
        lambda self, x: self.fc(self.net(x).view(x.size(0), -1)), net=net, fc=nn.Linear(280, 7)
    )
    check(flat)
    check(
        Lambda(
            lambda self, x: functional.dropout(self.fc(x).mean([2, 3]), training=self.training),
            fc=nn.Conv2d(3, 5, 1),
        )
    )


def test_norm_that_follows_no_convolution():
    graph = check(nn.Sequential(nn.MaxPool2d(2), nn.BatchNorm2d(3), nn.ReLU()), kinds=[Pool, Conv])
    assert graph.layers[1].depthwise


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(nn.Conv2d(4, 3, 3)), "expects 4 channels and gets 3"),
        (nn.Sequential(nn.Flatten(), nn.Linear(7, 3)), "'1' expects a vector of 7 features"),
        (nn.MaxPool2d(30), "choose a larger resolution"),
        (Lambda(lambda _, x: x if x.sum() > 0 else -x), "depends on the values of its input"),
        (Lambda(lambda _, x: (x, x)), "returns its input, or one tensor twice"),
        (nn.Sequential(Lambda(lambda _, x: x.tril())), r"module '0' computes tril\(\)"),
        (nn.AvgPool2d(2, divisor_override=3), "divisor"),
    ],
)
def test_what_cannot_be_expressed_is_named(module, message):
    with pytest.raises(ExportError, match=message) as caught:
        trace(module.eval(), Resolution(height=9, width=12), "net")
    assert "\n" not in str(caught.value)
    assert "net" in str(caught.value)


def test_training_mode_is_refused():
    with pytest.raises(ExportError, match="training mode"):
        trace(nn.Conv2d(3, 3, 1), Resolution(height=4, width=4), "net")
    half = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).eval()
    half[1].train()
    with pytest.raises(ExportError, match="statistics of the batch"):
        trace(half, Resolution(height=4, width=4), "net")
