"""Randomised, blocked order of a suite's processes: drift affects baseline and candidates alike.

A *round* starts one fresh process of every cell. Cells that will be compared (same runtime,
precision, resolution and threads) stand together, the baseline among them, so that a ratio is made
of neighbours in time. The groups and the candidates within are shuffled anew each round, and the
baseline leads one round and closes the next: a machine that warms up favours nobody.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from shufflenet_deploy.records import Cell, Run
from shufflenet_deploy.stats import interval, ratio_interval, samples_of
from shufflenet_deploy.stats.attempts import CellRuns

Group = tuple[str, str, str, str, int]


def group_of(cell: Cell) -> Group:
    """Key of the cells that are compared with each other: all axes but the model."""
    return (cell.runtime, cell.format, cell.precision, str(cell.resolution), cell.threads)


def round_order(
    cells: Iterable[Cell], *, baseline: str | None, process: int, seed: int
) -> list[Cell]:
    """The cells in the order of round ``process`` (from 1); the same for the same ``seed``."""
    groups: dict[Group, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(group_of(cell), []).append(cell)
    # Seeded by text: tuples are hashed with a salt that differs between processes.
    generator = random.Random(f"{seed}/{process}")  # noqa: S311 - an order, not a secret
    order = list(groups.values())
    generator.shuffle(order)
    ordered: list[Cell] = []
    for group in order:
        candidates = [cell for cell in group if cell.model != baseline]
        lead = [cell for cell in group if cell.model == baseline]
        generator.shuffle(candidates)
        ordered += [*lead, *candidates] if process % 2 else [*candidates, *lead]
    return ordered


def cells_above_target(
    cells: Sequence[Cell], runs: Iterable[Run], *, baseline: str | None, target: float
) -> list[Cell]:
    """Cells that need another round: their ratio to the baseline is not within ``target`` yet.

    With a candidate goes its baseline. A candidate without a measured baseline is assessed by the
    interval of its own figure; cells without measurements need nothing more.
    """
    found: dict[Cell, list[Run]] = {}
    for run in runs:
        found.setdefault(run.cell, []).append(run)
    samples = {cell: samples_of(CellRuns.of(found.get(cell, [])).kept) for cell in cells}
    baselines = {group_of(cell): cell for cell in cells if cell.model == baseline}
    wanted: dict[Cell, None] = {}
    for cell in cells:
        processes = samples[cell]
        rival = baselines.get(group_of(cell))
        if not processes or (cell is rival and len(_measured_group(cell, cells, samples)) > 1):
            continue
        against = samples[rival] if rival is not None and rival is not cell else []
        found_interval = ratio_interval(against, processes) if against else interval(processes)
        if found_interval.precision > target:
            wanted[cell] = None
            if against and rival is not None:
                wanted[rival] = None
    return list(wanted)


def _measured_group(
    cell: Cell, cells: Sequence[Cell], samples: dict[Cell, list[tuple[int, ...]]]
) -> list[Cell]:
    """The measured cells of the same group, the cell itself included."""
    return [other for other in cells if group_of(other) == group_of(cell) and samples[other]]
