"""Memory, size of the file and costs of the start, beside the figures: one table per setting."""

from __future__ import annotations

from shufflenet_deploy.report import formatting
from shufflenet_deploy.report.overview import Figure, Overview, side_by_side
from shufflenet_deploy.report.table import Table
from shufflenet_deploy.report.table_model import Block, Footprint

_BYTES = ("file", "arena", "model", "peak")


def overviews(table: Table) -> tuple[Overview, ...]:
    """What stands after the blocks: settings side by side, then their footprints."""
    return (*side_by_side(table), *footprints(table))


def footprints(table: Table) -> tuple[Overview, ...]:
    """One table per block in which something was measured."""
    return tuple(_footprints(block) for block in table.blocks if _measured(block))


def _measured(block: Block) -> bool:
    return any(entry.footprint is not None for _, entry in block.entries())


def _footprints(block: Block) -> Overview:
    unit = formatting.unit(block.setting.metric)
    arena = any(
        one.footprint.arena_bytes is not None for _, one in block.entries() if one.footprint
    )
    shown = tuple(name for name in _BYTES if name != "arena" or arena)
    return Overview(
        suite=block.setting.suite,
        place=formatting.place(block),
        label=f"memory, {formatting.short_heading(block)}",
        title=f"Memory and first inference · {formatting.short_heading(block)}",
        text=(
            "memory in MB: the file"
            + (", the arena of activations" if arena else "")
            + ", the peak resident size without and with the interpreter; load and first "
            f"inference in {unit}, medians over the processes"
        ),
        names=("Model", "Size"),
        columns=(*shown, "load", "first"),
        lines=tuple(
            ((row.title, str(entry.resolution)), _figures(entry.footprint, shown))
            for row, entry in block.entries()
            if entry.footprint is not None
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


def _megabytes(size: int | None) -> str:
    return formatting.ABSENT if size is None else formatting.figure(size / 1e6)
