"""Blocks of x86's int8 convolutions: few, even, and within the registers."""

from __future__ import annotations

import pytest

from shufflenet_deploy.codegen.cpu_target import cpu_target_named
from shufflenet_deploy.codegen.schedule.x86_int8_blocking import X86ConvSpec, choose_blocks


def blocks(cpu, outputs, *, width=14, height=14, groups=1, shuffled=False, run=60):
    spec = X86ConvSpec(
        rows=(0,),
        run=run,
        groups=groups,
        outputs=outputs,
        group_step=run,
        height=height,
        width=width,
        x_pixel=run,
        x_row=run * width,
        y_pixel=outputs,
        y_row=outputs * width,
        r_pixel=0,
        r_row=0,
        shuffled=shuffled,
        overwrite_slack=0,
    )
    found = choose_blocks(spec, cpu_target_named(cpu))
    return [(one.vectors, one.pixels, one.split) for one in found]


@pytest.mark.parametrize(
    ("cpu", "outputs", "expected"),
    [
        ("x86-64-v4-vnni", 16 * 20, [(4, 4, 1)] * 5),
        ("x86-64-v4-vnni", 16 * 6, [(3, 4, 1)] * 2),
        ("x86-64-v4-vnni", 16 * 29, [(5, 4, 1)] * 5 + [(4, 4, 1)]),
        ("x86-64-v4-vnni", 10, [(1, 7, 1)]),
        ("x86-64-v3", 24, [(2, 5, 1), (1, 7, 1)]),
    ],
)
def test_blocks_are_few_and_even(cpu, outputs, expected):
    assert blocks(cpu, outputs) == expected


def test_a_single_pixel_has_as_many_vectors_as_registers_hold():
    found = blocks("x86-64-v4-vnni", 1000, width=1, height=1)
    assert [vectors for vectors, _, _ in found] == [16, 16, 16, 15]


def test_the_last_outputs_of_interleaved_groups_split_their_lanes():
    *whole, last = blocks("x86-64-v4-vnni", 20, groups=3, shuffled=True, width=28)
    assert [vectors for vectors, _, _ in whole] == [1]
    assert last == (1, 8, 4)
