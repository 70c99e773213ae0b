"""Depthwise 5x5 by dot products: generated C equals the reference at odd sizes."""

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
    (33, 6, 12, 2),
    (16, 5, 10, 1),
)


def depthwise() -> g.Graph:
    """Windows of 5x5 over maps of several sizes, and one that the kernel is not for."""
    d = Growing(3, 12, 25, seed=6)
    for channels, height, width, stride in SHAPES:
        x = d.conv("input", channels)
        x = d.add(g.Slice, x, axis=1, start=0, stop=height)
        x = d.conv(d.add(g.Slice, x, axis=2, start=0, stop=width), channels)
        d.conv(x, channels, 5, groups=channels, padding=(2, 2, 2, 2), stride=(stride, stride))
    d.conv(x, channels, 5, groups=channels, padding=(2, 2, 2, 2), stride=(1, 2))
    return d.done(name="depthwise")


@pytest.mark.parametrize("core", ["cortex-a55", "cortex-a710"])
def test_depthwise_5x5_equals_the_reference(core, tmp_path):
    machine, graph = codegen.cpu_target_named(core), depthwise()
    program, picture = random_networks.lowered(graph, machine, seed=7)
    source = generator.emit_int8(program, machine)
    assert "_dwconv5x5_c8__" in source.c
    assert "_dwconv_c16__" in source.c
    commands = random_networks.zig(machine, *random_networks.WARNINGS, *random_networks.TRAPS)
    runner = random_networks.EMULATORS["cortex-a710"]
    (found,) = random_networks.answers([source], [picture], tmp_path, commands, runner)
    assert np.array_equal(found, int8_interpreter.run(program, picture))
