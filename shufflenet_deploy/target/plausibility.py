"""Plausibility of sensor readings: temperatures and core frequencies of a kernel -> values or None.

The limits are those of ``device_scripts/protocol.json``, which states them for every program that
reads sensors on a target. What lies outside comes from an absent, broken or unpowered sensor.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from shufflenet_deploy.atomic_files import resource
from shufflenet_deploy.bounded import parse_json


@cache
def _limits(quantity: str) -> dict[str, Any]:
    text = resource("device_scripts", "protocol.json").read_text(encoding="utf-8")
    limits: dict[str, Any] = parse_json(text)["plausibility"][quantity]
    return limits


def celsius(reading: float) -> float | None:
    """Convert a thermal zone's reading to degrees Celsius; None if it is not plausible."""
    in_degrees = abs(reading) <= _limits("temperature")["max_degrees_reading"]
    degrees = reading if in_degrees else reading / 1000
    return degrees if is_temperature(degrees) else None


def is_temperature(degrees: float) -> bool:
    """Return True for a temperature in degrees Celsius that a working sensor may report."""
    limits = _limits("temperature")
    return degrees != 0 and bool(limits["min_c"] < degrees < limits["max_c"])


def is_frequency(khz: int) -> bool:
    """Return True for a frequency in kHz at which a core may run."""
    limits = _limits("frequency")
    return bool(limits["min_khz"] <= khz <= limits["max_khz"])
