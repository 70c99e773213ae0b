"""Readings of a target's sensors of power and energy beside one process, kept raw."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from shufflenet_deploy.bounded import Name, Size, Text
from shufflenet_deploy.records.basics import Record

#: Begin and end of a time in ns of the target's monotonic clock.
Window = tuple[Size, Size]


class SensorTrace(Record):
    """All readings of one sensor.

    ``values`` are in uW where ``kind`` is power, in uJ of a growing counter where it is energy;
    each was read ``at_ns``. ``update_ns`` is the sensor's own interval where the kernel tells it,
    ``resolution`` the smallest step between two readings, in the unit of the values.
    """

    name: Name
    kind: Literal["power", "energy"]
    update_ns: Size | None = None
    resolution: Size | None = None
    at_ns: tuple[Size, ...]
    values: tuple[Size, ...]

    @model_validator(mode="after")
    def _together(self) -> Self:
        if len(self.at_ns) != len(self.values):
            raise ValueError("not every reading has a time")
        if any(after < before for before, after in zip(self.at_ns, self.at_ns[1:], strict=False)):
            raise ValueError("readings that are not in the order of time")
        return self


class EnergyTrace(Record):
    """What the sensors of the target read before, beside and after one process.

    ``steady_ns`` is the time of the samples, ``idle_before_ns`` and ``idle_after_ns`` those when
    nothing was measured. Sensors were read every ``interval_ns``. Without ``sensors`` the energy
    was not measurable, and ``reason`` says why.
    """

    interval_ns: Size = 0
    steady_ns: Window = (0, 0)
    idle_before_ns: Window = (0, 0)
    idle_after_ns: Window = (0, 0)
    sensors: tuple[SensorTrace, ...] = Field(default=(), max_length=256)
    reason: Text = ""


#: Why there is no energy of a target without sensors.
NO_SENSOR = "not measurable here: no sensor"
