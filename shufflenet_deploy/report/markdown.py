"""The table as GitHub's Markdown: one row per model, one column per resolution."""

from __future__ import annotations

import re
from collections.abc import Sequence

from shufflenet_deploy.report import formatting, predictions
from shufflenet_deploy.report.footprints import overviews
from shufflenet_deploy.report.overview import Overview
from shufflenet_deploy.report.table import Table
from shufflenet_deploy.report.table_model import Block, Row, TableCell

#: Everything GitHub's Markdown may read as mark-up in the middle of a line.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~&])")


def markdown(table: Table) -> str:
    """The table as Markdown: blocks one after another, then all side by side."""
    legend = " ".join(map(escape, formatting.legend(table, table.blocks)))
    parts = [
        *map(_block, table.blocks),
        *map(_overview, overviews(table)),
        *predicted(predictions.rows(table)),
    ]
    return "\n".join([*parts, *([legend, ""] if legend else [])])


def escape(text: str) -> str:
    """Text that GitHub shows as it is: on one line, no character of it taken for mark-up."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def _block(block: Block) -> str:
    header = ["Model", "Error %", "Multiply-adds", *(f"{at}" for at in block.columns)]
    lines = [
        f"**{escape(formatting.heading(block))}**: {escape(formatting.row_title(block))}",
        "",
        _line(header),
        _line([":--", "--:", "--:", *("--:" for _ in block.columns)]),
        *(_line(_row(block, row)) for row in block.rows),
        "",
        *(f"<sup>{number}</sup> {escape(text)}  " for number, text in enumerate(block.notes, 1)),
        *([""] if block.notes else []),
        f"*{escape(formatting.caption(block))}*",
        "",
    ]
    return "\n".join(lines)


def predicted(rows: predictions.Rows) -> list[str]:
    """The predictions of cells, in a table of its own; none where nothing was predicted."""
    if not rows:
        return []
    lines = [
        f"**{predictions.TITLE}**: {escape(predictions.TEXT)}",
        "",
        _line(predictions.HEADER),
        _line([":--" for _ in predictions.HEADER]),
        *(_line([*map(escape, row)]) for row in rows),
        "",
    ]
    return ["\n".join(lines)]


def _overview(overview: Overview) -> str:
    lines = [
        f"**{escape(overview.title)}**: {escape(overview.text)}",
        "",
        _line([*overview.names, *overview.columns]),
        _line([*(":--" for _ in overview.names), *("--:" for _ in overview.columns)]),
        *(
            _line([*map(escape, name), *(escape(figure.text) for figure in line)])
            for name, line in overview.lines
        ),
        "",
        *(f"{escape(reason)}  " for reason in overview.reasons),
        *([""] if overview.reasons else []),
    ]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _row(block: Block, row: Row) -> list[str]:
    return [
        escape(row.title) + _marks(row.marks),
        "<br>".join(formatting.errors(row)),
        formatting.mega(row.multiply_adds),
        *(_entry(block, entry) if entry else formatting.ABSENT for entry in row.entries),
    ]


def _entry(block: Block, entry: TableCell) -> str:
    value, interval = formatting.measured(entry)
    sign = escape(formatting.SIGNS[entry.stability])
    lines = [f"{sign}**{value}**" + (f" ({interval})" if interval else "") + _marks(entry.marks)]
    if entry.speedup:
        ratio, interval = formatting.speedup(block, entry)
        doubt = "" if entry.speedup.distinguishable else f" {formatting.UNDISTINGUISHED}"
        shown = escape(ratio) if block.is_speedup_tainted(entry) else f"**{ratio}**"
        lines.append(f"{formatting.comparison(block)} {shown} ({interval}){doubt}")
    for label, text in (
        ("in theory", formatting.theory(entry)),
        ("efficiency", formatting.efficiency(entry)),
        (formatting.paper_label(block), formatting.paper_figures_text(block, entry)),
    ):
        if text:
            lines.append(f"{label} {text}")
    return "<br>".join(lines)


def _marks(numbers: Sequence[int]) -> str:
    return f"<sup>{','.join(map(str, numbers))}</sup>" if numbers else ""
