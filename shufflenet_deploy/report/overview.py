"""Overview of several settings: the rows of all blocks of one suite and target in one table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf

from shufflenet_deploy.records import Resolution
from shufflenet_deploy.report import formatting
from shufflenet_deploy.report.table import Table
from shufflenet_deploy.report.table_model import Block, Row, TableCell

#: Marks the lowest median.
LOWEST = "★"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One box: a latency or cost, and the speedup with its interval where there is one.

    ``tone`` and ``speedup_tone`` are classes of the page's style sheet. ``lowest`` is True for the
    lowest median among the runtimes of one model, precision and number of threads.
    """

    value: str
    lowest: bool = False
    tone: str = ""
    speedup: str = ""
    interval: str = ""
    speedup_tone: str = ""

    @property
    def text(self) -> str:
        """All of it on one line."""
        return f"{self.shown}  {self.speedup} ({self.interval})" if self.speedup else self.shown

    @property
    def shown(self) -> str:
        """The value, marked if it is the lowest."""
        return f"{LOWEST} {self.value}" if self.lowest else self.value


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Rows beside the blocks of a table; each of ``lines`` has one entry per column, as text.

    ``label`` is what the contents of a page call it. ``names`` are the first columns, which
    identify a line. Where settings stand side by side, lines of one model, precision and number of
    threads follow each other, the fastest first. ``reasons`` say why figures are
    missing.
    """

    suite: str
    place: str

    label: str
    title: str
    text: str
    names: tuple[str, ...]
    columns: tuple[str, ...]
    lines: tuple[tuple[tuple[str, ...], tuple[Figure, ...]], ...]
    reasons: tuple[str, ...] = ()


def side_by_side(table: Table) -> tuple[Overview, ...]:
    """One overview per suite, target and metric with several settings."""
    return tuple(_overview(blocks) for blocks in together(table.blocks) if len(blocks) > 1)


def together(blocks: Iterable[Block]) -> list[list[Block]]:
    """The settings of each suite, target and metric: what may stand in one table."""
    groups: dict[tuple[object, ...], list[Block]] = {}
    for block in blocks:
        setting = block.setting
        groups.setdefault((setting.suite, setting.host, setting.metric), []).append(block)
    return list(groups.values())


def _overview(blocks: Sequence[Block]) -> Overview:
    columns = sorted(
        {at for block in blocks for at in block.columns}, key=lambda at: (at.pixels, at.height)
    )
    threaded = len({block.setting.threads for block in blocks}) > 1
    rows = _in_order(blocks)
    best = _lowest(rows)
    marked = f"; {LOWEST} lowest median of its model and type" if best else ""
    return Overview(
        suite=blocks[0].setting.suite,
        place=formatting.place(blocks[0]),
        label="side by side",
        title=f"Side by side · {formatting.place(blocks[0])}",
        text=f"{formatting.row_title(blocks[0], interval=False)}{_compared(blocks)}{marked}",
        names=("Model", "Runtime", "Type", *(("Threads",) if threaded else ())),
        columns=tuple(map(str, columns)),
        lines=tuple(
            (named(block, row, threaded=threaded), _figures(block, row, columns, best))
            for block, row in rows
        ),
        reasons=tuple(dict.fromkeys(_reasons(rows))),
    )


def _alike(block: Block, row: Row) -> tuple[object, ...]:
    """What the figures of several runtimes have in common that are compared with each other."""
    return row.title, block.setting.precision, block.setting.threads


def _lowest(rows: Sequence[tuple[Block, Row]]) -> frozenset[int]:
    """The boxes with the lowest median of several alike, by ``id``.

    A file that failed validation computes something else, and a tainted figure measured something
    else: neither wins anything.
    """
    groups: dict[tuple[object, ...], list[TableCell]] = {}
    for block, row in rows:
        for at, entry in zip(block.columns, row.entries, strict=True):
            if entry is not None and entry.estimate is not None and _may_win(entry):
                groups.setdefault((*_alike(block, row), at), []).append(entry)
    return frozenset(
        id(min(group, key=lambda one: one.estimate.median if one.estimate else inf))
        for group in groups.values()
        if len(group) > 1
    )


def _may_win(entry: TableCell) -> bool:
    valid = entry.artifact is None or entry.artifact.parity.passed
    return valid and entry.stability != "tainted"


def _reasons(rows: Sequence[tuple[Block, Row]]) -> Iterator[str]:
    """Why there is no figure of a model in a runtime."""
    for block, row in rows:
        for entry in row.entries:
            if entry is not None and entry.estimate is None and entry.failure is not None:
                which = f"{formatting.runtime(block)}, {block.setting.precision.value}"
                yield f"{row.title} in {which}: {entry.failure.kind.value}: {entry.failure.message}"


def _in_order(blocks: Sequence[Block]) -> list[tuple[Block, Row]]:
    rows = [(block, row) for block in blocks for row in block.rows]
    titles = [row.title for _, row in rows]

    def rank(one: tuple[Block, Row]) -> tuple[object, ...]:
        block, row = one
        medians = [entry.estimate.median for entry in row.entries if entry and entry.estimate]
        setting = block.setting
        alike = (titles.index(row.title), setting.precision.place, setting.threads)
        return (*alike, min(medians, default=inf))

    return sorted(rows, key=rank)


def _compared(blocks: Sequence[Block]) -> str:
    known = [block for block in blocks if block.baseline is not None]
    if not known:
        return ""
    titles = " or ".join(dict.fromkeys(map(formatting.baseline_title, known)))
    compared = formatting.comparison(known[0])
    return f"; {compared} over {titles} in the same setting, with its 95 % interval"


def named(block: Block, row: Row, *, threaded: bool) -> tuple[str, ...]:
    """The first columns of a line: model, runtime, type, and threads where they differ."""
    setting = block.setting
    threads = (str(setting.threads),) if threaded else ()
    return row.title, formatting.runtime(block), setting.precision.value, *threads


def _figures(
    block: Block, row: Row, columns: Sequence[Resolution], best: frozenset[int]
) -> tuple[Figure, ...]:
    entries = dict(zip(block.columns, row.entries, strict=True))
    return tuple(_figure(block, entries.get(at), best) for at in columns)


def _figure(block: Block, entry: TableCell | None, best: frozenset[int]) -> Figure:
    if entry is None:
        return Figure(value=formatting.ABSENT)
    value = formatting.SIGNS[entry.stability] + formatting.measured(entry)[0]
    speedup, interval = formatting.speedup(block, entry)
    return Figure(
        value=value,
        lowest=id(entry) in best,
        tone=entry.stability,
        speedup=speedup,
        interval=interval,
        speedup_tone=formatting.speedup_tone(block, entry),
    )
