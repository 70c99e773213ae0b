"""Every operator of the graph as C, against the reference: compiled under the sanitizers, and run.

A network here has many outputs, one for each case, so that a few programs cover all of them.
"""

from __future__ import annotations

import itertools
import os
import shutil

import numpy as np
import pytest
import random_networks
from operator_drawing import draw_operators

from shufflenet_deploy import codegen
from shufflenet_deploy.network import interpreter

PORTABLE = codegen.cpu_target_named("x86-64")
SEEDS = int(os.environ.get("SHUFFLENET_DEPLOY_SEEDS", "6"))
SIZES = [(7, 10), (1, 1)]
CURVES = ("sigmoid", "hard-sigmoid", "tanh", "hard-swish", "silu", "gelu", "gelu-tanh", "mish")


@pytest.fixture(autouse=True)
def _gcc():
    if shutil.which("gcc") is None:
        pytest.fail("these tests compile generated C: apt-get install gcc libc6-dev")


def functions(drawing, size):
    """Activations at the end of every kind of layer, and as layers of their own."""
    d = drawing(8, *size, seed=1)
    x, made = "input", []
    made += [d.elementwise(d.conv(x, 5, act=act), act) for act in CURVES]
    for act in ("hard-swish", "gelu"):
        y = d.conv(x, 8, (3, 3), (1, 1), (1, 1, 1, 1), 8, act=act)
        y = d.conv(d.concat(d.conv(y, 3), y), 9, (3, 3), (1, 1), (1, 1, 1, 1), act=act)
        made.append(d.elementwise(d.add(y, d.conv(x, 9), act), act))
        made.append(d.dense(d.flatten(d.adaptive(y, (1, 1))), 7, act))
        made.append(d.elementwise(d.pool(y, "max", (3, 3), (2, 2), (1, 1, 1, 1)), act))
        made.append(d.concat(y, x, act=act))
    y = d.conv(x, 6)
    made += [d.leaky(y), d.leaky(y, 6), d.elu(y), d.clip(y, -0.3, 0.4), d.clip(y, 0.0, np.inf)]
    made += [d.clip(y, -np.inf, 0.1), d.leaky(d.adaptive(y, (1, 1)), 6), d.leaky(d.flatten(y))]
    made += [d.leaky(d.reshaped(y, 3, int(np.prod(size)) * 2), 3), d.clip(d.conv(x, 4), 0.0, 6.0)]
    return d.several(made, "functions")


def windows(drawing, size):
    """Dilated, grouped, asymmetric and transposed convolutions."""
    d = drawing(6, *size, seed=2)
    made = []
    for dilation, groups, out, stride in (
        ((2, 2), 1, 2, (1, 1)),
        ((1, 3), 6, 6, (2, 2)),
        ((3, 2), 3, 3, (1, 3)),
        ((2, 1), 6, 12, (1, 1)),
    ):
        pad = (dilation[0], dilation[1], dilation[0], 2 * dilation[1])
        shape = ((3, 3), stride, pad, groups)
        made.append(d.conv("input", out, *shape, act="relu", dilation=dilation))
    made.append(d.conv("input", 12, (3, 3), (1, 1), (0, 1, 2, 1), groups=6, act="relu6"))
    x = d.conv("input", 4)
    for kernel, stride, crop, groups, dilation in (
        ((4, 4), (2, 2), (1, 1, 1, 1), 1, (1, 1)),
        ((3, 3), (2, 2), (1, 1, 0, 0), 4, (1, 1)),
        ((1, 1), (3, 3), (0, 0, -1, -2), 2, (1, 1)),
        ((3, 3), (1, 1), (1, 1, 1, 1), 2, (1, 1)),
        ((2, 3), (2, 1), (0, 1, 0, 1), 4, (1, 1)),
        ((3, 2), (2, 3), (2, 0, 1, 0), 4, (2, 1)),
    ):
        made.append(d.transposed(x, 4, kernel, stride, crop, groups, dilation))
    return d.several(made, "windows")


