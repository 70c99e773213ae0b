"""Preflight checks on captured sensor texts; each with the command that fixes it."""

from __future__ import annotations

import pytest

from shufflenet_deploy.bench import preflight
from shufflenet_deploy.bench.preflight import Status
from shufflenet_deploy.bench.preflight_probe import Probe
from shufflenet_deploy.records import Core, TargetFacts
from shufflenet_deploy.target import (
    Frequency,
    HealthProbe,
    Mode,
    Place,
    ProvisioningPlan,
    SensorReading,
)
from shufflenet_deploy.target.health import read_health

GIB = 1 << 30

PRINTED = """
== busy
cpu  100 0 100 1000 0 0 0 0 0 0
cpu  130 0 110 1160 0 0 0 0 0 0

== frequency
0 ondemand cpufreq-dt 600000 1500000 1800000
1 performance cpufreq-dt 600000 1800000 1800000

== rights
sudo

== noted
governors

== throttled
throttled=0x50004

== trips
80000 cpu-thermal
85000 cpu-thermal

== memory
MemAvailable:     512000 kB
SwapTotal:        102396 kB
SwapFree:          51196 kB

== load
0.52 0.58 0.59 2/123 4567

== tick
100

== clocksource
arch_sys_counter

== clock
[19, 74]
"""


def test_a_captured_text_is_read():
    assert read_health(PRINTED) == HealthProbe(
        busy_cores=0.4,
        load_1min=0.52,
        frequencies=(
            Frequency(
                core=0,
                governor="ondemand",
                driver="cpufreq-dt",
                min_khz=600_000,
                max_khz=1_500_000,
                hardware_max_khz=1_800_000,
            ),
            Frequency(
                core=1,
                governor="performance",
                driver="cpufreq-dt",
                min_khz=600_000,
                max_khz=1_800_000,
                hardware_max_khz=1_800_000,
            ),
        ),
        rights="sudo",
        noted=("governors",),
        throttled=0x50004,
        trip_c={"cpu-thermal": 80.0},
        memory_available_bytes=512_000 * 1024,
        swap_used_bytes=51_200 * 1024,
        clocksource="arch_sys_counter",
        clock_step_ns=19,
        clock_read_ns=74,
    )


def test_a_machine_that_tells_nothing():
    assert read_health("") == HealthProbe()
    assert read_health("\n== busy\ncpu 1 2\n\n== clock\n\n== throttled\n\n") == HealthProbe()


def frequency(governor="performance", **changes):
    fields = {"core": 0, "driver": "cpufreq-dt", "min_khz": 600_000, "max_khz": 1_800_000}
    return Frequency(**{**fields, "governor": governor, "hardware_max_khz": 1_800_000, **changes})


GOOD = HealthProbe(
    busy_cores=0.02,
    load_1min=0.1,
    frequencies=(frequency(),) * 4,
    throttled=0,
    trip_c={"cpu-thermal": 80.0},
    memory_available_bytes=3 * GIB,
    swap_used_bytes=0,
    clock_step_ns=19,
    clock_read_ns=74,
)


def seen(health=GOOD, sensors=None, plans=None, measuring_for=None, place=None, **facts):
    told = {
        "host": "pi",
        "transport": "ssh",
        "arch": "aarch64",
        "os": "Debian 12",
        "kernel": "Linux 6.1",
        "cpu": "4x Cortex-A72",
        "cores": tuple(Core(index=index, max_khz=1_800_000) for index in range(4)),
        "free_bytes": 20 * GIB,
        "memory_bytes": 4 * GIB,
        "python": "3.11.2",
        "libc": "glibc 2.36",
    }
    return Probe(
        facts=TargetFacts(**{**told, **facts}),
        sensors=sensors or SensorReading(temperature_c={"cpu-thermal": 45.0}),
        health=health,
        plans=plans or {"litert": ProvisioningPlan(how=Mode.SYSTEM, text="its own Python has it")},
        measuring_for=measuring_for,
        place=place,
    )


def changed(**changes):
    return seen(health=HealthProbe(**{**vars(GOOD), **changes}))


NATIVE = ProvisioningPlan(how=Mode.SYSTEM, text="programs that need neither", standalone=True)
PUSHED = {"litert": ProvisioningPlan(how=Mode.WHEELS, text="pushed"), "native": NATIVE}


def place(**changes):
    told = {"folder": "/home/pi", "writable": True, "noexec": False, "alternative": "/var/tmp/ours"}
    return Place(**{**told, **changes})


def test_a_quiet_board_is_fit():
    checks = preflight.checks(seen())
    assert {check.status for check in checks} == {Status.OK}
    assert preflight.is_ready(checks)
    assert len({check.name for check in checks}) == len(checks)


BIG_LITTLE = tuple(Core(index=index, max_khz=khz) for index, khz in enumerate((10**6, 2 * 10**6)))


