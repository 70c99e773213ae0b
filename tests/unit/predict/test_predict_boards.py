"""Cards of boards: what ships is whole, and what a user wrote wrongly is said in a line."""

from __future__ import annotations

import pytest

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.predict import boards
from shufflenet_deploy.predict.caches import Cache, describe_machine, specification


@pytest.mark.parametrize("name", boards.names())
def test_every_card_names_a_core_and_says_where_its_figures_come_from(name):
    card = boards.board(name)
    assert card.model.name == card.core
    assert card.figures.clock_ghz.source
    if name.startswith("generic-"):
        assert "dram_ns" in card.guessed()
    assert card.note or card.core != "kryo"


def test_another_clock_moves_the_latency_of_caches():
    slow = boards.board("raspberry-pi-5@1.2")
    fast = boards.board("raspberry-pi-5")
    assert slow.name == "raspberry-pi-5@1.2"
    assert slow.memory.clock_ghz == 1.2
    assert slow.memory.l2_ns == pytest.approx(2 * fast.memory.l2_ns)
    assert slow.memory.l3_ns == pytest.approx(2 * fast.memory.l3_ns)
    assert slow.memory.dram_ns == fast.memory.dram_ns


def test_a_core_alone_is_a_generic_board():
    card = boards.board_of_core("a53@1.4")
    assert (card.core, card.memory.clock_ghz) == ("cortex-a53", 1.4)
    assert "clock_ghz" not in card.guessed()
    assert "clock_ghz" in boards.board_of_core("cortex-a53").guessed()


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("raspberry-pi-99", "unknown board 'raspberry-pi-99': choose raspberry-pi-3b-plus"),
        ("raspberry-pi-4@fast", "write the clock in GHz after @, such as raspberry-pi-4@1.5"),
        ("raspberry-pi-4@1500", "write the clock in GHz"),
        ("/nowhere/card.toml", "cannot read the card of a board"),
    ],
)
def test_boards_that_there_are_not(word, problem):
    with pytest.raises(UsageError, match=problem):
        boards.board(word)


CARD = """
title = "Mine"
core = "cortex-a53"
caches_source = "the kernel"
[figures]
clock_ghz = { value = 1.0, source = "the kernel" }
l2_ns = { value = 10.0, source = "guessed" }
dram_ns = { value = 150.0, source = "guessed" }
read_gb_s = { value = 2.0, source = "guessed" }
fill_gb_s = { value = 2.0, source = "tinymembench" }
[[caches]]
kib = 32
ways = 4
replacement = "random"
[[caches]]
kib = 256
ways = 16
replacement = "random"
"""


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('core = "cortex-a53"', 'core = "z80"', "core: unknown core 'z80'"),
        ("value = 150.0", "value = -1", "figures.dram_ns.value"),
        ("kib = 256\nways = 16", "kib = 256\nways = 7", "whole number of sets"),
        ('l2_ns = { value = 10.0, source = "guessed" }', "", "figures.l2_ns"),
        ("read_gb_s", "l3_ns = { value = 9, source = 'x' }\nread_gb_s", "three levels"),
    ],
)
def test_a_card_of_ones_own(tmp_path, old, new, problem):
    path = tmp_path / "mine.toml"
    path.write_text(CARD)
    card = boards.board(str(path))
    assert (card.name, card.guessed()) == ("mine", ("l2_ns", "dram_ns", "read_gb_s"))
    path.write_text(CARD.replace(old, new))
    with pytest.raises(UsageError, match=problem):
        boards.board(str(path))


def test_what_programs_read_of_the_core(tmp_path):
    caches = (
        Cache(kib=32, ways=4, replacement="random"),
        Cache(kib=512, ways=16, replacement="lru"),
    )
    assert specification(caches) == "128x4xrandom+512x16xlru"
    describe_machine(tmp_path, 0x410FD034, caches)
    cpu = tmp_path / "sys/devices/system/cpu/cpu0"
    assert (cpu / "regs/identification/midr_el1").read_text() == "0x00000000410fd034\n"
    assert (cpu / "cache/index1/size").read_text() == "512K\n"
    assert "CPU part\t: 0xd03" in (tmp_path / "proc/cpuinfo").read_text()
