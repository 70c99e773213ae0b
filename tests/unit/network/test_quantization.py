"""Ranges, scales and bias correction: the arithmetic of int8, without any file."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.network.quantization.calibration import METHODS, calibrate
from shufflenet_deploy.network.quantization.ranges import (
    Ranges,
    activation_scale,
    corrected,
    weight_scales,
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