@pytest.mark.parametrize(
    ("case", "name", "status", "told", "remedy"),
    [
        (
            changed(frequencies=(frequency("ondemand"),), rights="sudo"),
            "governor",
            Status.WARN,
            "ondemand",
            "bench --host pi --governor performance",
        ),
        (
            changed(frequencies=(frequency("powersave"),)),
            "governor",
            Status.FAIL,
            "powersave",
            "tee /sys/devices",
        ),
        (
            changed(frequencies=(frequency("powersave", driver="intel_pstate"),)),
            "governor",
            Status.WARN,
            "powersave",
            "tee",
        ),
        (
            changed(frequencies=(frequency(max_khz=1_200_000),)),
            "frequency limit",
            Status.FAIL,
            "1200 of 1800 MHz",
            "scaling_max_freq",
        ),
        (
            seen(sensors=SensorReading(temperature_c={"cpu-thermal": 74.0})),
            "temperature",
            Status.WARN,
            "slows down at 80",
            "--max-temperature 60",
        ),
        (
            seen(sensors=SensorReading(temperature_c={"cpu-thermal": 81.0})),
            "temperature",
            Status.FAIL,
            "81",
            "--max-temperature",
        ),
        (changed(throttled=0x50005), "power", Status.FAIL, "under-voltage, throttled", "vcgencmd"),
        (changed(throttled=0x50000), "power", Status.WARN, "in the past", "vcgencmd"),
        (changed(busy_cores=0.4), "load", Status.WARN, "0.4 of 4", "top"),
        (changed(busy_cores=2.0), "load", Status.FAIL, "2.0 of 4", "top"),
        (changed(memory_available_bytes=GIB // 2), "memory", Status.WARN, "512 MiB", "int8"),
        (changed(memory_available_bytes=GIB // 8), "memory", Status.FAIL, "128 MiB", "int8"),
        (changed(swap_used_bytes=GIB), "swap", Status.WARN, "1024 MiB", "swapoff"),
        (changed(clock_step_ns=10_000_000), "clock", Status.FAIL, "10000000 ns", "clocksource"),
        (changed(clock_read_ns=5_000), "clock", Status.WARN, "5000 ns to read", "clocksource"),
        (seen(free_bytes=50 << 20), "disk", Status.FAIL, "0.1 GB", "clean --host pi"),
        (seen(free_bytes=300 << 20), "disk", Status.WARN, "0.3 GB", "clean --host pi"),
        (seen(cores=BIG_LITTLE), "cores", Status.WARN, "1x 2.0 GHz + 1x 1.0 GHz", "--cpus big"),
        (seen(python=None, arch="mips"), "python", Status.FAIL, "none", "install python3"),
        (
            seen(python=None, arch="mips", plans=PUSHED),
            "python",
            Status.WARN,
            "none",
            "bench --host pi --runtime native",
        ),
        (
            seen(place=place(writable=False)),
            "folder",
            Status.FAIL,
            "/home/pi cannot be written",
            "SHUFFLENET_DEPLOY_ROOT=/var/tmp/ours shufflenet-deploy bench --host pi",
        ),
        (
            seen(place=place(noexec=True), plans=PUSHED),
            "folder",
            Status.FAIL,
            "/home/pi is mounted noexec",
            "SHUFFLENET_DEPLOY_ROOT=/var/tmp/ours",
        ),
        (
            seen(place=place(noexec=True, alternative=None)),
            "folder",
            Status.WARN,
            "noexec",
            "SHUFFLENET_DEPLOY_ROOT=/folder",
        ),
        (
            seen(host="adb:A (2)", free_bytes=50 << 20),
            "disk",
            Status.FAIL,
            "0.1 GB",
            "--host 'adb:A (2)'",
        ),
        (seen(measuring_for="ann@laptop, for 3 s"), "in use", Status.FAIL, "ann", "doctor"),
        (
            seen(sensors=SensorReading(battery_percent=9, battery_status="discharging")),
            "battery",
            Status.WARN,
            "9 %, discharging",
            "charge",
        ),
        (seen(sensors=SensorReading(screen="off")), "screen", Status.WARN, "off", "stayon"),
        (
            seen(plans={"litert": ProvisioningPlan(how=None, text="no wheel")}),
            "litert",
            Status.FAIL,
            "cannot be had",
            "install Python",
        ),
        (
            seen(
                plans={
                    "a": ProvisioningPlan(how=None, text="no wheel"),
                    "litert": ProvisioningPlan(how=Mode.WHEELS, text=""),
                }
            ),
            "a",
            Status.WARN,
            "cannot be had",
            "--runtime litert",
        ),
        (
            seen(
                plans={
                    "a": ProvisioningPlan(how=None, text="built without it", remedy="build it"),
                    "litert": ProvisioningPlan(how=Mode.WHEELS, text=""),
                }
            ),
            "a",
            Status.WARN,
            "cannot be had",
            "build it",
        ),
        # Alone, too: its own remedy, not that of a machine without Python.
        (
            seen(plans={"a": ProvisioningPlan(how=None, text="built without", remedy="build it")}),
            "a",
            Status.FAIL,
            "cannot be had",
            "build it",
        ),
    ],
)
def test_what_spoils_figures(case, name, status, told, remedy):
    checks = preflight.checks(case)
    bad = [check for check in checks if check.status is not Status.OK]
    assert [(check.name, check.status) for check in bad] == [(name, status)]
    assert told in bad[0].value
    assert remedy in bad[0].remedy
    assert bad[0].why
    assert preflight.is_ready(checks) is (status is not Status.FAIL)


def test_unlike_cores_of_a_phone_are_taken_care_of():
    checks = {
        check.name: check for check in preflight.checks(seen(cores=BIG_LITTLE, transport="adb"))
    }
    assert checks["cores"].status is Status.OK
    assert "bound to the fastest" in checks["cores"].value


def test_a_change_of_ours_is_told_with_the_way_back():
    checks = {check.name: check for check in preflight.checks(changed(noted=("governors",)))}
    assert "restore --host pi" in checks["governor"].value


def test_native_programs_need_no_python():
    checks = preflight.checks(seen(python=None, libc=None, arch="mips", plans={"native": NATIVE}))
    told = {check.name: check for check in checks}
    assert preflight.is_ready(checks)
    assert told["python"].status is told["native"].status is Status.OK
    assert "native programs need none" in told["python"].value
    assert told["native"].value == "programs that need neither"


def test_a_folder_that_can_be_used_is_named():
    told = {check.name: check for check in preflight.checks(seen(place=place()))}
    assert told["folder"].status is Status.OK
