"""Software prefetch: only where feature maps are large, and it changes no logit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import random_networks

from shufflenet_deploy import codegen

ASKING = "__builtin_prefetch("
SIZE = (203, 407)


def units(drawing, size):
    """All layers that ask: a pooled stem, and units with their shortcuts and sums."""
    d = drawing(3, *size, seed=size[0])
    x = d.conv("input", 24, (3, 3), (2, 2), (1, 1, 1, 1), act="relu")
    x = d.pool(x, "max", (3, 3), (2, 2), (1, 1, 1, 1))
    x = d.unit(x, 60, groups=3, stride=2, first_groups=1)
    return d.done(d.unit(x, 60, groups=3), "units")


def asked(graph, machine):
    """Number of prefetches, those of weights excluded."""
    lines = codegen.generate(graph, machine).c.splitlines()
    return sum(ASKING in line and f"{ASKING}w " not in line for line in lines)


@pytest.mark.parametrize("core", [core for core in random_networks.here() if "vnni" not in core])
def test_scores_are_the_same(core, drawing, tmp_path):
    machine, graph = codegen.cpu_target_named(core), units(drawing, SIZE)
    picture = random_networks.picture_of(graph)
    commands = random_networks.gcc(machine, *random_networks.WARNINGS)
    before = codegen.generate(graph, machine)
    tiny = replace(machine, l2_bytes=0, llc_share_bytes=0)
    sources = [before, codegen.generate(graph, tiny)]
    one, other = random_networks.answers(sources, [picture, picture], tmp_path, commands)
    assert before.c != sources[1].c
    assert np.array_equal(one, other)
    random_networks.assert_close(one, random_networks.wanted(graph, picture))


def test_what_is_near_is_not_asked_for(drawing):
    machine = codegen.cpu_target_named("x86-64-v3")
    small, large = (asked(units(drawing, size), machine) for size in ((96, 128), (1440, 2560)))
    assert small == asked(units(drawing, (64, 96)), machine)  # a stem's picture, at any size
    assert large > 3 * small


@pytest.mark.parametrize("core", ["cortex-a72", "armv7"])
def test_arm_cores_are_asked_for_nothing(core, drawing):
    assert (
        ASKING
        not in codegen.generate(units(drawing, (720, 1280)), codegen.cpu_target_named(core)).c
    )
