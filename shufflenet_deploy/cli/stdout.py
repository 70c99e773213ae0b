"""Standard output of the commands: colours, widths, and tables that break no name."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

#: Version of every ``--json`` document that has none of its own (docs/json.md); raised when a field
#: changes its meaning or goes away.
JSON_VERSION = 1

#: Columns of a pipe or a file, unless ``COLUMNS`` is set: nothing there ends at 80.
_LOG_WIDTH = 160
_GAP, _INDENT = 2, 2
#: No column of prose becomes narrower than this, or than its longest word.
_LEAST_PROSE = 12


def show(render: Callable[[bool], str]) -> None:
    """Print ``render(color)``: in colour on a terminal, unless ``NO_COLOR`` is set."""
    color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    typer.echo(render(color), nl=False, color=color)


def print_json(document: dict[str, Any]) -> None:
    """Print the document of ``--json``: one object, with the version of its fields first.

    It is indented for eyes only; programs get one line.
    """
    indent = 2 if sys.stdout.isatty() else None
    typer.echo(json.dumps({"schema_version": JSON_VERSION, **document}, indent=indent))


def console() -> Console:
    """Standard output as wide as its terminal, or, where there is none, wide enough for a table."""
    from rich.console import Console  # noqa: PLC0415

    made = Console(highlight=False, emoji=False, markup=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = _LOG_WIDTH
    return made


def paragraph(text: str) -> None:
    """Print prose, its lines broken between words."""
    console().print(text, markup=False, soft_wrap=not sys.stdout.isatty())


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a grid. Names and figures are never broken or cut.

    Attributes:
        title: its heading.
        right: align right, for numbers.
        prose: its text may go on in further lines, broken between words.
        extra: it is left out where the terminal is too narrow; of several the last one first.
    """

    title: str
    right: bool = False
    prose: bool = False
    extra: bool = False


def print_grid(columns: Sequence[Column], rows: Sequence[Sequence[str | Text]]) -> None:
    """Print a table that fits the terminal.

    Where it is too wide, prose is broken between words, then extra columns are left out, then the
    first column gets lines of its own above the others, and last, each cell its own line.
    """
    from rich.text import Text  # noqa: PLC0415

    screen = console()
    cells = [[Text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    shown = list(range(len(columns)))
    while (excess := _excess(columns, cells, shown, screen.width)) > 0:
        spare = [index for index in shown if columns[index].extra]
        if not spare:
            break
        shown.remove(spare[-1])
    if excess <= 0:
        screen.print(_grid(columns, cells, shown, screen.width))
    elif _excess(columns, cells, shown[1:], screen.width - _INDENT) <= 0:
        _print_stacked(screen, columns, cells, shown)
    else:
        for row in cells:
            screen.print(row[shown[0]], style="bold", overflow="fold")
            for index in shown[1:]:
                text = Text(f"{' ' * _INDENT}{columns[index].title} ").append_text(row[index])
                screen.print(text, overflow="fold")


def _print_stacked(
    screen: Console, columns: Sequence[Column], cells: Sequence[Sequence[Text]], shown: list[int]
) -> None:
    """The first column above the others, which keep one width in all rows."""
    from rich.padding import Padding  # noqa: PLC0415

    first, *others = shown
    widths = _widths(columns, cells, others, screen.width - _INDENT)
    indent = (0, 0, 0, _INDENT)
    screen.print(columns[first].title, style="bold")
    screen.print(Padding(_made(columns, [], others, widths), indent))
    for row in cells:
        screen.print(row[first], style="bold", overflow="fold")
        body = _made(columns, [row], others, widths, header=False)
        screen.print(Padding(body, indent))


def _excess(
    columns: Sequence[Column], cells: Sequence[Sequence[Text]], shown: list[int], width: int
) -> int:
    """Terminal columns missing even with prose wrapped as narrowly as allowed."""
    least = sum(_least(columns[index], [row[index] for row in cells]) for index in shown)
    return least + _GAP * (len(shown) - 1) - width


def _natural(column: Column, texts: Sequence[Text]) -> int:
    return max([len(column.title), *(text.cell_len for text in texts)])


def _least(column: Column, texts: Sequence[Text]) -> int:
    natural = _natural(column, texts)
    if not column.prose:
        return natural
    words = [len(word) for text in texts for word in text.plain.split()]
    return min(natural, max([_LEAST_PROSE, len(column.title), *words]))


def _widths(
    columns: Sequence[Column], cells: Sequence[Sequence[Text]], shown: list[int], width: int
) -> list[int]:
    """The natural widths; what is too much is taken from prose, the widest first."""
    of = {index: [row[index] for row in cells] for index in shown}
    widths = {index: _natural(columns[index], of[index]) for index in shown}
    least = {index: _least(columns[index], of[index]) for index in shown}
    while sum(widths.values()) + _GAP * (len(shown) - 1) > width:
        index = max(shown, key=lambda one: (widths[one] > least[one], widths[one]))
        if widths[index] <= least[index]:
            break
        widths[index] -= 1
    return [widths[index] for index in shown]


def _grid(
    columns: Sequence[Column], cells: Sequence[Sequence[Text]], shown: list[int], width: int
) -> Table:
    return _made(columns, cells, shown, _widths(columns, cells, shown, width))


def _made(
    columns: Sequence[Column],
    cells: Sequence[Sequence[Text]],
    shown: list[int],
    widths: Sequence[int],
    *,
    header: bool = True,
) -> Table:
    from rich.table import Table  # noqa: PLC0415

    table = Table(
        box=None,
        pad_edge=False,
        padding=(0, _GAP, 0, 0),
        header_style="bold",
        show_header=header,
        collapse_padding=True,
    )
    for index, width in zip(shown, widths, strict=True):
        column = columns[index]
        table.add_column(
            column.title,
            justify="right" if column.right else "left",
            width=width,
            no_wrap=not column.prose,
            overflow="fold",
        )
    for row in cells:
        table.add_row(*(row[index] for index in shown))
    return table
