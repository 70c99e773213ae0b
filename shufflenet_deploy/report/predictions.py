"""Predictions beside the measurements of the same cells: two columns, never one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from shufflenet_deploy.records import Precision
from shufflenet_deploy.report import formatting, numerals
from shufflenet_deploy.report.page_part import Part
from shufflenet_deploy.report.table_model import Block, PredictedFigure

if TYPE_CHECKING:
    from shufflenet_deploy.report.boards import BoardTable, BoardTables
    from shufflenet_deploy.report.table import Table

HEADER = ("model", "runtime", "host", "measured ms", "board", "predicted ms", "error")
TITLE = "Predicted beside measured"
TEXT = (
    "Predicted (± x): by a model of the core, not measured; x is the half-width of the interval"
    " in which the measured figure is expected. The last column is the prediction's error here."
)


#: Predicted cells, one a line, as ``HEADER`` names its figures.
Rows = Sequence[tuple[str, ...]]


def rows(table: Table) -> Rows:
    """Every predicted cell of a table."""
    return [line for block in table.blocks for line in _of_block(block)]


def rows_by_board(tables: BoardTables) -> Rows:
    """Every predicted cell of tables by boards."""
    return [line for table in tables.tables for line in _of_boards(table)]


def _of_block(block: Block) -> Iterator[tuple[str, ...]]:
    setting = block.setting
    runtime = _runtime(setting.runtime, setting.precision, setting.threads)
    for row, entry in block.entries():
        if entry.estimate is None:
            continue
        model = f"{row.title} {entry.resolution}"
        for one in entry.predictions:
            yield model, runtime, setting.host, *_figures(entry.estimate.median, one)


def _of_boards(table: BoardTable) -> Iterator[tuple[str, ...]]:
    runtime = _runtime(table.runtime, table.precision, table.threads)
    for row in table.rows:
        for board, figure in zip(table.boards, row.figures, strict=True):
            if figure is None or figure.estimate is None:
                continue
            model = f"{row.title} {table.resolution}"
            for one in figure.predictions:
                yield model, runtime, board.host, *_figures(figure.estimate.median, one)


def _runtime(name: str, precision: Precision, threads: int) -> str:
    return f"{name} {precision.value}" + (f", {threads} threads" if threads > 1 else "")


def _figures(measured_ns: float, one: PredictedFigure) -> tuple[str, ...]:
    return (
        numerals.figure(measured_ns / 1e6),
        one.board,
        f"{numerals.figure(one.predicted_ns / 1e6)} (± {one.relative:.0%})",
        f"{one.error:+.0%}",
    )


def lines(found: Rows) -> list[str]:
    """Lines for a terminal, the first one empty; none where nothing was predicted."""
    if not found:
        return []
    return ["", f"{TITLE}:", *formatting.below_names([HEADER, *found]), TEXT]


def part(table: Table) -> list[Part]:
    """The section of a page; none where nothing was predicted of what was measured."""
    found = rows(table)
    if not found:
        return []
    return [Part(title=TITLE, label="Predicted", text=TEXT, header=HEADER, rows=tuple(found))]