def arithmetic(drawing, size):
    """Operations of two values and of constants, broadcast along any axes."""
    d = drawing(6, *size, seed=3)
    x, y = d.conv("input", 6), d.conv("input", 6, act="relu")
    gate, row = d.adaptive(x, (1, 1)), d.reduced(x, "max", (0, 1))
    made = []
    for at, kind in enumerate(("add", "subtract", "multiply", "divide", "maximum", "minimum")):
        constant = d.random.uniform(0.5, 2, (6, 1, 1)).astype(np.float32)
        made.append(d.combined(kind, x, constant, ("none", "relu", "silu")[at % 3]))
        made.append(d.combined(kind, x, constant[:1], reverse=kind != "divide"))
        made.append(d.combined(kind, y, d.random.uniform(1, 2, size).astype(np.float32)))
        if kind != "divide":
            made += [d.combined(kind, x, y, "relu6"), d.combined(kind, gate, x)]
            made += [d.combined(kind, x, row), d.combined(kind, row, gate, "hard-swish")]
    made.append(d.combined("multiply", d.flatten(gate), d.random.normal(size=6).astype(np.float32)))
    made.append(d.combined("add", d.flatten(gate), x) if size[1] == 6 else gate)
    made.append(d.multiply(x, d.conv(gate, 6, act="hard-sigmoid")))
    return d.several(made, "arithmetic")


