"""Ranges, scales and bias correction: the arithmetic of int8, without any file."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from shufflenet_deploy import zoo
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.network.graph import (
    Activation,
    Arithmetic,
    ArithmeticKind,
    Clip,
    Conv,
    ConvTranspose,
    Elementwise,
    Graph,
    Reduce,
    ReduceKind,
    Reshape,
    Shuffle,
    Softmax,
)
from shufflenet_deploy.network.quantization.calibration import METHODS, calibrate
from shufflenet_deploy.network.quantization.cross_layer_equalization import equalized
from shufflenet_deploy.network.quantization.ranges import (
    Ranges,
    activation_scale,
    corrected,
    output_channels_first,
    weight_scales,
    with_parts,
)
from shufflenet_deploy.records import Resolution

torch.set_num_threads(1)
bounds = st.floats(-1e4, 1e4, allow_nan=False, width=32)


def network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 4, 1, groups=2))
    return trace(net.eval(), Resolution(height=16, width=12), "net")


def images(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, 3, 16, 12), np.float32)


def test_ranges_and_equalised_weights_do_not_depend_on_the_number_of_threads():
    net = zoo.load("shufflenet-g3-0.25x").module
    graph = trace(net, Resolution(height=32, width=32), "net")
    pictures = np.random.default_rng(0).standard_normal((2, 1, 3, 32, 32), np.float32)
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append((calibrate(graph, [*pictures], "entropy"), equalized(graph, [*pictures])))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(1)
    (ranges, graph), (others, other) = found
    assert ranges.spans == others.spans
    assert all(np.array_equal(mean, others.means[name]) for name, mean in ranges.means.items())
    for first, second in zip(graph.layers, other.layers, strict=True):
        if isinstance(first, Conv):
            assert np.array_equal(first.weight, second.weight), first.name


@given(low=bounds, high=bounds)
def test_zero_is_exact_and_the_range_fits(low, high):
    low, high = min(low, high), max(low, high)
    scale, zero_point = activation_scale((low, high))
    assert scale > 0
    assert -128 <= zero_point <= 127
    ends = [(code - zero_point) * scale for code in (-128, 127)]
    assert ends[0] <= min(low, 0) + 0.51 * scale
    assert ends[1] >= max(high, 0) - 0.51 * scale


def test_minmax_is_the_extremes_of_all_images():
    graph, batch = network(), images(5)
    ranges = calibrate(graph, [batch[:2], batch[2:4], batch[4]])
    assert (ranges.method, ranges.pictures) == ("minmax", 5)
    everything = dict(interpreter.execute(graph, batch))
    assert list(ranges.spans) == list(everything)
    for name, value in everything.items():
        extremes = (float(value.min()), float(value.max()))
        assert ranges.spans[name] == pytest.approx(extremes, rel=1e-5)
        np.testing.assert_allclose(ranges.means[name], value.mean((0, 2, 3)), atol=1e-6)


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_one_outlier_does_not_set_the_range(method):
    graph, batch = network(), images(32)
    calm = calibrate(graph, [batch], "minmax").spans["input"]
    batch[3, 1, 5, 5] = 100.0
    low, high = calibrate(graph, [batch], method).spans["input"]
    assert high < 60
    assert low >= calm[0]
    # What ReLU cuts to zero stays there.
    assert calibrate(graph, [batch], method).spans[graph.layers[0].output][0] == 0


def test_mse_finds_a_better_range_than_the_extremes():
    graph = network()
    batch = np.random.default_rng(0).standard_t(2.5, size=(64, 3, 16, 12)).astype(np.float32)

    def error(span):
        scale, zero = activation_scale(span)
        codes = np.clip(np.round(batch / scale) + zero, -128, 127)
        return (((codes - zero) * scale - batch) ** 2).mean()

    spans = {m: calibrate(graph, [batch], m).spans["input"] for m in METHODS}
    assert error(spans["mse"]) < error(spans["minmax"])
    assert error(spans["mse"]) <= min(error(span) for span in spans.values()) * 1.001


def test_bad_calibration_is_refused():
    graph = network()
    with pytest.raises(UsageError, match="at least one image"):
        calibrate(graph, [])
    with pytest.raises(UsageError, match="choose one of minmax"):
        calibrate(graph, [images(1)], "magic")
    with pytest.raises(UsageError, match="takes images of shape"):
        calibrate(graph, [np.zeros((1, 3, 8, 8), np.float32)])
    broken = images(1)
    broken[0, 0, 0, 0] = np.nan
    with pytest.raises(UsageError, match="not finite"):
        calibrate(graph, [broken])


def test_weight_scales_hold_weights_and_biases():
    weight = np.array([[1.0, -2.0], [0, 0], [1e-12, 0], [3, 1]], np.float32)[:, :, None, None]
    bias = np.array([0, 0, 5.0, 1e6], np.float32)
    scales = weight_scales(weight, bias, 1e-3)
    assert scales[0] == np.float32(2 / 127)
    assert (scales > 0).all()
    assert (np.abs(weight).max((1, 2, 3)) / scales <= 127.001).all()
    assert (np.abs(bias) / (scales.astype(np.float64) * 1e-3) < 2**31).all()


def test_bias_correction_removes_the_mean_error():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 1, groups=2)).eval()
    with torch.no_grad():
        net[2].weight[:, 0] *= 40  # One large weight makes the others round badly.
    graph = trace(net, Resolution(height=8, width=8), "net")
    batch = np.random.default_rng(2).random((4, 3, 8, 8), np.float32) + 1
    ranges = calibrate(graph, [batch])
    better = corrected(graph, ranges)
    layer, fixed = graph.layers[1], better.layers[1]
    source = dict(interpreter.execute(graph, batch))[layer.inputs[0]]
    wanted = interpreter.compute(layer, [source])
    steps = weight_scales(
        layer.weight, layer.bias, activation_scale(ranges.spans[layer.inputs[0]])[0]
    )[:, None, None, None]
    rounded = np.round(layer.weight / steps) * steps
    errors = []
    for bias in (layer.bias, fixed.bias):
        weight = torch.from_numpy(rounded.astype(np.float32))
        actual = nn.functional.conv2d(source, weight, torch.from_numpy(bias), groups=2)
        errors.append(abs((actual - wanted).mean((0, 2, 3))).max())
    assert errors[1] < errors[0] / 100
    assert isinstance(ranges, Ranges)


def residual(activation, between):
    """A graph of two convolutions with a layer between them, and its images."""
    random = np.random.default_rng(3)
    weights = [random.standard_normal((6, i, 1, 1)).astype(np.float32) for i in (3, 6)]
    weights[0][2] *= 100  # an outlier that equalization would divide
    bias = np.zeros(6, np.float32)
    first = Conv(name="a", inputs=("x",), output="u", weight=weights[0], bias=bias,
                 activation=activation)  # fmt: skip
    last = Conv(name="b", inputs=("v",), output="y", weight=weights[1], bias=bias)
    shapes = {"x": (3, 5, 4), "u": (6, 5, 4), "v": (6, 5, 4), "y": (6, 5, 4)}
    layers = (first, between, last)
    return Graph(name="net", input="x", outputs=("y",), layers=layers, shapes=shapes)


@pytest.mark.parametrize(
    ("activation", "between", "crossed"),
    [
        (Activation.RELU, Shuffle(name="m", inputs=("u",), output="v", groups=2), True),
        (Activation.HARD_SWISH, Shuffle(name="m", inputs=("u",), output="v", groups=2), False),
        (Activation.RELU6, Shuffle(name="m", inputs=("u",), output="v", groups=2), False),
        (Activation.NONE, Clip(name="m", inputs=("u",), output="v", low=-1.0, high=1.0), False),
        (Activation.NONE, Elementwise(name="m", inputs=("u",), output="v",
                                      activation=Activation.SILU), False),
        (Activation.NONE, Arithmetic(name="m", inputs=("u", "u"), output="v",
                                     kind=ArithmeticKind.MULTIPLY), False),
        (Activation.NONE, Softmax(name="m", inputs=("u",), output="v"), False),
    ],
)  # fmt: skip
def test_equalization_crosses_only_what_scales_with_its_input(activation, between, crossed):
    graph = residual(activation, between)
    pictures = np.random.default_rng(4).standard_normal((3, 1, 3, 5, 4), np.float32)
    even = equalized(graph, pictures)
    same = np.array_equal(even.layers[0].weight, graph.layers[0].weight)
    assert same != crossed
    found, wanted = (interpreter.outputs(one, pictures[0]) for one in (even, graph))
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)


def test_biases_of_transposed_convolutions_are_corrected():
    random = np.random.default_rng(5)
    layer = ConvTranspose(
        name="up",
        inputs=("x",),
        output="y",
        weight=random.uniform(0.1, 1, (4, 3, 2, 2)).astype(np.float32),
        bias=np.zeros(6, np.float32),
        stride=(2, 2),
        groups=2,
    )
    shapes = {"x": (4, 3, 3), "y": (6, 6, 6)}
    graph = Graph(name="up", input="x", outputs=("y",), layers=(layer,), shapes=shapes)
    pictures = random.uniform(0, 1, (8, 4, 3, 3)).astype(np.float32)
    ranges = calibrate(graph, [pictures])
    fixed = corrected(graph, ranges).layers[0]
    weight = output_channels_first(layer)
    steps = weight_scales(weight, layer.bias, activation_scale(ranges.spans["x"])[0])
    steps = steps.reshape(2, 1, 3, 1, 1)
    grouped = layer.weight.reshape(2, 2, 3, 2, 2)
    rounded = (np.round(grouped / steps) * steps).reshape(layer.weight.shape)
    wanted = interpreter.outputs(graph, pictures).mean((0, 2, 3))
    errors = []
    for bias in (layer.bias, fixed.bias):
        stored = replace(layer, weight=rounded.astype(np.float32), bias=bias)
        found = interpreter.outputs(replace(graph, layers=(stored,)), pictures)
        errors.append(np.abs(found.mean((0, 2, 3)) - wanted).max())
    assert errors[1] < errors[0] / 10


def test_parts_of_a_value_have_its_range():
    shapes = {"x": (3, 2, 2), "x:phase0.1": (3, 1, 1), "other:part": (3, 1, 1)}
    graph = Graph(name="net", input="x", outputs=("x",), layers=(), shapes=shapes)
    known = Ranges(method="minmax", pictures=1, spans={"x": (-1.0, 2.0)}, means={})
    assert with_parts(known, graph).spans == {"x": (-1.0, 2.0), "x:phase0.1": (-1.0, 2.0)}


def test_values_of_any_rank_are_calibrated():
    layers = (
        Reduce(name="all", inputs=("x",), output="sum", kind=ReduceKind.SUM, axes=(0, 1, 2),
               keep=False),
        Reshape(name="rows", inputs=("x",), output="matrix", shape=(3, 4)),
    )  # fmt: skip
    shapes = {"x": (3, 2, 2), "sum": (), "matrix": (3, 4)}
    graph = Graph(name="net", input="x", outputs=("sum", "matrix"), layers=layers, shapes=shapes)
    picture = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)
    ranges = calibrate(graph, [picture])
    assert ranges.spans["sum"] == (66.0, 66.0)
    np.testing.assert_allclose(ranges.means["matrix"], [1.5, 5.5, 9.5])
