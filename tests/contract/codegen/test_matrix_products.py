"""Convolutions by int8 matrix products (SMMLA): generated C equals the reference at odd sizes."""

from __future__ import annotations

import numpy as np
import pytest
import random_networks
from int8_operators import Growing

from shufflenet_deploy import codegen
from shufflenet_deploy.codegen import generator, int8_interpreter
from shufflenet_deploy.network import graph as g
from shufflenet_deploy.network.graph import Activation

CORE = "cortex-a710"


def pointwise() -> g.Graph:
    """Groups of inputs and outputs that fill no vectors, with residuals; an odd width."""
    d = Growing(3, 7, 9, seed=1)
    x = d.conv("input", 20, activation=Activation.RELU)
    for inputs, out, groups in ((20, 30, 1), (30, 60, 3), (60, 27, 3), (27, 36, 3), (36, 48, 4)):
        assert d.shapes[x][0] == inputs
        x = d.conv(x, out, groups=groups)
    y = d.conv(d.conv(x, 18, groups=3), 48, groups=2)
    d.conv(d.add(g.Add, x, y, activation=Activation.RELU), 45)
    d.conv(d.conv(x, 41), 8)
    return d.done(name="pointwise")


def windows() -> g.Graph:
    """Windows whose neighbouring inputs are one vector and others; products in loops."""
    d = Growing(3, 17, 15, seed=2)
    d.conv("input", 12, 3, stride=(2, 2), padding=(1, 1, 1, 1))
    d.conv("input", 14, 5, stride=(2, 2), padding=(2, 2, 2, 2))
    x = d.conv("input", 24, 3, padding=(1, 1, 1, 1), activation=Activation.RELU)
    d.conv(x, 10, 3, stride=(2, 1), padding=(1, 0, 1, 0))
    d.conv(x, 16, 3, dilation=(2, 3), padding=(2, 3, 2, 3))
    d.conv(x, 16, 3, groups=2, padding=(1, 1, 1, 1))
    d.conv(d.conv(x, 100), 23)
    return d.done(name="windows")


def shuffled() -> g.Graph:
    """Units of ShuffleNet: channels are shuffled in what is stored."""
    d = Growing(3, 14, 14, seed=3)
    x = d.conv("input", 24, activation=Activation.RELU)
    y = d.conv(x, 30, groups=3, activation=Activation.RELU)
    y = d.add(g.Shuffle, y, groups=3)
    y = d.conv(y, 30, 3, groups=30, padding=(1, 1, 1, 1))
    y = d.conv(y, 24, groups=3)
    y = d.add(g.Add, x, y, activation=Activation.RELU)
    # More channels than a table has: those of every group by structure stores.
    for channels, groups in ((120, 3), (88, 2), (100, 4), (85, 5)):
        d.conv(d.add(g.Shuffle, d.conv(y, channels), groups=groups), 6)
    return d.done(name="shuffled")


@pytest.mark.parametrize("make", [pointwise, windows, shuffled])
def test_matrix_products_equal_the_reference(make, tmp_path):
    machine, graph = codegen.cpu_target_named(CORE), make()
    program, picture = random_networks.lowered(graph, machine, seed=4)
    source = generator.emit_int8(program, machine)
    assert "__neonmatrix_" in source.c
    commands = random_networks.zig(machine, *random_networks.WARNINGS, *random_networks.TRAPS)
    runner = random_networks.EMULATORS[CORE]
    (found,) = random_networks.answers([source], [picture], tmp_path, commands, runner)
    assert np.array_equal(found, int8_interpreter.run(program, picture))


def test_both_products_give_the_same_bits(tmp_path):
    graph = pointwise()
    found = []
    for core in ("cortex-a76", CORE):
        machine = codegen.cpu_target_named(core)
        program, picture = random_networks.lowered(graph, machine, seed=5)
        source = generator.emit_int8(program, machine)
        (tmp_path / core).mkdir()
        commands, runner = random_networks.zig(machine, "-O1"), random_networks.EMULATORS[core]
        found += random_networks.answers([source], [picture], tmp_path / core, commands, runner)
    assert np.array_equal(*found)
