"""Reading how warm a target is, and a phone's battery and screen."""

from __future__ import annotations

import pytest

from shufflenet_deploy.target.sensors import SensorReading, read_sensors

PHONE = """\
zone 41300 cpu-0-0-usr
zone 46900 cpu-1-0-usr
zone 52000 pa-therm0
zone -274000 absent-sensor
zone 32 battery
Current Battery Service state:
  AC powered: false
  USB powered: true
  status: 2
  health: 2
  level: 81
  temperature: 274
  mWakefulness=Asleep
Display Power: state=OFF
"""


def test_a_phone():
    state = read_sensors(PHONE)
    assert state == SensorReading(
        temperature_c={
            "cpu-0-0-usr": 41.3,
            "cpu-1-0-usr": 46.9,
            "pa-therm0": 52.0,
            "battery": 32.0,
        },
        battery_percent=81,
        battery_status="charging",
        screen="off",
    )
    assert state.hottest_c == 46.9


def test_a_raspberry_pi():
    state = read_sensors("zone 48312 cpu-thermal\n")
    assert state.hottest_c == 48.312
    assert state.as_json() == {"temperature_c": {"cpu-thermal": 48.312}}


def test_the_battery_s_own_sensor_serves_when_there_is_no_other():
    assert read_sensors("  level: 5\n  temperature: 301\n").hottest_c == 30.1


@pytest.mark.parametrize("printed", ["", "zone  \nzone x y\n", "zone 0 acpitz\n"])
def test_nothing_told(printed):
    assert read_sensors(printed).hottest_c is None
    assert read_sensors(printed).as_json() == {}


def test_the_screen():
    assert read_sensors("  mWakefulness=Awake\n").screen == "on"
    assert read_sensors("Display Power: state=ON\n").screen == "on"
    assert read_sensors("Display Power: state=DOZE\n").screen == "off"
