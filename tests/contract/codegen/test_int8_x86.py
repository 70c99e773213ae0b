"""int8 kernels of each kind of x86 that this host has, against the reference: equal to the bit."""

from __future__ import annotations

import platform

import numpy as np
import pytest
import random_networks
import torch

from shufflenet_deploy import codegen
from shufflenet_deploy.codegen import generator, int8_interpreter, pipeline
from shufflenet_deploy.codegen.cpu_target import HOST_ARCH
from shufflenet_deploy.codegen.ir import ops as ir
from shufflenet_deploy.network.quantization import calibration

pytestmark = pytest.mark.skipif(
    HOST_ARCH != "x86_64", reason=f"runs x86 code, not {platform.machine()}"
)


def networks(drawing):
    """Small networks with every layer and every tail that the kernels have cases for."""

    def stem():
        one = drawing(3, 37, 45, seed=1)
        x = one.conv("input", 24, (3, 3), (2, 2), (1, 1, 1, 1), act="relu")
        x = one.pool(x, "max", (3, 3), (2, 2), (1, 1, 1, 1))
        x = one.unit(x, 120, 3, stride=2, first_groups=1)
        x = one.unit(x, 120, 3)
        x = one.unit(x, 240, 3, stride=2)
        return one.done(one.dense(one.flatten(one.adaptive(x, (1, 1))), 21), "stem")

    def groups():
        one = drawing(1, 12, 20, seed=2)
        x = one.conv("input", 64, (3, 3), (1, 1), (1, 1, 1, 1), act="relu6")
        x = one.unit(x, 192, 4, stride=2)
        x = one.unit(x, 192, 4)
        x = one.unit(x, 320, 2, stride=2)
        x = one.unit(x, 320, 2)
        x = one.conv(x, 33, (2, 3), (1, 2), (0, 1, 1, 1), act="relu")
        return one.done(one.dense(one.flatten(x), 40, "relu"), "groups")

    def many():
        one = drawing(4, 9, 17, seed=3)
        x = one.conv("input", 32, (1, 1), act="relu")
        x = one.unit(x, 384, 8, stride=2, first_groups=1)
        x = one.unit(x, 384, 8)
        x = one.conv(x, 48, groups=3, act="relu")
        x = one.conv(x, 48, (3, 3), (1, 1), (1, 1, 1, 1), groups=48)
        x = one.conv(x, 22, (3, 2), (2, 1), (1, 0, 1, 1), groups=2)
        return one.done(one.adaptive(x, (1, 1)), "many")

    def windows():
        one = drawing(3, 26, 23, seed=4)
        x = one.conv("input", 16, (5, 7), (2, 3), (2, 3, 2, 3), act="relu")
        y = one.pool(x, "average", (3, 3), (1, 1), (1, 1, 1, 1))
        z = one.conv(x, 16, (3, 3), (1, 1), (1, 1, 1, 1), groups=16, act="relu")
        x = one.concat(y, z, one.conv(x, 100, act="relu"))
        x = one.conv(x, 132, (3, 3), (2, 2), (1, 1, 1, 1), groups=132)
        x = one.pool(x, "max", (2, 2), (1, 2), (1, 0, 0, 1))
        x = one.add(x, one.conv(one.conv(x, 9, act="relu"), 132), "relu")
        x = one.conv(x, 60, (3, 3), (2, 2), (1, 1, 1, 1))  # more weights than are widened
        return one.done(one.dense(one.flatten(x), 130), "windows")

    return {one.__name__: one for one in (stem, groups, many, windows)}


@pytest.mark.parametrize("kind", random_networks.here())
def test_networks_equal_the_reference_under_the_sanitizers(kind, drawing, tmp_path):
    torch.set_num_threads(1)
    machine, programs, pictures = codegen.cpu_target_named(kind), [], []
    for make in networks(drawing).values():
        program, picture = random_networks.lowered(make(), machine, seed=5)
        picture.flat[:4] = 1e6, -1e6, 3e9, -3e9  # further beyond the ranges
        programs.append(program)
        pictures.append(picture)
    sources = [generator.emit_int8(program, machine) for program in programs]
    found = random_networks.watched(kind, sources, pictures, tmp_path)
    for program, picture, scores in zip(programs, pictures, found, strict=True):
        assert np.array_equal(scores, int8_interpreter.run(program, picture)), program.name


def test_a_factor_that_may_overflow_is_left_to_plain_loops(drawing):
    one = drawing(4, 3, 3)
    graph = one.done(one.conv("input", 4), "overflow")
    pictures = [np.ones((1, 4, 3, 3), np.float32)]
    machine = codegen.cpu_target_named("x86-64")
    program = pipeline.int8_program(
        graph, calibration.calibrate(graph, pictures), generator.arithmetic_of(machine)
    )
    step = next(step for step in program.ops if isinstance(step, ir.Convolution))
    plain = generator.emit_int8(program, machine).c
    step.epilogue.multiplier[:] = 3e8
    assert "PACK(" in plain.split("net_init")[0].split("static byte T")[1]
    assert "PACK(" not in generator.emit_int8(program, machine).c.split("static byte T")[1]
