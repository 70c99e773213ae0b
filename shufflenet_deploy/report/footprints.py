"""Memory, costs of the start, and energy beside the figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shufflenet_deploy.records import Metric
from shufflenet_deploy.report import formatting
from shufflenet_deploy.report.overview import Figure, Overview, named, side_by_side, together
from shufflenet_deploy.report.table import Table
from shufflenet_deploy.report.table_model import Block, CellEnergy, Footprint, TableCell

_ENERGY = ("mJ", "bounds", "W", "idle W")
_BYTES = ("file", "arena", "model", "peak")
#: The columns that tell settings apart where several stand in one table.
_SETTING = ("Runtime", "Type", "Threads")


def overviews(table: Table) -> tuple[Overview, ...]:
    """What stands after the blocks: settings side by side, then their footprints and energy."""
    return (*side_by_side(table), *footprints(table), *energies(table))


def footprints(table: Table) -> tuple[Overview, ...]:
    """One table per suite, target and metric in which something was measured."""
    measured = (block for block in table.blocks if _found(block))
    return tuple(map(_footprints, together(measured)))


def _found(block: Block) -> list[Footprint]:
    return [entry.footprint for _, entry in block.entries() if entry.footprint is not None]


def _footprints(blocks: Sequence[Block]) -> Overview:
    unit = formatting.unit(blocks[0].setting.metric)
    arena = any(one.arena_bytes is not None for block in blocks for one in _found(block))
    shown = tuple(name for name in _BYTES if name != "arena" or arena)
    return _overview(
        blocks,
        label="memory",
        title="Memory and first inference",
        text=(
            f"file{', arena' if arena else ''} and peak resident size in MB (model: without what "
            f"the interpreter had taken before); load and first inference in {unit}"
        ),
        columns=(*shown, "load", "first"),
        figures=lambda entry: _figures(entry.footprint, shown) if entry.footprint else (),
    )


def _overview(
    blocks: Sequence[Block],
    *,
    label: str,
    title: str,
    text: str,
    columns: tuple[str, ...],
    figures: Callable[[TableCell], tuple[Figure, ...]],
) -> Overview:
    """A line for each cell that has ``figures``; settings in columns where there are several."""
    first, several = blocks[0], len(blocks) > 1
    threaded = len({block.setting.threads for block in blocks}) > 1
    place = formatting.place(first)
    return Overview(
        suite=first.setting.suite,
        place=place,
        label=label if several else f"{label}, {formatting.short_heading(first)}",
        title=f"{title} · {place if several else _place(first)}",
        text=text,
        names=("Model", *_SETTING[: several * (2 + threaded)], "Size"),
        columns=columns,
        lines=tuple(
            (
                (
                    *(named(block, row, threaded=threaded) if several else (row.title,)),
                    str(entry.resolution),
                ),
                shown,
            )
            for block in blocks
            for row, entry in block.entries()
            if (shown := figures(entry))
        ),
    )


def _figures(footprint: Footprint, shown: tuple[str, ...]) -> tuple[Figure, ...]:
    sizes = {
        "file": footprint.file_bytes,
        "arena": footprint.arena_bytes,
        "model": footprint.model_rss_bytes,
        "peak": footprint.peak_rss_bytes,
    }
    times = (footprint.load, footprint.first)
    return (
        *(Figure(value=_megabytes(sizes[name])) for name in shown),
        *(Figure(value=formatting.figure(one / formatting.SCALE)) for one in times),
    )


def _place(block: Block) -> str:
    """The setting, on its target, so that no two tables of a page have one title."""
    counted = " · Minstr" if block.setting.metric is Metric.INSTRUCTIONS else ""
    return f"{formatting.short_heading(block)}{counted} · {formatting.place(block)}"


def _megabytes(size: int | None) -> str:
    return formatting.ABSENT if size is None else formatting.figure(size / 1e6)


def energies(table: Table) -> tuple[Overview, ...]:
    """One table per suite, target and metric in which energy was asked for."""
    asked = (
        block
        for block in table.blocks
        if any(entry.energy is not None for _, entry in block.entries())
    )
    return tuple(map(_energies, together(asked)))


def _energies(blocks: Sequence[Block]) -> Overview:
    found = [
        entry.energy for block in blocks for _, entry in block.entries() if entry.energy is not None
    ]
    known = any(one.joules is not None for one in found)
    sensors = "; ".join(dict.fromkeys(map(_sensor, found)))
    columns = _ENERGY if known else _ENERGY[:1]
    return _overview(
        blocks,
        label="energy",
        title="Energy per inference",
        text=(
            "mJ in the steady state, idle power included, with the bounds that the readings allow; "
            f"mean W while sampling, and idle before and after; {sensors}"
            if known
            else sensors
        ),
        columns=columns,
        figures=lambda entry: _joules(entry.energy)[: len(columns)] if entry.energy else (),
    )


def _sensor(one: CellEnergy) -> str:
    if one.joules is None:
        return one.reason
    unit = "constant" if one.resolution is None else f"smallest step {one.resolution} uW or uJ"
    rate = f"read every {one.interval_ms:g} ms, {one.updates_per_sec or 0:.0f} new values per s"
    return f"{one.sensor} ({rate}, {unit})"


def _joules(one: CellEnergy) -> tuple[Figure, ...]:
    if one.joules is None or one.low is None or one.high is None or one.watts is None:
        return tuple(Figure(value=formatting.ABSENT) for _ in range(4))
    idle = (one.idle_before_watts, one.idle_after_watts)
    shown = (formatting.ABSENT if watts is None else formatting.figure(watts) for watts in idle)
    return (
        Figure(value=formatting.figure(one.joules * 1e3)),
        Figure(value=formatting.span(one.low * 1e3, one.high * 1e3)),
        Figure(value=formatting.figure(one.watts)),
        Figure(value=", ".join(shown)),
    )
