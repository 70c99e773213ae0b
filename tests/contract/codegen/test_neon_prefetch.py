"""Prefetches of AArch64 programs: no logit changes, nothing behind the program's own is touched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import random_networks

from shufflenet_deploy import codegen

ASKING = "prfm pldl1keep"


def units(drawing, size):
    """Grouped pointwise convolutions with residuals and lower bounds, and odd widths."""
    d = drawing(3, *size, seed=size[0])
    x = d.conv("input", 24, (3, 3), (2, 2), (1, 1, 1, 1), act="relu")
    x = d.unit(x, 60, groups=3, stride=2, first_groups=1)
    x = d.unit(x, 60, groups=3)
    x = d.conv(x, 37, (3, 3), (1, 1), (1, 1, 1, 1), act="relu6")
    return d.done(d.conv(x, 450, act="none"), "units")


@pytest.mark.parametrize("core", ["cortex-a53", "cortex-a76"])
def test_scores_are_the_same(core, drawing, tmp_path):
    machine, graph = codegen.cpu_target_named(core), units(drawing, (61, 75))
    ahead = codegen.generate(graph, replace(machine, prefetch_beyond_bytes=0))
    without = codegen.generate(graph, replace(machine, weight_prefetch_bytes=0))
    assert ASKING in ahead.c
    assert ASKING not in without.c
    picture = random_networks.picture_of(graph)
    one, other = random_networks.watched(core, [ahead, without], [picture, picture], tmp_path)
    assert np.array_equal(one, other)
    random_networks.assert_close(one, random_networks.wanted(graph, picture))


@pytest.mark.parametrize("core", ["cortex-a53", "cortex-a55", "cortex-a72", "cortex-a76"])
def test_behind_the_weights_is_what_may_be_prefetched(core, drawing):
    machine, graph = codegen.cpu_target_named(core), units(drawing, (61, 75))
    made, without = (
        codegen.generate(graph, one) for one in (machine, replace(machine, weight_prefetch_bytes=0))
    )
    assert ASKING in made.c
    assert made.weights == without.weights + bytes(machine.weight_prefetch_bytes)


def test_large_maps_are_prefetched_where_the_first_level_does_not_keep_them(drawing):
    machine = codegen.cpu_target_named("cortex-a76")

    def asked(size):
        d = drawing(3, *size, seed=1)
        x = d.conv("input", 48, (3, 3), (2, 2), (1, 1, 1, 1), act="relu")
        c = codegen.generate(d.done(d.conv(x, 64, act="relu"), "two"), machine).c
        return c.count(f"{ASKING}, [%[x]")

    assert asked((24, 24)) == 0
    assert asked((96, 96)) >= 48


@pytest.mark.parametrize("core", ["aarch64", "armv7"])
def test_other_arm_targets_have_none(core, drawing):
    c = codegen.generate(units(drawing, (320, 320)), codegen.cpu_target_named(core)).c
    assert "prfm" not in c
