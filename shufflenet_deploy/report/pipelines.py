"""Images end to end: the median of each stage and of the whole, for terminal and page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shufflenet_deploy import stats
from shufflenet_deploy.records import Cell, Pipeline
from shufflenet_deploy.report import formatting
from shufflenet_deploy.report.page_part import Part

_Cells = dict[tuple[str, Cell], list[Pipeline]]


def figures(one: Pipeline) -> dict[str, Any]:
    """The figures of one process for ``--json``, in ns."""
    if not one.total:
        return {}
    return {
        "stage_ns": {name: stats.median(values) for name, values in one.stages.items()},
        "total_ns": stats.median(one.total),
        "samples": len(one.total),
    }


def summary(processes: Sequence[Pipeline]) -> str:
    """Lines for a terminal: the figures of each cell below its name."""
    cells = _cells(processes)
    header = _header(cells)
    rows = [header, *_rows(cells, header)]
    lines = [_title(processes), *formatting.below_names(rows)]
    return "\n".join([*lines, *(f"  {text}" for text in _failures(cells))])


def part(processes: Sequence[Pipeline]) -> list[Part]:
    """The section of the report page; none where there is nothing."""
    if not processes:
        return []
    cells = _cells(processes)
    header = _header(cells)
    return [
        Part(
            title="Images end to end",
            text=". ".join((_title(processes), *_failures(cells))) + ".",
            header=header,
            rows=tuple(_rows(cells, header)),
        )
    ]


def _cells(processes: Sequence[Pipeline]) -> _Cells:
    found: _Cells = {}
    for one in sorted(processes, key=lambda one: one.cell.display_order):
        found.setdefault((one.target.host, one.cell), []).append(one)
    return found


def _header(cells: _Cells) -> tuple[str, ...]:
    measured = [one.stages for ones in cells.values() for one in ones]
    stages = dict.fromkeys(name for one in measured for name in one)
    # Only native programs have a pipe.
    used = [name for name in stages if any(any(one.get(name, ())) for one in measured)]
    return ("cell", *used, "together", "per s")


def _title(processes: Sequence[Pipeline]) -> str:
    count = processes[0].images
    images = "1 image" if count == 1 else f"{count} images"
    return (
        f"end to end, {images} by turns: ms of each stage and together, medians over the processes"
    )


def _rows(cells: _Cells, header: Sequence[str]) -> list[tuple[str, ...]]:
    names = formatting.place_names(cells)
    return [(names[place], *_values(ones, header)) for place, ones in cells.items()]


def _values(ones: Sequence[Pipeline], header: Sequence[str]) -> tuple[str, ...]:
    """What stands beside a cell's name."""
    measured = [one for one in ones if one.total]
    if not measured:
        return ("failed", *[""] * (len(header) - 2))
    stages = [
        stats.median([stats.median(one.stages[name]) for one in measured if name in one.stages])
        for name in header[1:-2]
    ]
    total = stats.median([stats.median(one.total) for one in measured])
    shown = (formatting.figure(value / formatting.SCALE) for value in (*stages, total))
    return (*shown, formatting.figure(1e9 / total))


def _failures(cells: _Cells) -> list[str]:
    names = formatting.place_names(cells)
    return [
        f"{names[place]} failed: {one.failure.message}"
        for place, ones in cells.items()
        for one in ones
        if one.failure is not None
    ]
