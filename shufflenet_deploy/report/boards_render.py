"""Tables by boards in every form that a table has, and as a chart."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from io import StringIO

from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import Metric
from shufflenet_deploy.report import formatting, json_csv, latex, markdown, numerals, predictions
from shufflenet_deploy.report.boards import BoardFigure, BoardRow, BoardTable, BoardTables
from shufflenet_deploy.report.render import Rendering
from shufflenet_deploy.report.svg import (
    Axis,
    Chart,
    Key,
    Line,
    PointMark,
    Reference,
    Whisker,
    chart,
    height,
)

_PROMISES = {"kept": "promise kept", "not kept": "promise not kept", "open": "promise open"}
_TONES = {"kept": "good", "not kept": "bad", "open": "doubt"}
_LEGEND = (
    "Speedup: over the baseline on the same board and in the same suite, with its 95 % interval. "
    "#1 is the fastest of its board. The paper's promise is its own speedup: kept where the whole "
    "interval reaches it, open where the interval contains it. Orders of two models are compared "
    "where their intervals do not overlap."
)
#: Columns of a terminal that a model and a board take.
_MODEL_WIDTH, _BOARD_WIDTH = 26, 19


def check(tables: BoardTables) -> None:
    """Refuse tables that compare nothing.

    Raises:
        UsageError: no two boards have a setting in common.
    """
    if not tables.tables:
        raise UsageError(
            "--by host needs two hosts that were measured in one setting: bench --host A,B, or "
            "take more suites with --suite all"
        )


def render(tables: BoardTables, form: Rendering) -> str:
    """The tables in one form, without colours."""
    return _FORMS[form](tables)


def heading(table: BoardTable) -> str:
    """The setting of a table."""
    parts = (table.runtime, table.precision.value, table.format)
    return " · ".join([*parts, formatting.threads(table.threads), str(table.resolution)])


def baseline_title(table: BoardTable) -> str:
    """The title of the model that speedups are over."""
    titles = (row.title for row in table.rows if row.is_baseline)
    return next(titles, table.baseline or "no baseline")


def told(table: BoardTable, figure: BoardFigure | None) -> tuple[str, str, str]:
    """A box of the table: the speedup with its interval, the figure with its rank, the promise."""
    if figure is None:
        return formatting.ABSENT, "", ""
    if figure.estimate is None:
        return "failed", "", ""
    unit = formatting.unit(table.metric)
    rank = "" if figure.rank is None else f" #{figure.rank}"
    value = formatting.figure(figure.estimate.median / formatting.SCALE)
    latency = f"{formatting.SIGNS[figure.stability]}{value} {unit}{rank}"
    if figure.speedup is None:
        return latency, "", ""
    sign = formatting.SIGNS["tainted"] if figure.is_speedup_tainted else ""
    span = formatting.span(figure.speedup.low, figure.speedup.high)
    ratio = f"{sign}{formatting.ratio(figure.speedup.ratio)} ({span})"
    return ratio, latency, _PROMISES.get(figure.promise or "", "")


def tone(figure: BoardFigure | None) -> str:
    """The class of a speedup in the page's style sheet."""
    if figure is None or figure.speedup is None:
        return ""
    if figure.is_speedup_tainted:
        return "tainted"
    if not figure.speedup.distinguishable:
        return "doubt"
    return "good" if figure.speedup.ratio > 1 else "bad"


def promise_tone(figure: BoardFigure) -> str:
    """The class of a promise."""
    return _TONES.get(figure.promise or "", "")


def claims(row: BoardRow) -> str:
    """What the paper and the multiply-adds promise of a model."""
    paper = "" if row.paper_speedup is None else f"paper {formatting.ratio(row.paper_speedup)}"
    theory = row.theoretical_speedup
    counted = "" if theory is None else f"in theory {formatting.ratio(theory)}"
    return ", ".join(filter(None, (paper, counted)))


def conclusions(table: BoardTable) -> list[str]:
    """Which boards keep the paper's promise, and which models change places."""
    lines = []
    judged = [one for one in table.boards if one.kept + one.not_kept + one.open]
    if judged:
        parts = []
        for one in judged:
            count = one.kept + one.not_kept + one.open
            undecided = f", {one.open} open" if one.open else ""
            parts.append(f"{one.host} {one.kept} of {count}{undecided}")
        lines.append(f"The paper's promises kept: {'; '.join(parts)}.")
    lines += [
        f"{one.one} is faster than {one.other} on {', '.join(one.one_is_faster)}, slower on "
        f"{', '.join(one.other_is_faster)}."
        for one in table.reversals
    ]
    if not table.reversals:
        lines.append("No two models certainly change places between these boards.")
    return lines


