"""Energy of a time from the readings of a sensor, with bounds that hold the true value.

No figure is extrapolated: where readings do not cover a time there is no energy of it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from shufflenet_deploy.records import SensorTrace

_MICRO = 1e-6


@dataclass(frozen=True, kw_only=True)
class EnergyInterval:
    """An energy in joules: the estimate, and the least and the most that the readings allow."""

    joules: float
    low: float
    high: float

    def per(self, count: float) -> EnergyInterval:
        """The same divided by a number of inferences, or by seconds for watts."""
        return EnergyInterval(
            joules=self.joules / count, low=self.low / count, high=self.high / count
        )


def energy(trace: SensorTrace, begin_ns: int, end_ns: int) -> EnergyInterval | None:
    """The energy between two moments; None where the readings do not reach from one to the other.

    Of a counter the bounds are its growth between the readings just inside of the time and between
    those just outside. Power is integrated by trapezoids; it lies between the least and the
    greatest of neighbouring readings, those within the sensor's own interval included, which
    bounds the integral as long as it does not rise and fall between two of them. Half a step of the
    resolution is added to both sides.
    """
    at, values = trace.at_ns, trace.values
    if end_ns <= begin_ns or not at or at[0] > begin_ns or at[-1] < end_ns:
        return None
    if trace.kind == "energy":
        return _of_counter(trace, begin_ns, end_ns)
    half, late = (trace.resolution or 0) / 2, lag_ns(trace)
    estimate = low = high = 0.0
    first, last = bisect_right(at, begin_ns) - 1, bisect_left(at, end_ns)
    for place in range(first, last):
        left, right = max(at[place], begin_ns), min(at[place + 1], end_ns)
        secs = max(0, right - left) / 1e9
        until = bisect_right(at, at[place + 1] + late)
        around = values[place : max(until, place + 2)]
        estimate += secs * (_at(trace, left) + _at(trace, right)) / 2
        low += secs * max(0.0, min(around) - half)
        high += secs * (max(around) + half)
    return EnergyInterval(joules=estimate * _MICRO, low=low * _MICRO, high=high * _MICRO)


def _of_counter(trace: SensorTrace, begin_ns: int, end_ns: int) -> EnergyInterval:
    at, values = trace.at_ns, trace.values
    # The counter shows what was used up to one of its own intervals ago.
    late = lag_ns(trace)
    step = trace.resolution or 0
    before, after = bisect_right(at, begin_ns) - 1, bisect_left(at, end_ns)
    inside_first = bisect_left(at, begin_ns + late)
    inside_last = bisect_right(at, end_ns) - 1
    outside_last = min(bisect_left(at, end_ns + late), len(at) - 1)
    inside = values[inside_last] - values[inside_first] if inside_last > inside_first else 0
    outside = values[max(after, outside_last)] - values[before]
    estimate = _at(trace, end_ns) - _at(trace, begin_ns)
    return EnergyInterval(
        joules=estimate * _MICRO,
        low=max(0, inside - step) * _MICRO,
        high=(outside + step) * _MICRO,
    )


def _at(trace: SensorTrace, moment_ns: int) -> float:
    """The value at a moment, on the line between the readings around it."""
    after = bisect_left(trace.at_ns, moment_ns)
    if after == 0 or trace.at_ns[after] == moment_ns:
        return float(trace.values[after])
    left, right = trace.at_ns[after - 1], trace.at_ns[after]
    share = (moment_ns - left) / (right - left)
    return trace.values[after - 1] + share * (trace.values[after] - trace.values[after - 1])


def lag_ns(trace: SensorTrace) -> int:
    """How old a reading may be: the sensor's own interval, else the usual time between changes."""
    if trace.update_ns is not None:
        return trace.update_ns
    changed = [
        at
        for at, before, after in zip(trace.at_ns[1:], trace.values, trace.values[1:], strict=False)
        if before != after
    ]
    gaps = sorted(after - before for before, after in pairwise(changed))
    return gaps[len(gaps) // 2] if gaps else 0


def updates_per_sec(trace: SensorTrace) -> float:
    """How often the sensor gave another value than before, per second of its trace."""
    changes = sum(a != b for a, b in pairwise(trace.values))
    secs = (trace.at_ns[-1] - trace.at_ns[0]) / 1e9 if len(trace.at_ns) > 1 else 0.0
    return changes / secs if secs else 0.0


def widest(traces: Sequence[SensorTrace], begin_ns: int, end_ns: int) -> SensorTrace | None:
    """The sensor that read most in a time: a rail that feeds others reads what they do and more."""
    found = [(energy(one, begin_ns, end_ns), one) for one in traces]
    known = [(one.joules, trace) for one, trace in found if one is not None]
    return max(known, key=lambda pair: pair[0])[1] if known else None
