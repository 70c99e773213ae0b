"""Winograd's method: its matrices are exact, and it is used where it saves time."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from shufflenet_deploy import codegen
from shufflenet_deploy.codegen.ir.ops import WinogradGemm
from shufflenet_deploy.codegen.pipeline import fp_program as lower
from shufflenet_deploy.codegen.schedule import winograd
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.network.graph import Activation, Conv
from shufflenet_deploy.records import Resolution
from shufflenet_deploy.zoo import load


def times(matrix, vector):
    return [sum((a * b for a, b in zip(row, vector, strict=True)), Fraction()) for row in matrix]


@pytest.mark.parametrize(("side", "kernel"), list(itertools.product((2, 3, 4), (3, 5))))
def test_the_matrices_make_a_convolution(side, kernel):
    found = winograd.transforms(side, kernel)
    random = np.random.default_rng(side * kernel)
    pixels, taps = (
        [Fraction(int(number)) for number in random.integers(-9, 10, size)]
        for size in (side + kernel - 1, kernel)
    )
    pairs = zip(times(found.BT, pixels), times(found.G, taps), strict=True)
    outputs = times(found.AT, [one * two for one, two in pairs])
    assert outputs == [
        sum(taps[tap] * pixels[at + tap] for tap in range(kernel)) for at in range(side)
    ]


def conv(out, per_group, kernel, stride=1, padding=1, groups=1):
    return Conv(
        name="conv",
        inputs=("x",),
        output="y",
        weight=np.zeros((out, per_group, kernel, kernel), np.float32),
        bias=np.zeros(out, np.float32),
        stride=(stride, stride),
        padding=(padding,) * 4,
        groups=groups,
        activation=Activation.NONE,
    )


@pytest.mark.parametrize(
    ("layer", "shapes", "machine", "sides"),
    [
        (conv(64, 64, 3), ((64, 56, 56), (64, 56, 56)), "x86-64-v4", (4, 4)),
        (conv(192, 64, 5, padding=2), ((64, 27, 27), (192, 27, 27)), "cortex-a53", (4, 4)),
        (conv(128, 64, 3, groups=2), ((128, 14, 14), (128, 14, 14)), "cortex-a76", (4, 4)),
        (conv(256, 256, 3), ((256, 7, 7), (256, 7, 7)), "x86-64-v4", (2, 2)),
        (conv(256, 256, 3), ((256, 7, 7), (256, 7, 7)), "cortex-a72", (4, 2)),
        (conv(192, 48, 3), ((48, 6, 6), (192, 6, 6)), "cortex-a76", (3, 2)),
        (conv(512, 512, 3), ((512, 4, 4), (512, 4, 4)), "cortex-a53", (2, 2)),
        (conv(512, 512, 3), ((512, 4, 4), (512, 4, 4)), "x86-64-v4", None),
        (conv(64, 64, 3), ((64, 8, 1280), (64, 8, 1280)), "cortex-a76", (2, 4)),
        (conv(64, 64, 3), ((64, 8, 1920), (64, 8, 1920)), "cortex-a76", None),
        (conv(64, 64, 3, stride=2), ((64, 57, 57), (64, 28, 28)), "cortex-a76", None),
        (conv(64, 64, 3, padding=0), ((64, 3, 3), (64, 1, 1)), "cortex-a76", None),
        (conv(64, 3, 3), ((3, 56, 56), (64, 56, 56)), "cortex-a76", None),
        (conv(64, 64, 7), ((64, 56, 56), (64, 52, 52)), "cortex-a76", None),
    ],
)
def test_where_it_pays(layer, shapes, machine, sides):
    tiles = winograd.choose_tiles(layer, shapes[0], shapes[1], codegen.cpu_target_named(machine))
    assert ((tiles.height, tiles.width) if tiles else None) == sides


def test_the_work_of_a_network_is_counted_as_its_layers_is(monkeypatch):
    graph = trace(load("squeezenet-1.1").module, Resolution.parse("64x64"), "squeezenet-1.1")
    core = codegen.cpu_target_named("cortex-a76")
    program = lower(graph, core)
    assert any(isinstance(step, WinogradGemm) for step in program.ops)
    monkeypatch.setattr(winograd, "OUTPUT_TILES", ())
    direct = lower(graph, core)
    assert not any(isinstance(step, WinogradGemm) for step in direct.ops)
    counted = [
        (sum(step.multiply_adds for step in one.ops), sum(step.parameters for step in one.ops))
        for one in (program, direct)
    ]
    assert counted[0] == counted[1]
