"""Cycles of hand-made code whose count follows from a core's documented limits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shufflenet_deploy.codegen.cpu_target import CPU_TARGETS
from shufflenet_deploy.codegen.schedule.register_blocking import ConvShape, choose_blocking
from shufflenet_deploy.cores import CORES, NO_WAIT, core
from shufflenet_deploy.cores.in_order import InOrderCore
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.predict.decoder import decode

FMLA_4S, FMLA_2S = 0x4E22CC20, 0x0E22CC20  # fmla vD, v1, v2
LDR_Q, LDR_D, LDR_X = 0x3DC00020, 0xFD400020, 0xF9400020  # ldr D, [x1]
ADD_X0, MUL_X0 = 0x8B010000, 0x9B017C00
SMMLA = 0x4E82A420  # smmla vD.4s, v1.16b, v2.16b
LD1_FOUR = 0x4C402820  # ld1 {v0.4s, v1.4s, v2.4s, v3.4s}, [x1]


def cycles(name, *words):
    return core(name).cycles(decode(b"".join(word.to_bytes(4, "little") for word in words)))


def accumulators(word, count):
    """The same multiply-add to registers from v8 on."""
    return [word + 8 + number for number in range(count)]


def pairs(load, count):
    """A load and an independent 128-bit multiply-add, several times."""
    fmas = accumulators(FMLA_4S, count)
    return [word for number, fma in enumerate(fmas) for word in (load + 24 + number, fma)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("cortex-a53", 4), ("cortex-a55", 4), ("cortex-a72", 3), ("cortex-a76", 2)],
)
def test_one_accumulator_waits_for_itself(name, expected):
    assert cycles(name, FMLA_4S) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("cortex-a53", 8), ("cortex-a55", 8), ("cortex-a72", 8)),
        *(("cortex-a73", 8), ("cortex-a76", 4), ("cortex-a710", 4)),
        *(("cortex-x1", 2), ("cortex-x2", 2)),
    ],
)
def test_eight_accumulators_are_as_fast_as_the_vector_pipelines(name, expected):
    assert cycles(name, *accumulators(FMLA_4S, 8)) == pytest.approx(expected, rel=0.05)


def test_two_narrow_operations_take_the_place_of_a_wide_one():
    assert cycles("cortex-a53", *accumulators(FMLA_2S, 8)) == 4
    assert cycles("cortex-a55", *accumulators(FMLA_2S, 8)) == 4


def test_what_pairs_with_a_wide_operation_on_in_order_cores():
    """A load of a general register on both, of 64 vector bits on A55, of 128 bits on neither."""
    general = [word for fma in accumulators(FMLA_4S, 4) for word in (LDR_X + 3, fma)]
    assert cycles("cortex-a53", *general) == cycles("cortex-a55", *general) == 4
    assert cycles("cortex-a55", *pairs(LDR_D, 4)) == 4
    assert cycles("cortex-a53", *pairs(LDR_D, 4)) == 8
    assert cycles("cortex-a53", *pairs(LDR_Q, 4)) == cycles("cortex-a55", *pairs(LDR_Q, 4)) == 12


def test_loads_move_what_the_pipelines_do():
    assert cycles("cortex-a53", LD1_FOUR) == 8
    four = [LDR_Q + number for number in range(8)]
    assert cycles("cortex-a72", *four) == pytest.approx(8, rel=0.05)
    assert cycles("cortex-a76", *four) == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize("name", CORES)
def test_dependent_integers_take_a_cycle_each_and_products_longer(name):
    assert cycles(name, ADD_X0, ADD_X0, ADD_X0) == 3
    assert cycles(name, MUL_X0) == 3


@pytest.mark.parametrize("name", CORES)
def test_a_later_independent_operation_costs_an_out_of_order_core_nothing(name):
    waiting = cycles(name, MUL_X0, MUL_X0, MUL_X0, MUL_X0)
    filled = cycles(name, MUL_X0, MUL_X0, MUL_X0, MUL_X0, *accumulators(FMLA_4S, 8))
    in_order = isinstance(core(name), InOrderCore)
    assert filled > waiting if in_order else filled == waiting


@pytest.mark.parametrize(("name", "expected"), [("cortex-a710", 4), ("cortex-x2", 2)])
def test_matrix_products_are_as_fast_as_the_vector_pipelines(name, expected):
    assert cycles(name, *accumulators(SMMLA, 8)) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("name", CORES)
def test_code_for_a_core_pays_what_its_description_says(name):
    """The machine whose programs it runs, priced by its own description or one like it."""
    machine = CPU_TARGETS[core(name).machine]
    described = core(machine.name)
    assert machine.load_wait == described.load_wait
    assert machine.split_loads == described.loads_by_halves
    assert machine.weight_prefetch_bytes == described.prefetch_ahead_bytes
    kept = 0 if described.in_order else described.l1_share_bytes
    assert machine.prefetch_beyond_bytes == kept
    assert described.in_order == core(name).in_order


def test_in_order_blocks_leave_registers_for_pixels_that_come_in_time():
    """Out of order more accumulators pay, for a load that comes late is hidden."""
    shape = ConvShape(
        outputs=60, vectors=49, depth=60, residual=False, channel_stride=832, assembly=True,
        clamp_min=True,
    )  # fmt: skip
    most = {}
    for name in ("cortex-a55", "cortex-a72", "cortex-a76"):
        blocks = choose_blocking(CPU_TARGETS[name], shape)
        most[name] = max(blocks.outputs) * max(size for size, _ in blocks.pixels)
    assert most["cortex-a55"] < most["cortex-a72"] == most["cortex-a76"]
    free = replace(CPU_TARGETS["cortex-a55"], load_wait=NO_WAIT)
    assert choose_blocking(free, shape) != choose_blocking(CPU_TARGETS["cortex-a55"], shape)


def test_names_of_cores():
    assert core("a53") is core("cortex-a53")
    assert core("cortex-a78") is core("cortex-a76")
    with pytest.raises(UsageError, match="unknown core 'cortex-m4': choose cortex-a53"):
        core("cortex-m4")