def conditions(table: BoardTable) -> list[str]:
    """Each board with the suite that counts."""
    return [
        f"{one.host}: {one.board or one.cpu}; {table.runtime} {one.runtime_version or ''}; "
        f"suite {one.suite}, {one.started_at:%Y-%m-%d %H:%M}"
        for one in table.boards
    ]


def terminal(tables: BoardTables, *, width: int | None = None, color: bool = False) -> str:
    """The tables as text; see ``report.terminal`` for the arguments."""
    stream = StringIO()
    console = Console(
        file=stream, width=width, force_terminal=color, highlight=False, emoji=False, markup=False
    )
    for table in tables.tables:
        console.print(Text(heading(table), style="bold"))
        per_grid = max(1, (console.width - _MODEL_WIDTH) // _BOARD_WIDTH)
        columns = range(len(table.boards))
        for at in columns[::per_grid]:
            console.print(_grid(table, columns[at : at + per_grid]))
        for line in (*conclusions(table), ""):
            console.print(Text(line))
        for line in (*conditions(table), ""):
            console.print(Text(line, style="dim"))
    console.print(Text(_LEGEND, style="dim"))
    for line in predictions.lines(predictions.rows_by_board(tables)):
        console.print(Text(line))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def speedups(table: BoardTable, name: str) -> Chart | None:
    """The chart: speedups of each model by boards; None without any."""
    lines, top = [], 1.0
    for row in table.rows:
        for board, figure in zip(table.boards, row.figures, strict=True):
            if figure is None or figure.speedup is None:
                continue
            lines.append(_line(row, board.host, figure))
            top = max(
                top, figure.speedup.high, row.paper_speedup or 0, row.theoretical_speedup or 0
            )
    if not lines:
        return None
    counted = table.metric is Metric.INSTRUCTIONS
    quantity = "Fewer instructions than" if counted else "Speedup over"
    title = f"{quantity} {baseline_title(table)} by board"
    text = (
        "Each board's speedup with its 95 % interval, next to the paper's and the multiply-adds'."
    )
    axis = Axis(low=0, high=top * 1.04, label=lambda value: f"{numerals.short(value)}×")
    same = Reference(value=1.0, tone="same", tip="as fast as the baseline")

    def draw(width: int | None) -> str:
        return chart(
            lines, axis, name=name, title=title, description=text, references=(same,), width=width
        )

    keys = (
        Key(tone="measured", text="measured, with its 95 % interval"),
        Key(tone="theory", text="in theory (ratio of multiply-adds)"),
        Key(tone="paper", text="paper (Snapdragon 820)"),
        Key(tone="same", text="as fast as the baseline"),
    )
    return Chart(name=name, title=title, text=text, keys=keys, draw=draw, height=height(lines))


def _line(row: BoardRow, host: str, figure: BoardFigure) -> Line:
    speedup = figure.speedup
    assert speedup is not None
    span = formatting.span(speedup.low, speedup.high)
    tainted = figure.is_speedup_tainted
    marks: list[PointMark | Whisker] = [
        PointMark(
            shape="bar",
            value=speedup.ratio,
            tone="tainted" if tainted else "measured",
            tip=f"measured: {row.title} on {host}",
        ),
        Whisker(low=speedup.low, high=speedup.high, tip=f"95 % interval {span}"),
    ]
    if row.theoretical_speedup is not None:
        tip = f"in theory {formatting.ratio(row.theoretical_speedup)}"
        marks.append(PointMark(shape="tick", value=row.theoretical_speedup, tone="theory", tip=tip))
    if row.paper_speedup is not None:
        tip = f"paper: {formatting.ratio(row.paper_speedup)}"
        marks.append(PointMark(shape="diamond", value=row.paper_speedup, tone="paper", tip=tip))
    sign = formatting.SIGNS["tainted"] if tainted else ""
    value = f"{sign}{formatting.ratio(speedup.ratio)} ({span})"
    stability = "tainted" if tainted else figure.stability
    return Line(group=row.title, label=host, value=value, marks=tuple(marks), tone=stability)


def _grid(table: BoardTable, columns: Sequence[int]) -> Grid:
    grid = Grid(box=box.HORIZONTALS, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    grid.add_column("Model", max_width=_MODEL_WIDTH - 2, overflow="fold")
    for index in columns:
        grid.add_column(table.boards[index].host, justify="right", overflow="fold")
    for row in table.rows:
        name = Text(row.title, style="bold cyan" if row.is_baseline else "bold")
        if promised := claims(row):
            name.append("\n" + promised.replace(", ", "\n"), style="not bold dim")
        grid.add_row(name, *(_boxed(table, row.figures[index]) for index in columns))
        grid.add_section()
    return grid


_STYLES = {"good": "bold green", "bad": "bold", "doubt": "yellow", "tainted": "red", "": "bold"}
_PROMISE_STYLES = {"good": "green", "bad": "red", "doubt": "yellow", "": ""}


def _boxed(table: BoardTable, figure: BoardFigure | None) -> Text:
    first, second, promise = told(table, figure)
    text = Text(first, style=_STYLES[tone(figure)])
    if second:
        text.append(f"\n{second}", style="not bold default")
    if promise and figure is not None:
        text.append(f"\n{promise}", style=f"not bold {_PROMISE_STYLES[promise_tone(figure)]}")
    return text


def _markdown(tables: BoardTables) -> str:
    parts = []
    for table in tables.tables:
        lines = [f"**{markdown.escape(heading(table))}**", ""]
        header = [
            "Model",
            "Paper",
            "In theory",
            *(markdown.escape(one.host) for one in table.boards),
        ]
        lines += [_row(header), _row([":--", *("--:" for _ in header[1:])])]
        for row in table.rows:
            boxes = [
                "<br>".join(map(markdown.escape, filter(None, told(table, one))))
                for one in row.figures
            ]
            lines.append(_row([markdown.escape(row.title), *_promised(row), *boxes]))
        lines += [
            "",
            *(f"- {markdown.escape(one)}" for one in (*conclusions(table), *conditions(table))),
        ]
        parts.append("\n".join(lines))
    predicted = markdown.predicted(predictions.rows_by_board(tables))
    return "\n\n".join([*parts, *predicted, markdown.escape(_LEGEND)]) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _promised(row: BoardRow) -> list[str]:
    values = (row.paper_speedup, row.theoretical_speedup)
    return [formatting.ABSENT if one is None else formatting.ratio(one) for one in values]


def _latex(tables: BoardTables) -> str:
    parts = ["% Written by shufflenet-deploy. Needs \\usepackage{booktabs}."]
    for table in tables.tables:
        names = ["Model", "Paper", "In theory", *(latex.escape(one.host) for one in table.boards)]
        rows = []
        for row in table.rows:
            boxes = [told(table, one) for one in row.figures]
            first = [row.title, *_promised(row), *(one[0] for one in boxes)]
            rows.append(" & ".join(map(latex.escape, first)) + r" \\")
            if any(one[1] for one in boxes):
                rows.append(
                    " & ".join(["", "", "", *(latex.escape(one[1]) for one in boxes)]) + r" \\"
                )
        body = "\n".join(rows)
        notes = "\n\n".join(map(latex.escape, (*conclusions(table), *conditions(table), _LEGEND)))
        parts.append(
            rf"""\begin{{table}}[htbp]
\centering
\caption{{{latex.escape(heading(table))}: speedup by board.}}
\footnotesize
\begin{{tabular}}{{@{{}}l{"r" * (len(names) - 1)}@{{}}}}
\toprule
{" & ".join(names)} \\
\midrule
{body}
\bottomrule
\end{{tabular}}

\medskip
\begin{{minipage}}{{\linewidth}}
\raggedright
{notes}
\end{{minipage}}
\end{{table}}
"""
        )
    return "\n".join([*parts, *latex.predicted(predictions.rows_by_board(tables))])


def _csv(tables: BoardTables) -> str:
    """One line per model and board, in raw units."""
    stream = StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    setting = ("metric", "runtime", "format", "precision", "threads", "resolution", "baseline")
    about = ("host", "board", "cpu", "suite", "runtime_version")
    ends = ("median", "low", "high")
    writer.writerow(
        [
            *(*setting, *about, "model", "options", "unit", *ends, "speedup", "speedup_low"),
            *(
                "speedup_high",
                "paper_speedup",
                "theoretical_speedup",
                "promise",
                "rank",
                "stability",
                *json_csv.predicted(()),
            ),
        ]
    )
    for table in tables.tables:
        for row in table.rows:
            for board, one in zip(table.boards, row.figures, strict=True):
                if one is None:
                    continue
                figures = (
                    *(getattr(one.estimate, name, None) for name in ends),
                    *(getattr(one.speedup, name, None) for name in ("ratio", "low", "high")),
                    row.paper_speedup,
                    row.theoretical_speedup,
                )
                options = "; ".join(f"{name}={value}" for name, value in row.options.items())
                writer.writerow(
                    [
                        *(getattr(table, name) for name in setting),
                        *(getattr(board, name) for name in about),
                        *(row.model, options, table.metric.unit),
                        *(None if value is None else numerals.plain(value) for value in figures),
                        *(one.promise, one.rank, one.stability),
                        *json_csv.predicted(one.predictions).values(),
                    ]
                )
    return stream.getvalue()


def _json(tables: BoardTables) -> str:
    return tables.model_dump_json(indent=2) + "\n"


_FORMS: Mapping[Rendering, Callable[[BoardTables], str]] = {
    Rendering.TERMINAL: terminal,
    Rendering.MARKDOWN: _markdown,
    Rendering.CSV: _csv,
    Rendering.JSON: _json,
    Rendering.LATEX: _latex,
}
