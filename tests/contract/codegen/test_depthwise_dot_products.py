"""Depthwise 3x3 and 5x5 by dot products: generated C equals the reference at odd sizes."""

from __future__ import annotations

import numpy as np
import pytest
import random_networks
from int8_operators import Growing

from shufflenet_deploy import codegen
from shufflenet_deploy.codegen import generator, int8_interpreter
from shufflenet_deploy.network import graph as g

#: Channels, height, width, stride: fewer outputs than are unrolled, as many, and more.
SHAPES = (
    (8, 7, 9, 1),
    (19, 9, 5, 1),
    (24, 11, 23, 2),
    (5, 4, 3, 1),
    (33, 1, 12, 1),
    (16, 5, 10, 1),
)


def depthwise(side: int) -> g.Graph:
    """Square windows over maps of several sizes, and one that the kernels are not for."""
    d, around = Growing(3, 12, 25, seed=6), (side // 2,) * 4
    for channels, height, width, stride in SHAPES:
        x = d.conv("input", channels)
        x = d.add(g.Slice, x, axis=1, start=0, stop=height)
        x = d.conv(d.add(g.Slice, x, axis=2, start=0, stop=width), channels)
        d.conv(x, channels, side, groups=channels, padding=around, stride=(stride, stride))
    d.conv(x, channels, side, groups=channels, padding=around, stride=(1, 2))
    return d.done(name=f"depthwise{side}x{side}")


@pytest.mark.parametrize("core", ["cortex-a55", "cortex-a710"])
def test_depthwise_convolutions_equal_the_reference(core, tmp_path):
    machine = codegen.cpu_target_named(core)
    programs, pictures = [], []
    for side in (3, 5):
        program, picture = random_networks.lowered(depthwise(side), machine, seed=7)
        programs.append(program)
        pictures.append(picture)
    sources = [generator.emit_int8(program, machine) for program in programs]
    assert "_dwconv3x3_c8__" in sources[0].c
    assert "_dwconv5x5_c8__" in sources[1].c
    assert all("_dwconv_c16__" in source.c for source in sources)
    commands = random_networks.zig(machine, *random_networks.WARNINGS, *random_networks.TRAPS)
    runner = random_networks.EMULATORS["cortex-a710"]
    answers = random_networks.answers(sources, pictures, tmp_path, commands, runner)
    for program, picture, found in zip(programs, pictures, answers, strict=True):
        assert np.array_equal(found, int8_interpreter.run(program, picture)), program.name
