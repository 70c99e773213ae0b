"""The table as LaTeX for a paper: booktabs, one ``table`` per block, any engine."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from shufflenet_deploy.report import formatting, predictions
from shufflenet_deploy.report.table import Table
from shufflenet_deploy.report.table_model import Block, Row, TableCell

_COMMANDS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\ensuremath{<}",
    ">": r"\ensuremath{>}",
    "|": r"\ensuremath{|}",
    # Not \\textquotedbl, which the oldest font encoding, still the default, lacks.
    '"': r"{''}",
    "'": r"{'}",
    "`": r"{`}",
    "-": r"{-}",
    "[": r"{[}",
    "]": r"{]}",
    "×": r"\ensuremath{\times}",
    "±": r"\ensuremath{\pm}",
    "·": r"\ensuremath{\cdot}",
    "–": "--",
    "µ": r"\ensuremath{\mu}",
    "°": r"\ensuremath{^\circ}",
}


def latex(table: Table) -> str:
    r"""The table as LaTeX floats; a document needs ``\usepackage{booktabs}``."""
    head = "% Written by shufflenet-deploy. Needs \\usepackage{booktabs}.\n"
    blocks = [_block(table, block) for block in table.blocks]
    return head + "\n".join([*blocks, *predicted(predictions.rows(table))])


def predicted(rows: predictions.Rows) -> list[str]:
    """The predictions of cells, in a float of its own; none where nothing was predicted."""
    if not rows:
        return []
    head, *body = [_two_lines(row) for row in (predictions.HEADER, *rows)]
    lines = "\n".join(body)
    return [
        rf"""\begin{{table}}[htbp]
\centering
\caption{{{escape(predictions.TITLE)}.}}
\footnotesize
\setlength{{\tabcolsep}}{{3pt}}
\begin{{tabular}}{{@{{}}lrrr@{{}}}}
\toprule
{head}
\midrule
{lines}
\bottomrule
\end{{tabular}}

\medskip
\begin{{minipage}}{{\linewidth}}
\raggedright
{escape(predictions.TEXT)}
\end{{minipage}}
\end{{table}}
"""
    ]


def _two_lines(row: Iterable[str]) -> str:
    """The figures, and below them what they are of: seven columns are wider than a page."""
    model, runtime, host, measured, board, figure, error = map(escape, row)
    first = " & ".join((model, measured, figure, error))
    return f"{first} \\\\\n\\quad {runtime}, {host} & & {board} & \\\\"


def escape(text: str) -> str:
    """Text that every engine sets as it stands; letters LaTeX lacks lose accents, or become ``?``.

    The result is ASCII, so that it needs neither an input encoding nor a font.
    """
    return "".join(map(_escaped, " ".join(text.split())))


def _escaped(character: str) -> str:
    if character in _COMMANDS:
        return _COMMANDS[character]
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    if not plain.isprintable() or not plain:
        return "" if unicodedata.combining(character) else "?"
    return "".join(_COMMANDS.get(letter, letter) for letter in plain)


def _block(table: Table, block: Block) -> str:
    width = 3 + len(block.columns)
    header = ["Model", r"Err \%", "MAdds", *(escape(_times(at)) for at in block.columns)]
    body = "\n\\addlinespace\n".join(_row(block, row) for row in block.rows)
    notes = [
        rf"\textsuperscript{{{number}}} {escape(text)}."
        for number, text in enumerate(block.notes, start=1)
    ]
    small = "\n\n".join(
        [
            *notes,
            " ".join(map(escape, formatting.legend(table, [block]))),
            escape(formatting.caption(block)),
        ]
    )
    return rf"""\begin{{table}}[htbp]
\centering
\caption{{{escape(formatting.heading(block))}: {escape(formatting.row_title(block))}.}}
\footnotesize
\setlength{{\tabcolsep}}{{3pt}}
\begin{{tabular}}{{@{{}}l{"r" * (width - 1)}@{{}}}}
\toprule
{" & ".join(header)} \\
\midrule
{body}
\bottomrule
\end{{tabular}}

\medskip
\begin{{minipage}}{{\linewidth}}
\raggedright
{small}
\end{{minipage}}
\end{{table}}
"""


def _row(block: Block, row: Row) -> str:
    first = [
        escape(row.title) + _marks(row.marks),
        escape(" ".join(formatting.errors(row))),
        escape(formatting.mega(row.multiply_adds)),
        *(_measured(entry) for entry in row.entries),
    ]
    lines = [first]
    for label, texts in (
        ("interval", [_reach(entry) for entry in row.entries]),
        (formatting.comparison(block), [_speedup(block, entry) for entry in row.entries]),
        ("in theory", [escape(formatting.theory(e)) if e else "" for e in row.entries]),
        ("efficiency", [escape(formatting.efficiency(e)) if e else "" for e in row.entries]),
        (
            escape(formatting.paper_label(block)),
            [escape(formatting.paper_figures_text(block, e)) if e else "" for e in row.entries],
        ),
    ):
        if any(texts):
            lines.append([rf"\quad {label}", "", "", *texts])
    return "\n".join(" & ".join(line) + r" \\" for line in lines)


def _measured(entry: TableCell | None) -> str:
    if entry is None:
        return escape(formatting.ABSENT)
    value, _ = formatting.measured(entry)
    sign = escape(formatting.SIGNS[entry.stability])
    return rf"{sign}\textbf{{{value}}}{_marks(entry.marks)}"


def _reach(entry: TableCell | None) -> str:
    estimate = entry.estimate if entry is not None else None
    return escape(formatting.deviation(estimate)) if estimate is not None else ""


def _speedup(block: Block, entry: TableCell | None) -> str:
    if entry is None or entry.speedup is None:
        return ""
    value, interval = formatting.speedup(block, entry)
    text = f"{escape(value)} {escape(interval)}"
    return text if entry.speedup.distinguishable else f"{text} {formatting.UNDISTINGUISHED}"


def _marks(numbers: Sequence[int]) -> str:
    return rf"\textsuperscript{{{','.join(map(str, numbers))}}}" if numbers else ""


def _times(resolution: object) -> str:
    return str(resolution).replace("x", " × ")
