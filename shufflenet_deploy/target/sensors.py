"""Sensors of a target at one moment, read by its own ``sh``, so that no Python is needed there."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field

from shufflenet_deploy.target import answers, plausibility

# `dumpsys` is Android's; phones hide most of /sys from the shell user.
SCRIPT = """\
for zone in /sys/class/thermal/thermal_zone*; do
    type= temp=
    read -r type <"$zone/type" && read -r temp <"$zone/temp" && echo "zone $temp $type"
done 2>/dev/null
command -v dumpsys >/dev/null 2>&1 && {
    dumpsys battery
    dumpsys power | grep -E 'mWakefulness=|Display Power: state='
}
exit 0
"""

_CPU_ZONE = re.compile(r"cpu|soc|core|pkg|tsens|apss|cluster", re.IGNORECASE)
_BATTERY_STATUS = {2: "charging", 3: "discharging", 4: "not charging", 5: "full"}


@dataclass(frozen=True, kw_only=True)
class SensorReading:
    """Temperatures by sensor, in degrees Celsius, and a phone's battery and screen; None where the
    target does not report them.
    """

    temperature_c: dict[str, float] = field(default_factory=dict)
    battery_percent: int | None = None
    battery_status: str | None = None
    screen: str | None = None

    @property
    def hottest_c(self) -> float | None:
        """Maximum over the sensors near the processor, or over all where none is named so."""
        near = {name: value for name, value in self.temperature_c.items() if _CPU_ZONE.search(name)}
        return max((near or self.temperature_c).values(), default=None)

    def as_json(self) -> dict[str, object]:
        """Readings that the target reports, ready for JSON."""
        return {name: value for name, value in asdict(self).items() if value not in (None, {})}


def read_sensors(printed: str) -> SensorReading:
    """Read what ``SCRIPT`` printed. Pure: a captured text can be replayed."""
    temperatures: dict[str, float] = {}
    for number, sensor in re.findall(r"^zone (-?[0-9]{1,9}) (.+)$", printed, re.MULTILINE):
        degrees = plausibility.celsius(float(number))
        name = answers.name(sensor)
        if name is not None and degrees is not None:
            temperatures[name] = max(degrees, temperatures.get(name, degrees))
    battery = dict(re.findall(r"^[ \t]+(\w{1,40}): (-?[0-9]{1,9})[ \t\r]*$", printed, re.MULTILINE))
    battery_c = int(battery.get("temperature", 0)) / 10
    if plausibility.is_temperature(battery_c):
        temperatures.setdefault("battery", battery_c)
    return SensorReading(
        temperature_c=temperatures,
        battery_percent=answers.number(battery.get("level"), most=100),
        battery_status=_BATTERY_STATUS.get(int(battery.get("status", 0))),
        screen=_screen(printed),
    )


def _screen(printed: str) -> str | None:
    match = re.search(r"mWakefulness=(\w+)|Display Power: state=(\w+)", printed)
    if match is None:
        return None
    return "on" if (match[1] or match[2]).lower() in {"awake", "on"} else "off"
