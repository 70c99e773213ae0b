"""Milliseconds of several threads, from turns that were made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shufflenet_deploy.cores import core
from shufflenet_deploy.errors import ParseError, UsageError
from shufflenet_deploy.predict import boards
from shufflenet_deploy.predict.counts import CodeBlock, Counts, Misses, Turn, turns
from shufflenet_deploy.predict.latency import Memory
from shufflenet_deploy.predict.parallel import inference, shared_by

LOAD, ADD = 0xF9400020, 0x8B010000
MODEL = core("cortex-a53")
MEMORY = Memory(
    clock_ghz=1.0,
    l2_ns=10.0,
    l3_ns=None,
    dram_ns=100.0,
    read_gb_s=2.0,
    fill_gb_s=1.0,
    read_all_gb_s=3.0,
    fill_all_gb_s=1.0,
)


def turn(thread, executions, misses=None):
    code = b"".join(word.to_bytes(4, "little") for word in (LOAD, ADD))
    block = CodeBlock(0x100, executions, code, {0: misses} if misses else {})
    return Turn(thread, Counts(2 * executions, (block,)))


def parts(*found, memory=MEMORY, meetings=1):
    return inference(found, MODEL, meetings=meetings).predicted(MODEL, memory)


def test_a_region_is_as_long_as_its_slowest_thread():
    even = parts(turn(0, 500), turn(1, 500))
    assert parts(turn(0, 500), turn(1, 100)) == even
    assert parts(turn(0, 500), turn(1, 1000)).issue == pytest.approx(2 * even.issue)


def test_regions_and_what_one_thread_does_alone_follow_each_other():
    """A thread's number begins a region where the one before it was alone, or of the region."""
    alone, shared = turn(None, 300), [turn(0, 500), turn(1, 500)]
    once = parts(alone, *shared)
    assert once.issue == pytest.approx(parts(*shared).issue * 800 / 500)
    assert parts(*shared, *shared).total_ns == pytest.approx(2 * parts(*shared).total_ns)
    assert once.barriers == parts(*shared).barriers > 0
    assert parts(*shared, meetings=2).barriers == 2 * once.barriers


def test_busy_cores_share_the_bandwidth_of_all():
    assert shared_by(MEMORY, 1) == MEMORY
    both = shared_by(MEMORY, 2)
    assert (both.read_gb_s, both.fill_gb_s) == (1.5, 0.5)
    misses = Misses(l1_foreseen=1000, l2_foreseen=1000, l3_foreseen=1000)
    busy = parts(turn(0, 500, misses), turn(1, 500, misses))
    unlimited = replace(MEMORY, read_all_gb_s=100.0)
    assert (
        busy.total_ns > parts(turn(0, 500, misses), turn(1, 500, misses), memory=unlimited).total_ns
    )
    # One that has nothing to do leaves memory to the other.
    idle = parts(turn(0, 500, misses), turn(1, 1))
    assert idle == parts(turn(0, 500, misses), turn(1, 1), memory=unlimited)


def test_nothing_in_parallel_is_no_inference_of_several_threads():
    with pytest.raises(ParseError, match="nothing in parallel"):
        inference([turn(None, 500), turn(0, 500)], MODEL, meetings=1)


def test_turns_in_the_output_of_the_plugin():
    text = "T 0 4\nB 100 2 200040f90000018b\nT 1 2\nB 100 1 200040f90000018b\ncounts 1 1 6\n"
    first, second = turns(text)
    assert (first.thread, first.counts.instructions) == (None, 4)
    assert (second.thread, second.counts.blocks[0].executions) == (0, 1)
    with pytest.raises(ParseError, match="cut off"):
        turns(text.partition("counts")[0])


def test_a_card_says_how_many_threads_it_is_good_for():
    card = boards.board("rk3399-big")
    card.require_threads(2)
    with pytest.raises(UsageError, match="rk3399-big has 2 cores of one kind"):
        card.require_threads(4)
    assert set(card.guessed(2)) - set(card.guessed()) == {"read_all_gb_s", "fill_all_gb_s"}
    figures = card.figures.model_copy(update={"read_all_gb_s": None})
    with pytest.raises(UsageError, match="does not state read_all_gb_s"):
        card.model_copy(update={"figures": figures}).require_threads(2)
