"""The table for a terminal: a few short lines per model, so that Table 8 fits into 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from shufflenet_deploy.report import formatting, predictions
from shufflenet_deploy.report.footprints import overviews
from shufflenet_deploy.report.overview import Overview
from shufflenet_deploy.report.table import Table
from shufflenet_deploy.report.table_model import Block, Row, TableCell

_SUPERSCRIPTS = str.maketrans("0123456789,", "⁰¹²³⁴⁵⁶⁷⁸⁹⋅")
_STYLES = {"stable": "bold", "noisy": "bold yellow", "tainted": "bold red", "failed": "red"}

#: Columns of the terminal that the model, error and complexity take, and one resolution at least.
_LEFT_WIDTH = 29
_COLUMN_WIDTH = 16


def terminal(table: Table, *, width: int | None = None, color: bool = False) -> str:
    """The table as text.

    Args:
        table: what to show.
        width: columns of the terminal; None takes the terminal's, else 80.
        color: whether ANSI colours may be used; ``NO_COLOR`` in the environment still wins.
    """
    stream = StringIO()
    console = Console(
        file=stream, width=width, force_terminal=color, highlight=False, emoji=False, markup=False
    )
    for block in table.blocks:
        console.print(_block(block, console.width))
    for overview in overviews(table):
        console.print(_overview(overview, console.width))
    for line in formatting.legend(table, table.blocks):
        console.print(Text(line, style="dim"))
    for line in predictions.lines(predictions.rows(table)):
        console.print(Text(line))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def _overview(overview: Overview, width: int) -> Group:
    names = max(sum(map(len, name)) + len(name) for name, _ in overview.lines)
    parts: list[RenderableType] = [
        Text(overview.title, style="bold"),
        Text(overview.text, style="dim"),
    ]
    for shown in _columns_per_grid(overview, width - names - 1):
        grid = Grid(box=box.HORIZONTALS, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
        for title in overview.names:
            grid.add_column(title, overflow="fold")
        for index in shown:
            grid.add_column(overview.columns[index], justify="right", no_wrap=True)
        for name, line in overview.lines:
            grid.add_row(*name, *(line[index].text for index in shown))
        parts.append(grid)
    parts += [Text(reason, style="dim") for reason in overview.reasons]
    parts.append(Text(""))
    return Group(*parts)


def _columns_per_grid(overview: Overview, width: int) -> list[list[int]]:
    """The columns of each grid, as many as fit beside the names; one at least."""
    grids: list[list[int]] = [[]]
    left = width
    for index, title in enumerate(overview.columns):
        needed = 1 + max(len(title), *(len(line[index].text) for _, line in overview.lines))
        if needed > left and grids[-1]:
            grids.append([])
            left = width
        grids[-1].append(index)
        left -= needed
    return grids


def _block(block: Block, width: int) -> Group:
    per_grid = max(1, (width - _LEFT_WIDTH) // _COLUMN_WIDTH)
    parts: list[RenderableType] = [
        Text(formatting.heading(block), style="bold"),
        Text(formatting.row_title(block), style="dim"),
    ]
    columns = range(len(block.columns))
    parts += [_grid(block, columns[at : at + per_grid]) for at in columns[::per_grid]]
    parts += [Text(f"{_marks([number])} {note}") for number, note in enumerate(block.notes, 1)]
    parts.append(Padding(Text(formatting.caption(block), style="dim"), (0, 0, 1, 0)))
    return Group(*parts)


def _grid(block: Block, columns: Sequence[int]) -> Grid:
    grid = Grid(box=box.HORIZONTALS, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    grid.add_column("Model", max_width=24, overflow="fold")
    grid.add_column("Err %", justify="right", no_wrap=True)
    grid.add_column("MAdds", justify="right", no_wrap=True)
    for index in columns:
        grid.add_column(str(block.columns[index]), justify="right", min_width=15, no_wrap=True)
    for row in block.rows:
        _add_row(grid, block, row, columns)
    return grid


def _add_row(grid: Grid, block: Block, row: Row, columns: Sequence[int]) -> None:
    entries = [row.entries[index] for index in columns]
    title = Text(row.title, style="bold" if not row.is_baseline else "bold cyan")
    title.append(_marks(row.marks), style="not bold")
    grid.add_row(
        title,
        "\n".join(formatting.errors(row)),
        formatting.mega(row.multiply_adds),
        *(_measured(entry) for entry in entries),
    )
    lines = {
        formatting.comparison(block): [_speedup(block, entry) for entry in entries],
        "in theory": [Text(formatting.theory(entry) if entry else "") for entry in entries],
        "efficiency": [Text(formatting.efficiency(entry) if entry else "") for entry in entries],
        formatting.paper_label(block): [
            Text(formatting.paper_figures_text(block, entry) if entry else "", style="dim")
            for entry in entries
        ],
    }
    for label, texts in lines.items():
        if any(texts):
            grid.add_row(Text(f"  {label}", style="dim"), "", "", *texts)
    grid.add_section()


def _measured(entry: TableCell | None) -> Text:
    if entry is None:
        return Text(formatting.ABSENT, style="dim")
    value, _ = formatting.measured(entry)
    text = Text(formatting.SIGNS[entry.stability] + value, style=_STYLES[entry.stability])
    marks = _marks(entry.marks)
    if entry.estimate is not None:
        reach = formatting.deviation(entry.estimate)
        fits = len(text) + 1 + len(reach) + len(marks) < _COLUMN_WIDTH
        text.append((" " if fits else "\n") + reach, style="not bold")
    text.append(marks, style="not bold")
    return text


def _speedup(block: Block, entry: TableCell | None) -> Text:
    if entry is None or entry.speedup is None:
        return Text("")
    value, interval = formatting.speedup(block, entry)
    if block.is_speedup_tainted(entry):
        return Text(f"{value} {interval}", style="red")
    if not entry.speedup.distinguishable:
        return Text(
            f"{value} {interval}\n" + formatting.UNDISTINGUISHED.replace(" ", "\n"), style="yellow"
        )
    return Text(value, style="bold green" if entry.speedup.ratio > 1 else "bold").append(
        f" {interval}", style="not bold"
    )


def _marks(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers)).translate(_SUPERSCRIPTS)
