"""Inferences at a fixed rate: latency from arrival and missed deadlines, for terminal and page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from shufflenet_deploy import stats
from shufflenet_deploy.records import Cell, Paced, Run
from shufflenet_deploy.report import energy_figures, formatting
from shufflenet_deploy.report.page_part import Part
from shufflenet_deploy.stats.attempts import CellRuns

_HEADER = ("cell", "p50", "p90", "p99", "missed", "inference", "back to back")


@dataclass(frozen=True, kw_only=True)
class PacedFigures:
    """Quantiles of the latencies from arrival in ns, of the samples of all processes together.

    ``inference`` is the median of the runtime's call alone. ``missed`` counts results that came
    after the next arrival. ``keeps_up`` is False where the call takes longer than a period, so that
    images queue and the latency grows for as long as it lasts.
    """

    p50: float
    p90: float
    p99: float
    inference: float
    samples: int
    missed: int
    keeps_up: bool

    @classmethod
    def of(cls, processes: Sequence[Paced]) -> PacedFigures | None:
        """None where no process measured."""
        latencies = [sample for one in processes for sample in one.latency]
        calls = [sample for one in processes for sample in one.inference]
        if not latencies:
            return None
        digest = stats.summary(latencies)
        inference = stats.median(calls)
        return cls(
            p50=stats.median(latencies),
            p90=digest.p90,
            p99=digest.p99,
            inference=inference,
            samples=digest.count,
            missed=sum(one.missed for one in processes),
            keeps_up=inference <= processes[0].period_ns,
        )


def figures(one: Paced) -> dict[str, Any]:
    """The figures of one process for ``--json``, in ns."""
    found = PacedFigures.of([one])
    if found is None:
        return {}
    joules = energy_figures.of_processes([(one.energy, len(one.latency))])
    return {
        "joules": joules.joules if joules is not None else None,
        "p50_ns": found.p50,
        "p90_ns": found.p90,
        "p99_ns": found.p99,
        "inference_ns": found.inference,
        "samples": found.samples,
        "missed": found.missed,
        "keeps_up": found.keeps_up,
    }


def summary(processes: Sequence[Paced], runs: Iterable[Run]) -> str:
    """Lines for a terminal, one per cell, with the figure of the same cell back to back."""
    measured = list(runs)
    parts = []
    for rate, cells in _by_rate(processes).items():
        rows = [_HEADER, *_rows(cells, measured)]
        parts += [_title(rate, cells), *formatting.below_names(rows)]
        parts += [f"  {text}" for text in _remarks(cells)]
    return "\n".join(parts)


def part(processes: Sequence[Paced], runs: Iterable[Run]) -> list[Part]:
    """Sections of the report page, one per rate."""
    measured = list(runs)
    return [
        Part(
            title=f"At {rate:g} inferences per second",
            text=". ".join((_title(rate, cells), *_remarks(cells))) + ".",
            header=_HEADER,
            rows=tuple(_rows(cells, measured)),
        )
        for rate, cells in _by_rate(processes).items()
    ]


_Cells = dict[tuple[str, Cell], list[Paced]]


def _by_rate(processes: Sequence[Paced]) -> dict[float, _Cells]:
    found: dict[float, _Cells] = {}
    for one in sorted(processes, key=lambda one: (one.rate_hz, one.cell.display_order)):
        found.setdefault(one.rate_hz, {}).setdefault((one.target.host, one.cell), []).append(one)
    return found


def _title(rate_hz: float, cells: _Cells) -> str:
    loads = {one.spec.background_load for ones in cells.values() for one in ones}
    load = f", beside {formatting.busy_processes(max(loads))}" if max(loads) else ""
    return (
        f"at {rate_hz:g} inferences per second{load}: ms from an image's arrival to its result; "
        f"missed: later than the next arrival, {formatting.figure(1e3 / rate_hz)} ms"
    )


def _remarks(cells: _Cells) -> list[str]:
    names = formatting.place_names(cells)
    late = [
        names[place]
        for place, ones in cells.items()
        if (found := PacedFigures.of(ones)) is not None and not found.keeps_up
    ]
    failed = [
        f"{names[place]} failed: {one.failure.message}"
        for place, ones in cells.items()
        for one in ones
        if one.failure is not None
    ]
    return [
        *_energy_remarks(cells),
        *(f"{name} does not keep up: images queue, and latency grows with time" for name in late),
        *failed,
    ]


def _energy_remarks(cells: _Cells) -> list[str]:
    """Energy per arrival: what the target takes while it waits is part of it."""
    remarks, names = [], formatting.place_names(cells)
    for place, ones in cells.items():
        found = energy_figures.of_processes([(one.energy, len(one.latency)) for one in ones])
        if found is not None and found.joules is not None:
            shown = f"{formatting.figure(found.joules * 1e3)} mJ per arrival, waiting included"
            remarks.append(f"{names[place]}: {shown}")
        elif found is not None:
            remarks.append(f"energy of {names[place]}: {found.reason}")
    return remarks


def _rows(cells: _Cells, runs: Sequence[Run]) -> list[tuple[str, ...]]:
    names = formatting.place_names(cells)
    return [(names[place], *_values(place, ones, runs)) for place, ones in cells.items()]


def _values(place: tuple[str, Cell], ones: Sequence[Paced], runs: Sequence[Run]) -> tuple[str, ...]:
    """What stands beside a cell's name."""
    host, cell = place
    found = PacedFigures.of(ones)
    if found is None:
        return ("failed", *[""] * (len(_HEADER) - 2))
    kept = CellRuns.of([one for one in runs if one.cell == cell and one.target.host == host]).kept
    plain = stats.samples_of(kept)
    return (
        *(_ms(value) for value in (found.p50, found.p90, found.p99)),
        f"{found.missed}/{found.samples}",
        _ms(found.inference),
        _ms(stats.center(plain)) if plain else formatting.ABSENT,
    )


def _ms(value: float) -> str:
    return formatting.figure(value / formatting.SCALE)
