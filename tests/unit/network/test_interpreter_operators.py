"""Every operator of the graph in the interpreter, against PyTorch's own."""

from __future__ import annotations

import itertools
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from shufflenet_deploy.network import graph as g
from shufflenet_deploy.network import interpreter

SIZES = [(1, 1), (1, 5), (4, 3), (7, 8)]


def computed(make, x, *others, **fields):
    """One layer on pictures with their batch."""
    names = tuple(f"in{i}" for i in range(1 + len(others)))
    layer = make(name="layer", inputs=names, output="out", **fields)
    tensors = [torch.from_numpy(np.float32(value)) for value in (x, *others)]
    return interpreter.compute(layer, tensors)


def image(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=(2, *shape)).astype(np.float32)


def same(found, expected):
    np.testing.assert_allclose(found.numpy(), expected.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sizes", list(product(SIZES, SIZES)))
@pytest.mark.parametrize("align", [False, True])
def test_bilinear_resize(sizes, align):
    (height, width), size = sizes
    x = image(3, height, width)
    sampling = g.Sampling.ALIGN_CORNERS if align else g.Sampling.HALF_PIXEL
    found = computed(g.Resize, x, size=size, mode=g.ResizeMode.BILINEAR, sampling=sampling)
    same(
        found,
        functional.interpolate(
            torch.from_numpy(x), size=size, mode="bilinear", align_corners=align
        ),
    )


@pytest.mark.parametrize("sizes", list(product(SIZES, SIZES)))
@pytest.mark.parametrize(
    ("sampling", "mode"), [("asymmetric", "nearest"), ("half-pixel", "nearest-exact")]
)
def test_nearest_resize(sizes, sampling, mode):
    (height, width), size = sizes
    x = image(3, height, width)
    sampling = g.Sampling(sampling)
    found = computed(g.Resize, x, size=size, mode=g.ResizeMode.NEAREST, sampling=sampling)
    same(found, functional.interpolate(torch.from_numpy(x), size=size, mode=mode))


#: Stride, padding, output padding, dilation; PyTorch refuses outputs padded by a stride or more.
TRANSPOSED = [
    (stride, *padding, dilation)
    for stride, padding, dilation in itertools.product(
        (1, 2, 3), ((0, 0), (1, 0), (0, 1), (2, 1)), (1, 2)
    )
    if padding[1] < max(stride, dilation)
]


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("stride", "padding", "output_padding", "dilation"), TRANSPOSED)
def test_transposed_convolution(groups, stride, padding, output_padding, dilation):
    module = nn.ConvTranspose2d(
        4, 6, 3, stride, padding, output_padding, groups=groups, dilation=dilation
    )
    x = image(4, 5, 4)
    end = padding - output_padding
    found = computed(
        g.ConvTranspose,
        x,
        weight=module.weight.detach().numpy(),
        bias=module.bias.detach().numpy(),
        stride=(stride, stride),
        cropping=(padding, padding, end, end),
        groups=groups,
        dilation=(dilation, dilation),
    )
    same(found, module(torch.from_numpy(x)))


@pytest.mark.parametrize(("kind", "function"), list(interpreter._ARITHMETIC.items()))
@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 1, 1), (1, 4, 5), (5,), (1,)])
@pytest.mark.parametrize("reverse", [False, True])
def test_arithmetic_with_a_constant(kind, function, shape, reverse):
    x, constant = image(3, 4, 5), image(*shape, seed=1)[0]
    found = computed(g.Arithmetic, x, kind=kind, constant=constant, reverse=reverse)
    operands = torch.from_numpy(x), torch.from_numpy(constant)
    same(found, function(*(operands[::-1] if reverse else operands)))


@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 1, 1), (1, 4, 5), (5,)])
def test_arithmetic_of_two_values(shape):
    x, y = image(3, 4, 5), image(*shape, seed=1)
    found = computed(g.Arithmetic, x, y, kind=g.ArithmeticKind.SUBTRACT)
    rows = [torch.from_numpy(a) - torch.from_numpy(b) for a, b in zip(x, y, strict=True)]
    same(found, torch.stack(rows))


@pytest.mark.parametrize("mode", list(g.PadMode))
def test_pad(mode):
    x = image(2, 4, 5)
    found = computed(g.Pad, x, padding=(1, 2, 3, 0), mode=mode, value=0.5)
    more = {"value": 0.5} if mode is g.PadMode.CONSTANT else {}
    same(found, functional.pad(torch.from_numpy(x), (2, 0, 1, 3), mode=str(mode), **more))


def test_pixels_to_channels_and_back():
    x = image(8, 4, 6)
    up = computed(g.DepthToSpace, x, block=2)
    same(up, functional.pixel_shuffle(torch.from_numpy(x), 2))
    same(computed(g.SpaceToDepth, up.numpy(), block=2), torch.from_numpy(x))


def test_slices_reshapes_and_permutations():
    x = image(4, 6, 5)
    tensor = torch.from_numpy(x)
    same(computed(g.Slice, x, axis=1, start=1, stop=6, step=2), tensor[:, :, 1:6:2])
    same(computed(g.Reshape, x, shape=(2, 60)), tensor.reshape(2, 2, 60))
    same(computed(g.Permute, x, order=(1, 2, 0)), tensor.permute(0, 2, 3, 1))
    same(computed(g.Concat, x, x, axis=2), torch.cat([tensor, tensor], 3))


@pytest.mark.parametrize("activation", list(g.Activation))
def test_activations(activation):
    x = 4 * image(3, 4, 5)
    functions = {
        "none": nn.Identity(),
        "hard-sigmoid": nn.Hardsigmoid(),
        "hard-swish": nn.Hardswish(),
        "gelu-tanh": nn.GELU("tanh"),
        "gelu": nn.GELU(),
        "silu": nn.SiLU(),
        "mish": nn.Mish(),
        "relu": nn.ReLU(),
        "relu6": nn.ReLU6(),
    }
    function = functions.get(str(activation)) or getattr(torch, str(activation))
    same(computed(g.Elementwise, x, activation=activation), function(torch.from_numpy(x)))


def test_activations_with_parameters():
    x = 3 * image(3, 4, 5)
    tensor = torch.from_numpy(x)
    slope = np.float32([0.1, -0.2, 0.3])
    same(computed(g.LeakyRelu, x, slope=slope), functional.prelu(tensor, torch.from_numpy(slope)))
    same(computed(g.LeakyRelu, x, slope=slope[:1]), functional.leaky_relu(tensor, 0.1))
    same(computed(g.Elu, x, alpha=0.7), functional.elu(tensor, 0.7))
    same(computed(g.Clip, x, low=-1.0, high=np.inf), tensor.clamp(min=-1))


@pytest.mark.parametrize("keep", [False, True])
def test_reductions(keep):
    x = image(3, 4, 5)
    tensor = torch.from_numpy(x)
    for kind, function in (("mean", torch.mean), ("sum", torch.sum), ("max", torch.amax)):
        found = computed(g.Reduce, x, kind=g.ReduceKind(kind), axes=(0, 2), keep=keep)
        same(found, function(tensor, (1, 3), keep))
    same(computed(g.Softmax, x, axis=0), tensor.softmax(1))
    same(computed(g.Softmax, x, axis=2, logarithm=True), tensor.log_softmax(3))
