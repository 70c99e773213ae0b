"""Chains of blocks, and milliseconds from counts that were made by hand."""

from __future__ import annotations

import pytest

from shufflenet_deploy.cores import core
from shufflenet_deploy.errors import ParseError
from shufflenet_deploy.predict.chains import join
from shufflenet_deploy.predict.counts import CodeBlock, Counts, Misses, Prefetched, intervals
from shufflenet_deploy.predict.latency import Memory, interval, predicted, timed

ADD, LOAD, STORE, PREFETCH = 0x8B010000, 0xF9400020, 0xF9000020, 0xF940003F
BRANCH_BACK_2 = 0x54FFFFC1  # b.ne, two instructions back
RETURN = 0xD65F03C0
MEMORY = Memory(clock_ghz=1.0, l2_ns=10.0, l3_ns=None, dram_ns=100.0, read_gb_s=2.0, fill_gb_s=1.0)


def block(address, executions, *words, misses=None, prefetched=None):
    code = b"".join(word.to_bytes(4, "little") for word in words)
    return CodeBlock(address, executions, code, misses or {}, prefetched or {})


def counts(*blocks):
    return Counts(sum(one.length * one.executions for one in blocks), blocks)


def test_blocks_that_follow_each_other_equally_often_are_one_chain():
    chains = join([block(0x100, 50, ADD, ADD), block(0x108, 50, ADD, RETURN)])
    assert [(one.address, len(one.code), one.executions) for one in chains] == [(0x100, 16, 50)]
    apart = join([block(0x100, 50, ADD, ADD), block(0x108, 80, ADD, RETURN)])
    assert [one.address for one in apart] == [0x100, 0x108]
    returned = join([block(0x100, 50, ADD, RETURN), block(0x108, 50, ADD)])
    assert len(returned) == 2


def test_a_loop_ends_its_chain_and_is_left_as_often_as_what_follows_runs():
    loop, after = block(0x100, 90, ADD, ADD, BRANCH_BACK_2), block(0x10C, 3, ADD, RETURN)
    first, second = join([loop, after])
    assert (first.loops, first.exits) == (True, 3)
    assert (second.loops, second.exits) == (False, 0)


def test_misses_of_loads_and_stores_are_kept_apart():
    misses = {0: Misses(l1=3, l2=2, l3=2), 1: Misses(l1=5)}
    (chain,) = join([block(0, 9, LOAD, STORE, misses=misses)])
    assert (chain.loads, chain.stores) == (misses[0], misses[1])


def test_prefetches_are_no_loads():
    misses, used = {0: Misses(l1=3), 1: Misses(l1=5, l2=2, l3=2)}, {1: Prefetched(4, 400)}
    (chain,) = join([block(0, 9, LOAD, PREFETCH, misses=misses, prefetched=used)])
    assert (chain.loads, chain.prefetches) == (misses[0], misses[1])
    assert chain.prefetched == Prefetched(4, 400)


def prefetching(distance, *, lines=10, name="cortex-a53", memory=MEMORY):
    """1000 executions, of which ten prefetch a line from DRAM that is of use so much later."""
    one = block(
        *(0, 1000, LOAD, PREFETCH, ADD, ADD),
        misses={1: Misses(l1=lines, l2=lines, l3=lines)},
        prefetched={1: Prefetched(lines, lines * distance)},
    )
    return time_of(one, name=name, memory=memory)


def test_a_prefetch_hides_what_runs_until_its_line_is_accessed():
    """A line takes 100 ns, an instruction half of one or more."""
    early, late, at_once = prefetching(1000), prefetching(40), prefetching(0)
    assert early.dram_latency == 0
    assert at_once.dram_latency == pytest.approx(10 * 100 * 0.7)
    each_ns = at_once.issue / 4000
    assert late.dram_latency == pytest.approx(10 * (100 - 40 * each_ns) * 0.7)
    assert early.issue == late.issue == at_once.issue


def test_prefetches_wait_for_each_other():
    """No faster than so many lines at a time arrive, and than DRAM's bandwidth."""
    busy = prefetching(1000).issue
    in_order = prefetching(1000, lines=900)
    assert in_order.total_ns == pytest.approx(max(busy, 900 * 100 / 3))
    slow = MEMORY.__class__(**MEMORY.__dict__ | {"read_gb_s": 0.5})
    assert prefetching(1000, lines=900, memory=slow).total_ns == pytest.approx(900 * 64 / 0.5)
    assert prefetching(1000, lines=900, name="cortex-a76").total_ns == pytest.approx(900 * 64 / 2)


