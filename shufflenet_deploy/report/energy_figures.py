"""Energy per inference of a cell, from the readings beside its processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from shufflenet_deploy.records import NO_SENSOR, EnergyTrace, Measurement, Run, SensorTrace
from shufflenet_deploy.report.table_model import CellEnergy
from shufflenet_deploy.stats import energy
from shufflenet_deploy.stats.energy import EnergyInterval

NOT_COVERED = "not measurable here: the sensor gave too few readings while sampling"


@dataclass(frozen=True, kw_only=True)
class _Process:
    """The figures of one process by one sensor."""

    each: EnergyInterval
    watts: float
    before: float | None
    after: float | None
    trace: SensorTrace
    interval_ns: int


def of_runs(measured: Sequence[Run]) -> CellEnergy | None:
    """The energy of a cell's processes; None where it was not asked for."""
    outcomes = [run.outcome for run in measured if isinstance(run.outcome, Measurement)]
    return of_processes([(one.energy, len(one.samples)) for one in outcomes if one.energy])


def of_processes(processes: Sequence[tuple[EnergyTrace | None, int]]) -> CellEnergy | None:
    """The same of traces, each with the number of inferences in its steady state."""
    traces = [(trace, count) for trace, count in processes if trace is not None]
    if not traces:
        return None
    chosen = [found for trace, count in traces if (found := _by_widest(trace, count))]
    if not chosen:
        reasons = [trace.reason for trace, _ in traces if trace.reason]
        return CellEnergy(reason=next(iter(reasons), NO_SENSOR if _blind(traces) else NOT_COVERED))
    name = chosen[0].trace.name
    alike = [one for one in chosen if one.trace.name == name]
    befores = [one.before for one in alike if one.before is not None]
    afters = [one.after for one in alike if one.after is not None]
    steps = [one.trace.resolution for one in alike if one.trace.resolution is not None]
    return CellEnergy(
        sensor=name,
        joules=median(one.each.joules for one in alike),
        low=min(one.each.low for one in alike),
        high=max(one.each.high for one in alike),
        watts=median(one.watts for one in alike),
        idle_before_watts=median(befores) if befores else None,
        idle_after_watts=median(afters) if afters else None,
        interval_ms=alike[0].interval_ns / 1e6,
        updates_per_sec=fmean(energy.updates_per_sec(one.trace) for one in alike),
        resolution=min(steps, default=None),
    )


def _blind(traces: Sequence[tuple[EnergyTrace, int]]) -> bool:
    return not any(trace.sensors for trace, _ in traces)


def _by_widest(trace: EnergyTrace, count: int) -> _Process | None:
    begin, end = trace.steady_ns
    sensor = energy.widest(trace.sensors, begin, end)
    steady = energy.energy(sensor, begin, end) if sensor is not None else None
    if sensor is None or steady is None:
        return None
    return _Process(
        each=steady.per(count),
        watts=steady.joules / ((end - begin) / 1e9),
        before=_watts(sensor, *trace.idle_before_ns),
        after=_watts(sensor, *trace.idle_after_ns),
        trace=sensor,
        interval_ns=trace.interval_ns,
    )


def _watts(sensor: SensorTrace, begin_ns: int, end_ns: int) -> float | None:
    """Mean power of an idle time, between its first and its last reading."""
    inside = [at for at in sensor.at_ns if begin_ns <= at <= end_ns]
    if len(inside) < 2:
        return None
    found = energy.energy(sensor, inside[0], inside[-1])
    return found.joules / ((inside[-1] - inside[0]) / 1e9) if found is not None else None