def moves(drawing, size):
    """What puts elements elsewhere."""
    d = drawing(8, *size, seed=4)
    height, width = size
    x = d.conv("input", 12, act="relu")
    made = [d.cut(x, 0, 3, 9), d.cut(x, 0, 1, 12, 3), d.cut("input", 0, 2, 5)]
    made += [d.cut(x, 1, height // 2, height), d.cut(x, 2, width // 2, width, 2)]
    one, two = d.cut(x, 0, 0, 6), d.cut(x, 0, 6, 12)  # a unit of ShuffleNet v2
    y = d.conv(two, 6, act="relu")
    y = d.conv(d.conv(y, 6, (3, 3), (1, 1), (1, 1, 1, 1), 6), 6, act="relu")
    made.append(d.shuffle(d.concat(one, y), 2))
    made.append(
        d.conv(d.add(d.cut(made[-1], 0, 6, 12), d.conv(one, 6)), 5, (3, 3), (1, 1), (1,) * 4)
    )
    made += [d.normalise(two, 3), d.adaptive(two, (1, 1)), d.flatten(two)]
    made += [
        d.pool(two, "max", (1, 1), (2, 2)),
        d.joined(2, x, x),
        d.joined(1, x, d.cut(x, 1, 0, 1)),
    ]
    made += [d.spread(x, 2), d.gathered(d.resized(x, (4, 6), "nearest"), 2)]
    made += [d.permuted(x, 1, 2, 0), d.permuted(d.permuted(x, 2, 0, 1), 1, 2, 0)]
    flat = d.reshaped(x, 12 * height * width)
    made += [flat, d.dense(flat, 3), d.reshaped(flat, 3, 4, height * width)]
    split = d.reshaped(x, 3, 4, height, width)
    made += [d.reshaped(d.permuted(split, 1, 0, 2, 3), 12, height, width)]
    made += [d.reshaped(x, width, 12, height), d.joined(1, split, split, act="tanh")]
    made += [d.reshaped(d.permuted(x, 1, 2, 0), height * width * 2, 6)]
    made += [d.joined(0, made[-1], made[-1]), d.cut(made[-1], 1, 1, 5, 2)]
    mean = d.adaptive(x, (1, 1))
    made += [d.reshaped(mean, 4, 3), d.reshaped(d.cut(d.flatten(mean), 0, 3, 9), 2, 3)]
    made += [d.conv(d.reshaped(d.reshaped(mean, 12), 12, 1, 1), 5)]
    made += ["input", mean]
    return d.several(made, "moves")


def borders(drawing, size):
    """Padding and resizing of every kind, and what reads the results."""
    d = drawing(3, *size, seed=5)
    x = d.conv("input", 4)
    made = [d.padded(x, (1, 2, 3, 0), value=0.5), d.padded("input", (0, 3, 1, 2))]
    made.append(d.padded(x, (2, 1, 0, 9), "replicate"))
    if min(size) > 2:
        made.append(d.padded(x, (1, 2, 2, 1), "reflect"))
    made.append(d.conv(d.padded(x, (1, 1, 1, 1), "replicate"), 5, (3, 3), act="relu"))
    for to in ((2 * size[0], 2 * size[1]), (5, 3), (1, 1), (9, 21)):
        for mode, sampling in itertools.product(
            ("nearest", "bilinear"), ("half-pixel", "asymmetric", "align-corners")
        ):
            made.append(d.resized(x, to, mode, sampling))
    made.append(d.concat(d.resized(x, size), d.padded(x, (0, 0, 0, 0)), x, act="relu"))
    return d.several(made, "borders")


def reductions(drawing, size):
    """Softmax along, and reductions over, every set of axes."""
    d = drawing(5, *size, seed=6)
    x = d.conv("input", 6)
    flat = d.reshaped(x, 2, 3, *size)
    made = [d.softmax(x, axis, logarithm=axis == 1) for axis in range(3)]
    made += [d.softmax(flat, 1), d.softmax(d.flatten(x)), d.softmax(d.flatten(x), logarithm=True)]
    for kind in ("mean", "sum", "max"):
        for axes in ((0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2)):
            made += [d.reduced(x, kind, axes), d.reduced(x, kind, axes, keep=False)]
        made += [d.reduced(flat, kind, (0, 3)), d.reduced(flat, kind, (1,), keep=False)]
    return d.several(made, "reductions")


def norms(drawing, size):
    """Norms over every set of axes, in groups, and powers."""
    d = drawing(5, *size, seed=8)
    x = d.conv("input", 12)
    flat = d.reshaped(x, 3, 4, *size)
    made = [d.normalized(x, axes) for axes in ((0,), (0, 1, 2), (2,), (0, 2), (1,))]
    made += [d.normalized(x, (0, 1, 2), groups, 0.1) for groups in (2, 6)]
    made += [d.normalized(x, (0, 1, 2), 3, per="all"), d.normalized(x, (0,), per="element")]
    made += [d.normalized(x, (1, 2), epsilon=0.1), d.normalized(x, (0, 1, 2), per="element")]
    made += [d.normalized(flat, (1, 3), epsilon=0.1), d.normalized(flat, (0,), per="element")]
    made += [d.normalized(d.flatten(x), (0,)), d.normalized(d.adaptive(x, (1, 1)), (0,))]
    made.append(d.conv(d.normalized(d.conv(x, 8), (0,)), 5, (3, 3), (1, 1), (1, 1, 1, 1)))
    made.append(d.concat(d.normalized(x, (0,)), d.elementwise(d.normalized(x, (0,)), "gelu")))
    square = d.combined("add", d.combined("multiply", x, x), np.float32([0.3]))
    made += [d.power(square, exponent) for exponent in (0.5, -0.5, 1.7, -2.0, 3.0)]
    made += [d.power(d.flatten(square), 0.5), d.power(d.reshaped(square, 3, 4, *size), -0.5)]
    return d.several(made, "norms")


def mobile(drawing, size):
    """Inverted residuals with hard-swish in every kernel that has it: tiles, rows, tails."""
    d = drawing(3, *size, seed=7)
    act, around = "hard-swish", (1, 1, 1, 1)
    x = d.conv("input", 8, (3, 3), (2, 2), around, act=act)
    made = []
    for stride in (1, 2):
        y = d.conv(d.conv(x, 41, act=act), 41, (3, 3), (stride, stride), around, 41, act)
        gate = d.conv(d.conv(d.adaptive(y, (1, 1)), 10, act="relu"), 41, act="hard-sigmoid")
        y = d.conv(d.multiply(y, gate), 8)
        x = d.add(x, y) if stride == 1 else y
        made += [
            x,
            d.add(d.conv(x, 13), d.conv(x, 13), act),
            d.conv(d.conv(x, 8, (5, 5), (1, 1), (2,) * 4, 8, act), 5),
        ]
        made.append(d.pool(x, "average", (3, 3), (stride, stride), around, act))
    made.append(d.dense(d.flatten(d.adaptive(x, (1, 1))), 70, act))
    return d.several(made, "mobile")


KINDS = (functions, windows, arithmetic, moves, borders, reductions, norms)


def assert_outputs(graph, found, limit=1e-4):
    """Every output on its own: a small one must not hide behind a large one."""
    values = interpreter.activations(graph, random_networks.picture_of(graph))
    at = 0
    for name in graph.outputs:
        expected = values[name].ravel()
        one = found[at : at + expected.size]
        at += expected.size
        scale = max(1.0, float(np.abs(expected).max()))
        assert float(np.abs(one - expected).max()) <= limit * scale, (graph.name, name)
    assert at == found.size


@pytest.mark.parametrize("kind", KINDS)
def test_operators_under_the_sanitizers(kind, drawing, tmp_path):
    graphs = [kind(drawing, size) for size in SIZES]
    commands = random_networks.gcc(
        PORTABLE, *random_networks.WARNINGS, *random_networks.SANITIZERS, "-O0"
    )
    sources = [codegen.generate(graph, PORTABLE) for graph in graphs]
    pictures = [random_networks.picture_of(graph) for graph in graphs]
    answers = random_networks.answers(sources, pictures, tmp_path, commands)
    for graph, found in zip(graphs, answers, strict=True):
        assert_outputs(graph, found)


def test_random_networks_of_operators_under_the_sanitizers(drawing, tmp_path):
    graphs = [draw_operators(drawing, seed) for seed in range(SEEDS)]
    commands = random_networks.gcc(
        PORTABLE, *random_networks.WARNINGS, *random_networks.SANITIZERS, "-O0"
    )
    sources = [codegen.generate(graph, PORTABLE) for graph in graphs]
    pictures = [random_networks.picture_of(graph) for graph in graphs]
    answers = random_networks.answers(sources, pictures, tmp_path, commands)
    for graph, found in zip(graphs, answers, strict=True):
        assert_outputs(graph, found)


def test_operators_on_an_emulated_core(drawing, tmp_path):
    graphs = [moves(drawing, (3, 6)), borders(drawing, (3, 6)), mobile(drawing, (29, 50))]
    graphs.append(norms(drawing, (3, 6)))
    core = codegen.cpu_target_named("cortex-a72")
    sources = [codegen.generate(graph, core) for graph in graphs]
    pictures = [random_networks.picture_of(graph) for graph in graphs]
    answers = random_networks.watched("cortex-a72", sources, pictures, tmp_path)
    for graph, found in zip(graphs, answers, strict=True):
        assert_outputs(graph, found)


def test_operators_in_halves(drawing, tmp_path):
    graphs = [functions(drawing, (3, 6)), mobile(drawing, (29, 50))]
    core = codegen.cpu_target_named("cortex-a76").with_fp16()
    sources = [codegen.generate(graph, core) for graph in graphs]
    pictures = [random_networks.picture_of(graph) for graph in graphs]
    answers = random_networks.watched("cortex-a76", sources, pictures, tmp_path)
    for graph, found in zip(graphs, answers, strict=True):
        assert_outputs(graph, found, 0.02)


def test_hard_swish_on_this_machine_s_vectors(drawing, tmp_path):
    graph = mobile(drawing, (13, 15))
    sources, pictures = (
        [codegen.generate(graph, codegen.host())],
        [random_networks.picture_of(graph)],
    )
    commands = random_networks.gcc(codegen.host(), *random_networks.WARNINGS)
    (found,) = random_networks.answers(sources, pictures, tmp_path, commands)
    assert_outputs(graph, found)
