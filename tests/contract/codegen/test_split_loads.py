"""Vectors loaded by halves: for cores whose vector loads block only, with the same scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import random_networks

from shufflenet_deploy import codegen

MOST_STRIDES = 12
INSERT, UPPER = "ins v", "ldr %[h"


def mixed(drawing, size, seed):
    """Strided, grouped and residual convolutions, with and without lower bounds, and odd widths."""
    d = drawing(3, *size, seed=seed)
    x = d.conv("input", 24, (3, 3), (2, 2), (1, 1, 1, 1), act="relu")
    x = d.pool(x, "max", (3, 3), (2, 2), (1, 1, 1, 1))
    x = d.unit(x, 60, groups=3, stride=2, first_groups=1)
    x = d.unit(x, 60, groups=3)
    x = d.conv(x, 37, (3, 3), (1, 1), (1, 1, 1, 1), act="relu6")
    return d.done(d.conv(x, 5, act="none"), "mixed")


@pytest.mark.parametrize("size", [(61, 75), (40, 200)])
def test_scores_are_the_same(size, drawing, tmp_path):
    machine, graph = codegen.cpu_target_named("cortex-a53"), mixed(drawing, size, 7)
    by_halves = codegen.generate(graph, machine)
    whole = codegen.generate(graph, replace(machine, split_loads=False))
    assert INSERT in by_halves.c
    assert INSERT not in whole.c
    picture = random_networks.picture_of(graph)
    one, other = random_networks.watched(
        "cortex-a53", [by_halves, whole], [picture, picture], tmp_path
    )
    assert np.array_equal(one, other)
    random_networks.assert_close(one, random_networks.wanted(graph, picture))


@pytest.mark.parametrize("core", ["aarch64", "cortex-a72", "cortex-a76"])
def test_other_cores_load_whole_vectors(core, drawing):
    c = codegen.generate(mixed(drawing, (61, 75), 7), codegen.cpu_target_named(core)).c
    assert INSERT not in c
    assert UPPER not in c


@pytest.mark.parametrize("size", [(61, 75), (721, 1283)])
def test_distances_fit_the_registers(size, drawing):
    """Each is in a general register: too many would not compile."""
    c = codegen.generate(mixed(drawing, size, 7), codegen.cpu_target_named("cortex-a53")).c
    statements = c.split("__asm__ volatile(")[1:]
    assert any(INSERT in one for one in statements)
    assert max(one.partition(");")[0].count('"r"((intptr_t)') for one in statements) <= MOST_STRIDES
