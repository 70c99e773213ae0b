"""The energy of known waveforms lies within the bounds that their readings give."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shufflenet_deploy.records import EnergyTrace, SensorTrace
from shufflenet_deploy.report import energy_figures
from shufflenet_deploy.stats.energy import energy, lag_ns, updates_per_sec, widest

SECOND = 1_000_000_000
STEP = SECOND // 50


def trace(power_uw, *, secs=10.0, step=STEP, update_ns=None, resolution=1, kind="power"):
    at = range(0, int(secs * SECOND) + 1, step)
    return SensorTrace(
        name="rail",
        kind=kind,
        update_ns=update_ns,
        resolution=resolution,
        at_ns=tuple(at),
        values=tuple(round(power_uw(one)) for one in at),
    )


#: Power in uW at a time in ns, and its integral in uJ.
WAVES = {
    "constant": (lambda _: 2e6, lambda at: 2e6 * at / SECOND),
    "ramp": (lambda at: 1e6 * at / SECOND, lambda at: 0.5e6 * (at / SECOND) ** 2),
    "sine": (
        lambda at: 3e6 + 1e6 * math.sin(2 * math.pi * at / SECOND),
        lambda at: 3e6 * at / SECOND + 1e6 / 2 / math.pi * -math.cos(2 * math.pi * at / SECOND),
    ),
    # 4 W for 0.3 s, 1 W for 0.7 s.
    "pulses": (
        lambda at: 4e6 if at % SECOND < 0.3 * SECOND else 1e6,
        lambda at: (
            1.9e6 * (at // SECOND)
            + 4e6 * min(at % SECOND / SECOND, 0.3)
            + 1e6 * max(at % SECOND / SECOND - 0.3, 0)
        ),
    ),
}
moments = st.integers(0, 10 * SECOND)


@settings(max_examples=60, deadline=None)
@given(wave=st.sampled_from(sorted(WAVES)), one=moments, other=moments)
def test_the_true_energy_lies_within_the_bounds_of_power(wave, one, other):
    begin, end = min(one, other), max(one, other)
    if begin == end:
        return
    power, integral = WAVES[wave]
    found = energy(trace(power), begin, end)
    true = (integral(end) - integral(begin)) / 1e6
    # Readings are rounded to a microwatt, which the resolution covers.
    assert found.low - 1e-6 <= true <= found.high + 1e-6
    assert found.low <= found.joules <= found.high


@settings(max_examples=60, deadline=None)
@given(
    wave=st.sampled_from(sorted(WAVES)),
    one=moments,
    other=moments,
    late=st.sampled_from([0, STEP // 3, 3 * STEP]),
)
def test_the_true_energy_lies_within_the_bounds_of_a_counter(wave, one, other, late):
    """One that is brought up to date every ``late`` ns only."""
    begin, end = min(one, other), max(one, other)
    end = min(end, 10 * SECOND - late)
    if begin >= end:
        return
    integral = WAVES[wave][1]
    counter = trace(
        lambda at: integral(at // late * late if late else at) - integral(0),
        kind="energy",
        update_ns=late,
    )
    found = energy(counter, begin, end)
    true = (integral(end) - integral(begin)) / 1e6
    assert found.low - 1e-5 <= true <= found.high + 1e-5


def test_bounds_are_narrow_over_seconds_where_the_kernel_tells_the_interval():
    for power, integral in WAVES.values():
        found = energy(trace(power, update_ns=1_000_000), SECOND, 9 * SECOND)
        true = (integral(9 * SECOND) - integral(SECOND)) / 1e6
        assert found.joules == pytest.approx(true, rel=0.01)
        assert found.high - found.low < 0.1 * true


def test_a_sensor_that_is_slower_than_its_reader_widens_the_bounds():
    """It holds each value for 0.2 s; pulses would fall between the bounds of neighbours."""
    power, integral = WAVES["pulses"]
    slow = trace(lambda at: power(at // (SECOND // 5) * (SECOND // 5)))
    assert lag_ns(slow) >= SECOND // 5
    found = energy(slow, SECOND, 9 * SECOND)
    true = (integral(9 * SECOND) - integral(SECOND)) / 1e6
    assert found.low <= true <= found.high


def test_what_the_readings_do_not_cover_has_no_energy():
    held = trace(WAVES["constant"][0], secs=2)
    assert energy(held, SECOND, 3 * SECOND) is None
    assert energy(held, SECOND, SECOND) is None
    empty = held.model_copy(update={"at_ns": (), "values": ()})
    assert energy(empty, 0, SECOND) is None


def test_readings_have_times_in_order():
    fields = {"name": "x", "kind": "power", "values": (1, 2)}
    for times in ((1,), (2, 1)):
        with pytest.raises(ValueError, match="time"):
            SensorTrace.model_validate({**fields, "at_ns": times})


def test_the_widest_sensor_counts_and_the_figures_are_per_inference():
    part, whole = trace(lambda _: 1e6), trace(lambda _: 5e6).model_copy(update={"name": "all"})
    assert widest((part, whole), 0, SECOND) is whole
    told = EnergyTrace(
        interval_ns=STEP,
        steady_ns=(3 * SECOND, 7 * SECOND),
        idle_before_ns=(0, 2 * SECOND),
        idle_after_ns=(8 * SECOND, 10 * SECOND),
        sensors=(part, whole),
    )
    found = energy_figures.of_processes([(told, 100), (told, 100), (told, 50)])
    assert found.sensor == "all"
    assert found.joules == pytest.approx(0.2)
    assert found.high == pytest.approx(0.4, rel=1e-3)
    assert found.watts == pytest.approx(5)
    assert found.idle_before_watts == pytest.approx(5)
    assert found.interval_ms == 20
    assert updates_per_sec(whole) == 0


def test_without_a_sensor_there_is_a_reason_and_no_figure():
    found = energy_figures.of_processes([(EnergyTrace(reason="no sensor here"), 10)])
    assert (found.joules, found.reason) == (None, "no sensor here")
    assert energy_figures.of_processes([(None, 10)]) is None
    short = EnergyTrace(steady_ns=(0, 99 * SECOND), sensors=(trace(lambda _: 1),))
    assert energy_figures.of_processes([(short, 10)]).reason == energy_figures.NOT_COVERED


def test_the_waves_are_what_they_say():
    for power, integral in WAVES.values():
        for before, after in pairwise(range(0, 2 * SECOND, SECOND // 997)):
            slope = (integral(after) - integral(before)) / ((after - before) / SECOND)
            between = sorted((power(before), power(after)))
            assert between[0] - 1e4 <= slope <= between[1] + 1e4
