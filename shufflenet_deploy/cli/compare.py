"""``compare``: two suites cell by cell, and an exit code for continuous integration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shufflenet_deploy.cli import completion
from shufflenet_deploy.cli.journal_option import JOURNAL_HELP
from shufflenet_deploy.cli.output import show
from shufflenet_deploy.errors import UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.records import Run
    from shufflenet_deploy.store import Journal

_REGRESSED = 1
_RUN = "A suite's id, its beginning, 'last', or a file that runs export wrote."
_MARKDOWN_SUFFIX, _JSON_SUFFIX = ".md", ".json"


def register(app: typer.Typer) -> None:
    """Add the ``compare`` command."""
    app.command()(compare)


def compare(  # noqa: PLR0917 - options, each passed by name
    control: Annotated[
        str,
        typer.Argument(
            metavar="RUN_A", help=f"What was before. {_RUN}", autocompletion=completion.suites
        ),
    ],
    treatment: Annotated[
        str,
        typer.Argument(
            metavar="RUN_B", help=f"What is now. {_RUN}", autocompletion=completion.suites
        ),
    ],
    threshold: Annotated[
        str, typer.Option(help="Certainly slower by so much or more is a regression.")
    ] = "5%",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write to a .md or .json file too. [default: print only]"),
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown, for a pull request.")
    ] = False,
    journal: Annotated[str | None, typer.Option(help=JOURNAL_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what became faster or slower from one suite to another, and which conditions changed.

    Exit code 1 when a cell is a regression or fails now, 0 otherwise.
    """
    from shufflenet_deploy.report import comparison_render as render  # noqa: PLC0415
    from shufflenet_deploy.report.comparison import Comparison, parse_threshold  # noqa: PLC0415

    if as_json and markdown:
        raise UsageError("--json and --markdown contradict each other: keep one")
    if out is not None and out.suffix.lower() not in (_MARKDOWN_SUFFIX, _JSON_SUFFIX):
        raise UsageError(f"cannot tell a format from {out.name}: end it in .md or .json")
    share = parse_threshold(threshold)
    before, after = _runs([control, treatment], journal)
    if {run.id for run in before} == {run.id for run in after}:
        raise UsageError(f"{control} and {treatment} are the same runs: name two suites")
    found = Comparison.of(before, after, names=(control, treatment), threshold=share)
    told = f"{found.model_dump_json(indent=2)}\n"
    if out is not None:
        from shufflenet_deploy.files import write_whole  # noqa: PLC0415

        is_json = out.suffix.lower() == _JSON_SUFFIX
        write_whole(out, told if is_json else render.markdown(found))
        typer.echo(f"wrote {out}", err=True)
    if as_json:
        typer.echo(told, nl=False)
    elif markdown:
        typer.echo(render.markdown(found), nl=False)
    else:
        show(lambda color: render.terminal(found, color=color))
    if found.regressions:
        raise typer.Exit(_REGRESSED)


def _runs(names: list[str], location: str | None) -> list[list[Run]]:
    """The runs of each suite or file; the journal is opened only where a suite is named."""
    found: dict[str, list[Run]] = {}
    for name in dict.fromkeys(names):
        if _is_file(name):
            found[name] = _read(name)
    if len(found) < len(set(names)):
        from shufflenet_deploy.store import Journal  # noqa: PLC0415

        with Journal(location) as book:
            for name in names:
                if name not in found:
                    found[name] = _of_suite(book, name)
    return [found[name] for name in names]


def _of_suite(book: Journal, name: str) -> list[Run]:
    row = book.suite(name)
    return book.runs(row.id)


def _is_file(name: str) -> bool:
    return name.endswith((".jsonl", ".json")) or os.sep in name or Path(name).is_file()


def _read(name: str) -> list[Run]:
    from shufflenet_deploy.records import Run  # noqa: PLC0415
    from shufflenet_deploy.store import parse_lines  # noqa: PLC0415

    try:
        with Path(name).open(encoding="utf-8") as stream:
            return [one for one in parse_lines(stream, name) if isinstance(one, Run)]
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not text, let alone JSON lines") from error
