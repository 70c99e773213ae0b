"""On which cores a process runs, and how long the thermal gate waits."""

from __future__ import annotations

import pytest

from shufflenet_deploy.bench import Hot, Suite
from shufflenet_deploy.bench.thermal import ThermalGate, big_cores, spec_on
from shufflenet_deploy.cli.bench_suite import cores, kind_of_cores, make_suite
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import Core, TargetFacts

LITTLE, MIDDLE, PRIME = 1_800_000, 2_400_000, 2_840_000
PHONE = (LITTLE,) * 4 + (MIDDLE,) * 3 + (PRIME,)


def facts(*speeds: int | None, transport: str = "adb") -> TargetFacts:
    return TargetFacts(
        host="phone",
        transport=transport,
        arch="aarch64",
        os="Android 13",
        kernel="Linux 5.4",
        cpu="8x",
        cores=tuple(Core(index=index, max_khz=khz) for index, khz in enumerate(speeds)),
    )


def chosen(machine: TargetFacts, threads: int = 1, **fields):
    suite = Suite.of(
        {"models": ["alexnet"], "resolutions": ["64"], "threads": [threads], **fields},
        source="test",
    )
    return spec_on(suite, suite.cells()[0], machine).cpus


@pytest.mark.parametrize(
    ("threads", "mask"),
    [(1, (7,)), (2, (4, 5, 6, 7)), (4, (4, 5, 6, 7)), (5, tuple(range(8))), (9, tuple(range(8)))],
)
def test_each_thread_gets_a_fast_core_while_there_are_some(threads, mask):
    assert big_cores(facts(*PHONE), threads) == mask
    assert chosen(facts(*PHONE), threads, cores="big") == mask


def test_a_single_thread_on_a_phone_stays_on_the_fastest_core():
    assert chosen(facts(*PHONE)) == (7,)
    assert chosen(facts(*PHONE), cores="all") is None
    assert chosen(facts(*PHONE), spec={"cpus": [0, 1]}) == (0, 1)


@pytest.mark.parametrize(
    "machine",
    [
        facts(*PHONE, transport="ssh"),
        facts(*(MIDDLE,) * 4),
        facts(None, None),
        facts(),
    ],
)
def test_elsewhere_nothing_is_chosen_without_being_asked(machine):
    assert chosen(machine) is None


def test_more_threads_than_one_are_left_alone():
    assert chosen(facts(*PHONE), threads=4) is None


def test_without_frequencies_big_cannot_be_found():
    with pytest.raises(UsageError, match="phone does not report how fast its cores are"):
        chosen(facts(None, None), cores="big")


def test_the_option_takes_words_and_numbers():
    assert (cores("big"), kind_of_cores("big")) == (None, "big")
    assert (cores("4-7"), kind_of_cores("4-7")) == ([4, 5, 6, 7], None)
    with pytest.raises(UsageError, match="write big, all, or core numbers"):
        cores("huge")


def test_a_word_overrules_the_numbers_of_a_resumed_suite():
    base = {"models": ["alexnet"], "resolutions": ["64"], "spec": {"cpus": [0]}}
    suite = make_suite(base, {"cores": "big"}, {}, [], fresh=False)
    assert (suite.cores, suite.spec.cpus) == ("big", None)


@pytest.fixture
def gate():
    def make(readings, limit_c: float | None = 50.0):
        told, slept = [], []
        left = iter(readings)
        made = ThermalGate(
            limit_c=limit_c, hottest_c=lambda: next(left), emit=told.append, sleep=slept.append
        )
        return made, told, slept

    return make


def test_the_gate_opens_when_it_is_cool(gate):
    opened, told, slept = gate([61.0, 55.0, 50.0])
    opened.wait()
    assert slept == [5.0, 5.0]
    assert told == [
        Hot(now_c=61.0, limit_c=50.0, waited_secs=0.0, longest_secs=600.0),
        Hot(now_c=55.0, limit_c=50.0, waited_secs=5.0, longest_secs=600.0),
    ]


def test_the_gate_opens_when_it_gets_no_cooler(gate):
    opened, told, slept = gate([60.0, *[58.2, 58.0] * 50])
    opened.wait()
    assert 60 <= sum(slept) <= 70
    assert told[-1].text.startswith("steady at 58")


def test_the_gate_has_a_limit(gate):
    opened, told, slept = gate(100 - n * 0.2 for n in range(1000))
    opened.wait()
    assert sum(slept) == 600
    assert "after 600 s" in told[-1].text


def test_without_a_thermometer_that_is_said_once(gate):
    opened, told, slept = gate([None])
    opened.wait()
    opened.wait()
    assert slept == []
    assert [event.text for event in told] == [
        "the target reports no temperature, so --max-temperature has no effect"
    ]


def test_without_a_limit_nothing_is_asked(gate):
    opened, told, slept = gate([], limit_c=None)
    opened.wait()
    assert (told, slept) == ([], [])
