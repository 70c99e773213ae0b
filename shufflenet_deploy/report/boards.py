"""The answer over boards: models by hosts, what keeps the paper's promise, rankings that change.

One ``BoardTable`` holds what can be compared: one quantity, runtime, precision, number of threads
and resolution. Of a host that was measured in several suites the newest one counts. A speedup is
over the baseline on the same board in the same suite, as in every table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from typing import Literal, NamedTuple, Self

from pydantic import Field

from shufflenet_deploy.records import Format, Metric, Precision, Record, ResolutionText
from shufflenet_deploy.report.table import Table
from shufflenet_deploy.report.table_model import (
    Block,
    Estimate,
    PredictedFigure,
    Row,
    Speedup,
    TableCell,
)

#: Version of the JSON form of ``BoardTables``.
SCHEMA_VERSION = 1

Promise = Literal["kept", "not kept", "open"]


class BoardFigure(Record):
    """One model on one board. ``rank`` 1 is the fastest there; tainted figures have none.

    ``promise`` says whether the whole interval of the speedup is at least the paper's ("kept"),
    whether it is below ("not kept"), or neither ("open"); None where the paper has no figure, or
    either latency is tainted. ``predictions`` were not measured: they enter no speedup and no rank.
    ``place`` is where the page tells the conditions.
    """

    estimate: Estimate | None
    speedup: Speedup | None
    stability: Literal["stable", "noisy", "tainted", "failed"]
    is_speedup_tainted: bool
    paper_speedup: float | None
    promise: Promise | None
    rank: int | None
    predictions: tuple[PredictedFigure, ...] = ()
    place: str = Field(exclude=True)


class BoardRow(Record):
    """One model; ``figures`` has one element per board, None where it was not measured."""

    model: str
    options: dict[str, str]
    title: str
    is_baseline: bool
    paper_speedup: float | None
    theoretical_speedup: float | None
    figures: tuple[BoardFigure | None, ...]


class BoardColumn(Record):
    """One column: a host, and how many of the paper's promises it keeps."""

    host: str
    board: str | None
    cpu: str
    suite: str
    runtime_version: str | None
    started_at: datetime
    kept: int
    not_kept: int
    open: int


class Reversal(Record):
    """Two models whose order is certain on some boards, and the other way round on others."""

    one: str
    other: str
    one_is_faster: tuple[str, ...]
    other_is_faster: tuple[str, ...]


class BoardTable(Record):
    """Models by boards in one setting."""

    metric: Metric
    runtime: str
    format: Format
    precision: Precision
    threads: int
    resolution: ResolutionText
    baseline: str | None
    boards: tuple[BoardColumn, ...]
    rows: tuple[BoardRow, ...]
    reversals: tuple[Reversal, ...]


class BoardTables(Record):
    """Every setting that two boards or more were measured in."""

    schema_version: int = SCHEMA_VERSION
    paper_device: str
    paper_source: str
    tables: tuple[BoardTable, ...]

    @classmethod
    def of(cls, table: Table) -> Self:
        """Arrange what a table has by boards; no tables where no two boards have a setting."""
        columns: dict[_Setting, dict[str, _Column]] = {}
        for number, block in enumerate(table.blocks, start=1):
            for index, at in enumerate(block.columns):
                setting = _Setting.of(block, str(at))
                column = _Column(block=block, index=index, name=f"b{number}")
                known = columns.setdefault(setting, {}).get(block.setting.host)
                if known is None or known.block.started_at < block.started_at:
                    columns[setting][block.setting.host] = column
        return cls(
            paper_device=table.paper_device,
            paper_source=table.paper_source,
            tables=tuple(
                _board_table(setting, tuple(found.values()))
                for setting, found in columns.items()
                if len(found) > 1
            ),
        )


def place_of(section: str, row: int, column: int) -> str:
    """The anchor of a cell's conditions on the page; rows and columns are counted from 0."""
    return f"{section}-{row}-{column}"


class _Setting(NamedTuple):
    metric: Metric
    runtime: str
    format: Format
    precision: Precision
    threads: int
    resolution: str

    @classmethod
    def of(cls, block: Block, resolution: str) -> Self:
        one = block.setting
        return cls(one.metric, one.runtime, one.format, one.precision, one.threads, resolution)


