"""Lowering to int8: the int8 interpreter against the fp32 one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import random_networks

from shufflenet_deploy.codegen import int8_interpreter, pipeline
from shufflenet_deploy.codegen.ir import ops as ir
from shufflenet_deploy.codegen.ir.int8 import Requantization
from shufflenet_deploy.errors import UnsupportedError
from shufflenet_deploy.network import graph as g
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.quantization import calibration
from shufflenet_deploy.network.quantization.ranges import Ranges

BOTH = list(Requantization)
NORM = {"size": 3, "alpha": 1.0, "beta": 0.5, "k": 1.0}


def lowered(graph, arithmetic):
    ranges = calibration.calibrate(
        graph, [random_networks.picture_of(graph, seed)[None] for seed in range(4)]
    )
    return pipeline.int8_program(graph, ranges, arithmetic)


def sqnr_db(graph, program):
    """Of a picture that ranges are from, so that nothing is beyond them."""
    picture = random_networks.picture_of(graph)
    wanted = random_networks.wanted(graph, picture)
    noise = int8_interpreter.run(program, picture) - wanted
    if not noise.any():  # as where everything is zero
        return np.inf
    return 10 * np.log10((wanted**2).sum() / (noise**2).sum())


def kinds(program):
    return [type(step).__name__ for step in program.ops]


@pytest.mark.parametrize("arithmetic", BOTH)
def test_random_networks_are_close_to_their_floats(arithmetic, drawn):
    graphs = [drawn(seed, (1, 2, 3, 4)) for seed in (*range(60), 226, 286)]
    noisy = {graph.name: sqnr_db(graph, lowered(graph, arithmetic)) for graph in graphs}
    worst = min(noisy, key=lambda name: noisy[name])
    assert noisy[worst] > 15, worst
    assert np.median(list(noisy.values())) > 40


@pytest.mark.parametrize("arithmetic", BOTH)
@pytest.mark.parametrize("size", [(6, 6), (2, 3), (5, 4)])
def test_unequal_windows(arithmetic, size, drawing):
    d = drawing(3, 13, 9)
    graph = d.done(d.adaptive(d.conv("input", 20, act="relu"), size), "areas")
    program = lowered(graph, arithmetic)
    assert "AdaptivePool" in kinds(program)
    assert sqnr_db(graph, program) > 38


@pytest.mark.parametrize("arithmetic", BOTH)
def test_averages_that_leave_out_the_padding(arithmetic, drawing):
    d = drawing(3, 13, 9)
    x = d.conv("input", 20, act="relu")
    graph = d.done(d.pool(x, "average", (3, 3), (2, 2), (1, 1, 1, 1), count=False), "inside")
    program = lowered(graph, arithmetic)
    assert "AdaptivePool" in kinds(program)
    assert sqnr_db(graph, program) > 38


@pytest.mark.parametrize("arithmetic", BOTH)
@pytest.mark.parametrize(("size", "alpha"), [(5, 1e-4), (5, 0.7), (2, 3.0), (1, 0.5)])
def test_normalisation_across_channels(arithmetic, size, alpha, drawing):
    d = drawing(3, 7, 5)
    x = d.conv("input", 33, act="relu")
    graph = d.done(d.normalise(x, size=size, alpha=alpha), "norm")
    program = lowered(graph, arithmetic)
    assert "LocalResponseNorm" in kinds(program)
    assert sqnr_db(graph, program) > 35


@pytest.mark.parametrize("arithmetic", BOTH)
@pytest.mark.parametrize("act", ["sigmoid", "hard-sigmoid"])
def test_a_gate_needs_no_step_for_its_activation(arithmetic, act, drawing):
    d = drawing(3, 7, 5)
    x = d.conv("input", 33)
    gate = d.elementwise(d.conv(d.adaptive(x, (1, 1)), 33), act)
    graph = d.done(d.multiply(x, gate), "gate")
    program = lowered(graph, arithmetic)
    assert "ChannelScale" in kinds(program)
    assert "LookupTable" not in kinds(program)
    assert sqnr_db(graph, program) > 35


@pytest.mark.parametrize("arithmetic", BOTH)
def test_sums_with_and_without_a_step_of_their_own(arithmetic, drawing):
    d = drawing(3, 7, 5)
    x = d.conv("input", 33, act="relu")
    projected = d.add(d.conv(x, 33), d.conv(x, 33), "relu")  # the second adds the first
    graph = d.done(d.add(projected, projected), "sums")
    program = lowered(graph, arithmetic)
    assert kinds(program).count("Add") == 1
    assert sqnr_db(graph, program) > 35


@pytest.mark.parametrize("arithmetic", BOTH)
def test_a_sum_that_is_much_finer_than_what_is_added(arithmetic, drawing):
    d = drawing(1, 6, 6)
    x = d.conv("input", 8)
    conv = d.layers[-1]
    d.layers[-1] = replace(conv, weight=conv.weight * 1000)
    y = d.conv("input", 8)
    d.layers[-1] = replace(conv, name="l1", output=y, weight=conv.weight * -1000)
    graph = d.done(d.add(x, y), "cancelled")
    program = lowered(graph, arithmetic)
    one = next(step for step in program.ops if isinstance(step, ir.Convolution))
    picture = random_networks.picture_of(graph)
    error = int8_interpreter.run(program, picture) - random_networks.wanted(graph, picture)
    assert np.abs(error).max() < 2 * one.target.scale


@pytest.mark.parametrize("arithmetic", BOTH)
@pytest.mark.parametrize("act", ["none", "relu", "relu6", "sigmoid"])
def test_activations_of_maxima(arithmetic, act, drawing):
    d = drawing(3, 9, 9)
    x = d.conv("input", 16)
    conv = d.layers[-1]
    d.layers[-1] = replace(conv, weight=conv.weight * 5)
    graph = d.done(d.pool(x, "max", (3, 3), (2, 2), (1, 1, 1, 1), act=act), "maxima")
    assert sqnr_db(graph, lowered(graph, arithmetic)) > 35


@pytest.mark.parametrize("arithmetic", BOTH)
def test_a_value_that_is_padded_for_sums_and_for_maxima(arithmetic, drawing):
    d = drawing(3, 9, 9)
    x = d.conv("input", 16)
    around = ((3, 3), (2, 2), (1, 1, 1, 1))
    graph = d.done(d.concat(d.pool(x, "max", *around), d.conv(x, 16, *around)), "both")
    assert sqnr_db(graph, lowered(graph, arithmetic)) > 35


@pytest.mark.parametrize("arithmetic", BOTH)
def test_a_value_twice_in_one_concatenation(arithmetic, drawing):
    d = drawing(3, 5, 5)
    x = d.conv("input", 18)
    graph = d.done(d.concat(x, x, act="sigmoid"), "twice")
    assert sqnr_db(graph, lowered(graph, arithmetic)) > 35


@pytest.mark.parametrize("arithmetic", BOTH)
@pytest.mark.parametrize("late", ["value", "alias", "gate"])
def test_a_sum_overwrites_nothing_that_is_read_later(arithmetic, late, drawing):
    d = drawing(3, 1, 1)
    x = d.conv("input", 18)
    same = d.adaptive(x, (1, 1))  # the same memory
    gate = d.elementwise(x, "sigmoid") if late == "gate" else ""
    total = d.add(same if late == "value" else x, d.conv(d.conv("input", 18), 18))
    last = {"value": lambda: d.conv(x, 18), "alias": lambda: d.conv(same, 18)}
    y = last.get(late, lambda: d.multiply(d.conv("input", 18), gate))()
    graph = d.done(d.concat(total, y), "late")
    assert sqnr_db(graph, lowered(graph, arithmetic)) > 35


def test_borders_are_those_of_the_layer_that_reads_them(drawing):
    d = drawing(3, 20, 20)
    x = d.conv("input", 24, (3, 3), (2, 2), (1, 1, 1, 1), act="relu")
    x = d.unit(d.unit(x, 120, 3, stride=2, first_groups=1), 120, 3)
    graph = d.done(x, "borders")
    padded = {layer.name for layer in graph.layers if any(getattr(layer, "padding", ()))}
    program = lowered(graph, Requantization.FIXED)
    borders = [step.name for step in program.ops if isinstance(step, ir.FillPadding)]
    assert len(borders) == 4  # of the picture, of the stem's map, of two depthwise convolutions
    assert set(borders) <= padded


@pytest.mark.parametrize(
    ("kind", "inputs", "fields", "why"),
    [
        (g.Multiply, ("input", "input"), {}, "a product of maps"),
        (g.Shuffle, ("deep",), {"groups": 1}, "a shuffle of a value of more than three axes"),
        (g.Pad, ("deep",), {"padding": (0, 0, 0, 0)}, "Pad of a value of 4 axes"),
        (g.LeakyRelu, ("deep",), {"slope": np.ones(3)}, "slopes per channel of a value of 4 axes"),
        (g.LocalResponseNorm, ("deep",), NORM, "LocalResponseNorm of a value of 4 axes"),
    ],
)
def test_what_there_is_no_code_for_is_named(kind, inputs, fields, why):
    map_shape, deep = (3, 4, 4), (1, 3, 4, 4)
    shapes = {"input": map_shape, "deep": deep, "last": map_shape if "input" in inputs else deep}
    layers = (
        g.Reshape(name="l0", inputs=("input",), output="deep", shape=deep),
        kind(name="l1", inputs=inputs, output="last", **fields),
    )
    graph = g.Graph(name="odd", input="input", outputs=("last",), layers=layers, shapes=shapes)
    spans = dict.fromkeys(shapes, (-1.0, 1.0))
    ranges = Ranges(method="minmax", pictures=1, spans=spans, means={})
    with pytest.raises(UnsupportedError, match=rf"^l1: .* {why}: export onnx or tflite$"):
        pipeline.int8_program(graph, ranges, Requantization.FIXED)


def test_outputs_may_repeat_and_be_parts_or_the_input(drawing):
    d = drawing(3, 4, 5)
    x = d.conv("input", 20, act="relu")
    part = d._add(g.Slice, (x,), (7, 4, 5), axis=0, start=6, stop=13)
    outputs = (part, x, "input", x)
    graph = replace(d.done(x, "many"), outputs=outputs)
    picture = random_networks.picture_of(graph)
    wanted = interpreter.activations(graph, picture)
    program = lowered(graph, Requantization.FIXED)
    assert [one.name for one in program.outputs] == list(outputs)
    found = int8_interpreter.run(program, picture)
    expected = np.concatenate([wanted[output].ravel() for output in outputs])
    assert np.abs(found - expected).max() < 0.05


def test_images_of_many_channels_are_refused_in_a_line(drawing):
    d = drawing(6, 4, 4)
    graph = d.done(d.conv("input", 4), "wide")
    with pytest.raises(UnsupportedError, match=r"wide: the input is .* up to 4 channels"):
        lowered(graph, Requantization.FIXED)
