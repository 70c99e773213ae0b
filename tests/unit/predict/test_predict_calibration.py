"""What a probe prints, right or hostile, and the card that is made of it."""

from __future__ import annotations

import contextlib
import json
from datetime import date

import pytest

from shufflenet_deploy.errors import DeployError, ParseError, TargetError
from shufflenet_deploy.predict.calibration import Calibration, calibrate, read
from shufflenet_deploy.records import Core, TargetFacts
from shufflenet_deploy.transport import CommandResult

GOOD = {
    "probe": 1,
    "clock_ghz": 1.8,
    "latency": [{"kib": 8 << step, "ns": 2.0 + step**2} for step in range(14)],
    "bandwidth": [
        {"cores": 1, "read_gb_s": 4.0, "fill_gb_s": 3.0, "copy_gb_s": 2.0},
        {"cores": 4, "read_gb_s": 5.0, "fill_gb_s": 3.5, "copy_gb_s": 2.5},
    ],
    "caches": [
        {"level": 1, "kib": 32, "ways": 2},
        {"level": 2, "kib": 1024, "ways": 16},
    ],
}


def result(text, exit_code=0):
    return CommandResult(
        argv=(), exit_code=exit_code, stdout=text.encode(), stderr=b"", duration_secs=1.0
    )


class Machine:
    """A board whose probe prints what a test wants."""

    def __init__(self, printed, **facts):
        self._printed = printed
        four = tuple(Core(index=one, max_khz=1800000, part="Cortex-A72") for one in range(4))
        usual = {"arch": "aarch64", "cores": four, "board": "Raspberry Pi 4", "cpu": "Cortex-A72"}
        known = {"host": "pi", "transport": "ssh", "os": "Debian", "kernel": "6"}
        self._facts = TargetFacts(**known | usual | facts)

    def facts(self):
        return self._facts

    def require_programs(self, what):
        pass

    def exclusive(self, **_):
        return contextlib.nullcontext()

    def install(self, path):
        return str(path)

    def invoke(self, argv, **_):
        self.argv = argv
        return result(json.dumps(self._printed))


@pytest.fixture
def calibrated(monkeypatch):
    monkeypatch.setattr("shufflenet_deploy.predict.calibration.compiled", lambda *_: "probe")

    def made(printed=GOOD, **facts) -> Calibration:
        machine = Machine(printed, **facts)
        found = calibrate(machine, name="pi", today=date(2026, 11, 30))
        assert machine.argv[1] == ",".join(map(str, found.cpus))
        return found

    return made


def test_figures_are_taken_beyond_the_first_level(calibrated):
    """L2 at half of its size, DRAM at 16 MiB, both less what the first level takes."""
    found = calibrated()
    figures = found.card.figures
    assert (figures.l2_ns.value, figures.l3_ns, figures.dram_ns.value) == (36.0, None, 121.0)
    assert (figures.read_gb_s.value, figures.read_all_gb_s.value) == (4.0, 5.0)
    assert (found.card.core, found.card.cores, found.cpus) == ("cortex-a72", 4, (0, 1, 2, 3))
    assert [one.replacement.value for one in found.card.caches] == ["lru", "random"]
    assert figures.dram_ns.source == "measured on pi, 2026-11-30"


def test_the_fastest_cluster_is_measured(calibrated):
    little = tuple(Core(index=one, max_khz=1500000, part="Cortex-A53") for one in range(4))
    big = tuple(Core(index=one, max_khz=1800000, part="Cortex-A72") for one in (4, 5))
    assert calibrated(cores=little + big).cpus == (4, 5)


def test_caches_that_the_kernel_does_not_tell_are_guessed(calibrated):
    card = calibrated({**GOOD, "caches": []}).card
    assert card.caches_source.startswith("guessed")
    assert len(card.caches) == 2


def test_loads_from_memory_that_are_as_fast_as_from_the_first_level_are_no_figures(calibrated):
    flat = {**GOOD, "latency": [{**one, "ns": 2.0} for one in GOOD["latency"]]}
    with pytest.raises(DeployError, match="took no longer than one from the first level"):
        calibrated(flat)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Segmentation fault",
        "[]",
        "null",
        json.dumps(GOOD)[:-1],
        json.dumps({**GOOD, "clock_ghz": -1}),
        json.dumps({**GOOD, "clock_ghz": "fast"}),
        json.dumps({**GOOD, "latency": []}),
        json.dumps({**GOOD, "latency": GOOD["latency"] * 10}),
        json.dumps({**GOOD, "bandwidth": [{"cores": 1}]}),
        json.dumps({**GOOD, "latency": [{"kib": 8, "ns": float("nan")}] * 5}),
        json.dumps({**GOOD, "latency": [{"kib": 8, "ns": 1e300}] * 5}),
        json.dumps({**GOOD, "more": 1}),
        "[" * 100000,
    ],
)
def test_output_that_is_no_measurement_is_one_line(text):
    with pytest.raises(ParseError, match="the probe on pi") as refused:
        read(result(text), "pi")
    assert len(str(refused.value)) < 400
    assert "\n" not in str(refused.value)


def test_a_probe_that_failed_says_why():
    with pytest.raises(TargetError, match="failed: memory ran out"):
        read(result('{"error": "memory ran out"}', exit_code=1), "pi")
    with pytest.raises(TargetError, match="failed: killed by signal 11"):
        read(result("", exit_code=139), "pi")