@dataclass(frozen=True, kw_only=True)
class _Column:
    """One resolution of a block, which has one host; ``name`` is the block's on the page."""

    block: Block
    index: int
    name: str

    def entries(self) -> Iterator[tuple[int, Row, TableCell]]:
        """The filled cells with the place of their rows."""
        for number, row in enumerate(self.block.rows):
            entry = row.entries[self.index]
            if entry is not None:
                yield number, row, entry


_Key = tuple[str, tuple[tuple[str, str], ...]]


def _key(row: Row) -> _Key:
    return row.model, tuple(sorted(row.options.items()))


def _board_table(setting: _Setting, columns: Sequence[_Column]) -> BoardTable:
    figures = [_figures(column) for column in columns]
    rows = tuple(_rows(columns, figures))
    hosts = [column.block.setting.host for column in columns]
    baselines = dict.fromkeys(filter(None, (column.block.baseline for column in columns)))
    return BoardTable(
        **setting._asdict(),
        baseline=next(iter(baselines), None),
        boards=tuple(map(_board, columns, figures)),
        rows=rows,
        reversals=tuple(_reversals(rows, hosts)),
    )


def _figures(column: _Column) -> dict[_Key, BoardFigure]:
    found: dict[_Key, BoardFigure] = {}
    ranked = sorted(
        entry.estimate.median
        for _, _, entry in column.entries()
        if entry.estimate is not None and entry.stability in {"stable", "noisy"}
    )
    for number, row, entry in column.entries():
        trusted = entry.estimate is not None and entry.stability in {"stable", "noisy"}
        tainted = column.block.is_speedup_tainted(entry)
        found[_key(row)] = BoardFigure(
            estimate=entry.estimate,
            speedup=entry.speedup,
            stability=entry.stability,
            is_speedup_tainted=tainted,
            paper_speedup=entry.paper_speedup,
            promise=None if tainted else _promise(column.block, entry),
            rank=ranked.index(entry.estimate.median) + 1 if trusted and entry.estimate else None,
            predictions=entry.predictions,
            place=place_of(column.name, number, column.index),
        )
    return found


def _promise(block: Block, entry: TableCell) -> Promise | None:
    if block.setting.metric is not Metric.LATENCY:
        return None
    if entry.speedup is None or entry.paper_speedup is None:
        return None
    if entry.speedup.low >= entry.paper_speedup:
        return "kept"
    return "not kept" if entry.speedup.high < entry.paper_speedup else "open"


def _rows(
    columns: Sequence[_Column], figures: Sequence[dict[_Key, BoardFigure]]
) -> Iterator[BoardRow]:
    """In the order of the first board that has a model."""
    seen: dict[_Key, tuple[Row, TableCell]] = {}
    for column in columns:
        for _, row, entry in column.entries():
            seen.setdefault(_key(row), (row, entry))
    for key, (row, entry) in seen.items():
        mine = tuple(found.get(key) for found in figures)
        papers = [one.paper_speedup for one in mine if one and one.paper_speedup is not None]
        yield BoardRow(
            model=row.model,
            options=row.options,
            title=row.title,
            is_baseline=row.is_baseline,
            paper_speedup=next(iter(papers), None),
            theoretical_speedup=entry.theoretical_speedup,
            figures=mine,
        )


def _board(column: _Column, figures: dict[_Key, BoardFigure]) -> BoardColumn:
    setting = column.block.setting
    promises = [figure.promise for figure in figures.values()]
    return BoardColumn(
        host=setting.host,
        board=setting.board,
        cpu=setting.cpu,
        suite=setting.suite,
        runtime_version=setting.runtime_version,
        started_at=column.block.started_at,
        kept=promises.count("kept"),
        not_kept=promises.count("not kept"),
        open=promises.count("open"),
    )


def _reversals(rows: Sequence[BoardRow], hosts: Sequence[str]) -> Iterable[Reversal]:
    for one, other in combinations(rows, 2):
        first = _where_faster(one, other, hosts)
        second = _where_faster(other, one, hosts)
        if first and second:
            yield Reversal(
                one=one.title, other=other.title, one_is_faster=first, other_is_faster=second
            )


def _where_faster(one: BoardRow, other: BoardRow, hosts: Sequence[str]) -> tuple[str, ...]:
    """The boards on which the whole interval of one model is below that of another."""
    return tuple(
        host
        for host, mine, theirs in zip(hosts, one.figures, other.figures, strict=True)
        if mine is not None
        and theirs is not None
        and mine.rank is not None
        and theirs.rank is not None
        and mine.estimate is not None
        and theirs.estimate is not None
        and mine.estimate.high < theirs.estimate.low
    )