def time_of(*blocks, name="cortex-a53", memory=MEMORY):
    return predicted(timed(counts(*blocks), core(name)), core(name), memory)


def test_parts_of_a_time():
    """1000 cycles at 1 GHz, and what an in-order core waits for: see ``Exposure``."""
    misses = {0: Misses(l1=40, l1_foreseen=20, l2=30, l2_foreseen=0, l3=30)}
    parts = time_of(block(0, 1000, LOAD, ADD, misses=misses))
    alone = time_of(block(0, 1000, LOAD, ADD))
    assert parts.issue == alone.issue > 0
    assert parts.l2 == pytest.approx(40 * 10 * 1.0 + 20 * 10 * 0.5)
    assert parts.dram_latency == pytest.approx(30 * 100 * 0.7)
    assert parts.dram_bandwidth == 0
    assert parts.total_ns == pytest.approx(parts.issue + parts.l2 + parts.dram_latency)


def test_what_is_foreseen_costs_bandwidth_beyond_what_the_core_is_busy():
    misses = {0: Misses(l1_foreseen=1000, l2_foreseen=1000, l3_foreseen=1000)}
    parts = time_of(block(0, 1000, LOAD, ADD, misses=misses))
    assert parts.dram_latency == 0
    transfer = 1000 * 64 / 2.0
    assert parts.issue + parts.l2 + parts.dram_bandwidth == pytest.approx(transfer)
    stores = {0: Misses(l1=1000, l2=1000, l3=1000)}
    stored = time_of(block(0, 1000, STORE, ADD, misses=stores))
    assert stored.issue + stored.dram_bandwidth == pytest.approx(1000 * 64 / 1.0)


def test_an_out_of_order_core_hides_more():
    misses = {0: Misses(l1=100, l2=50, l3=50)}
    in_order = time_of(block(0, 10, LOAD, misses=misses), name="cortex-a55")
    hidden = time_of(block(0, 10, LOAD, misses=misses), name="cortex-a76")
    assert hidden.l2 < in_order.l2
    assert hidden.dram_latency < in_order.dram_latency


def test_a_guess_widens_the_interval_by_what_it_decides():
    misses = {0: Misses(l1=1000, l2=1000, l3=1000)}
    model = core("cortex-a53")
    chains = timed(counts(block(0, 1000, LOAD, ADD, misses=misses)), model)

    def between(*guessed):
        def total_ns(memory):
            return predicted(chains, model, memory).total_ns

        return interval(total_ns, model.error, MEMORY, guessed)

    known, guessed, irrelevant = between(), between("dram_ns"), between("fill_gb_s")
    assert known.relative == pytest.approx(model.error)
    assert irrelevant == known
    assert guessed.low_ns < known.low_ns < known.predicted_ns < known.high_ns < guessed.high_ns


TEXT = """\
B 400 7 2000009b
M 0 7 1 2 3 4 5 6
P 0 7 800
B 500 2 c0035fd6
counts 1 2 9
"""


def test_the_output_of_the_plugin():
    found = Counts.parse(TEXT)
    assert found.instructions == 9
    assert [(one.address, one.executions) for one in found.blocks] == [(0x400, 7), (0x500, 2)]
    assert found.blocks[0].misses == {0: Misses(1, 2, 3, 4, 5, 6)}
    assert found.blocks[0].prefetched == {0: Prefetched(7, 800)}


def test_intervals_are_kept_apart():
    parts = intervals(f"I 0 7\n{TEXT.splitlines()[0]}\nI 1 2\n{TEXT.splitlines()[3]}\ncounts 1 0 0")
    assert [(one.instructions, len(one.blocks)) for one in parts] == [(7, 1), (2, 1)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "cut off"),
        (TEXT.rpartition("counts")[0], "cut off"),
        (TEXT.replace("counts 1 2", "counts 1 0"), "no repeated inference"),
        (TEXT.replace("counts 1", "counts 2"), "cut off"),
        ("?" + TEXT, "unexpected line"),
        (TEXT.replace("400", "4z0"), "no number"),
    ],
)
def test_output_that_is_none(text, problem):
    with pytest.raises(ParseError, match=problem):
        Counts.parse(text)
