"""Memory, costs of the start, and energy beside the figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shufflenet_deploy.records import Metric
from shufflenet_deploy.report import formatting
from shufflenet_deploy.report.overview import Figure, Overview, named, side_by_side, together
from shufflenet_deploy.report.table import Table
from shufflenet_deploy.report.table_model import Block, CellEnergy, Footprint

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
    first, several = blocks[0], len(blocks) > 1
    unit = formatting.unit(first.setting.metric)
    threaded = len({block.setting.threads for block in blocks}) > 1
    arena = any(one.arena_bytes is not None for block in blocks for one in _found(block))
    shown = tuple(name for name in _BYTES if name != "arena" or arena)
    place = formatting.place(first) if several else _place(first)
    return Overview(
        suite=first.setting.suite,
        place=formatting.place(first),
        label="memory" if several else f"memory, {formatting.short_heading(first)}",
        title=f"Memory and first inference · {place}",
        text=(
            f"file{', arena' if arena else ''} and peak resident size in MB (model: without what "
            f"the interpreter had taken before); load and first inference in {unit}"
        ),
        names=("Model", *_SETTING[: several * (2 + threaded)], "Size"),
        columns=(*shown, "load", "first"),
        lines=tuple(_lines(blocks, shown, several=several, threaded=threaded)),
    )


def _lines(
    blocks: Sequence[Block], shown: tuple[str, ...], *, several: bool, threaded: bool
) -> Iterator[tuple[tuple[str, ...], tuple[Figure, ...]]]:
    for block in blocks:
        for row, entry in block.entries():
            if entry.footprint is not None:
                which = named(block, row, threaded=threaded) if several else (row.title,)
                yield (*which, str(entry.resolution)), _figures(entry.footprint, shown)


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
    first, several = blocks[0], len(blocks) > 1
    threaded = len({block.setting.threads for block in blocks}) > 1
    found = [
        (block, row, entry.resolution, entry.energy)
        for block in blocks
        for row, entry in block.entries()
        if entry.energy is not None
    ]
    known = any(one.joules is not None for *_, one in found)
    sensors = "; ".join(dict.fromkeys(_sensor(one) for *_, one in found))
    return Overview(
        suite=first.setting.suite,
        place=formatting.place(first),
        label="energy" if several else f"energy, {formatting.short_heading(first)}",
        title=f"Energy per inference · {formatting.place(first) if several else _place(first)}",
        text=(
            "mJ in the steady state, idle power included, with the bounds that the readings allow; "
            f"mean W while sampling, and idle before and after; {sensors}"
            if known
            else sensors
        ),
        names=("Model", *_SETTING[: several * (2 + threaded)], "Size"),
        columns=_ENERGY if known else _ENERGY[:1],
        lines=tuple(
            (
                (
                    *(named(block, row, threaded=threaded) if several else (row.title,)),
                    str(resolution),
                ),
                _joules(one) if known else _joules(one)[:1],
            )
            for block, row, resolution, one in found
        ),
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
