"""``compare``: two suites cell by cell, and an exit code for continuous integration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shufflenet_deploy.cli import common_options, completion, preflight
from shufflenet_deploy.cli.journal import open_journal
from shufflenet_deploy.cli.stdout import show
from shufflenet_deploy.errors import UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.journal import Journal
    from shufflenet_deploy.records import Run

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
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 for tainted cells, too.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write to a .md or .json file too. [default: print only]"),
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown, for a pull request.")
    ] = False,
    journal: common_options.Journal = None,
    as_json: common_options.AsJson = False,
) -> None:
    """Compare two suites: cells that became faster or slower, and conditions that changed.

    Exit code 1 when a cell is a regression or fails now, 0 otherwise. Cells that are tainted on
    either side are not judged; with --strict they count as failed.
    """
    from shufflenet_deploy.report import comparison_render as render  # noqa: PLC0415
    from shufflenet_deploy.report.comparison import (  # noqa: PLC0415
        SuiteComparison,
        parse_threshold,
    )

    if as_json and markdown:
        raise UsageError("--json and --markdown contradict each other: keep one")
    if out is not None and out.suffix.lower() not in (_MARKDOWN_SUFFIX, _JSON_SUFFIX):
        raise UsageError(f"cannot infer a format from {out.name}: end it in .md or .json")
    if out is not None:
        preflight.writable_file("--out", out, "comparison.md")
    share = parse_threshold(threshold)
    before, after = _runs([control, treatment], journal)
    if {run.id for run in before} == {run.id for run in after}:
        raise UsageError(f"{control} and {treatment} are the same runs: name two suites")
    found = SuiteComparison.of(before, after, names=(control, treatment), threshold=share)
    rendered = f"{found.model_dump_json(indent=2)}\n"
    if out is not None:
        from shufflenet_deploy.atomic_files import write_whole  # noqa: PLC0415

        is_json = out.suffix.lower() == _JSON_SUFFIX
        write_whole(out, rendered if is_json else render.markdown(found))
        typer.echo(f"wrote {out}", err=True)
    if as_json:
        typer.echo(rendered, nl=False)
    elif markdown:
        typer.echo(render.markdown(found), nl=False)
    else:
        show(lambda color: render.terminal(found, color=color))
    if found.tainted:
        cells = f"{len(found.tainted)} of {len(found.changes)} cells"
        typer.echo(
            f"not judged: {cells} tainted on either side; measure again when doctor says fit",
            err=True,
        )
    if found.regressions or (strict and found.tainted):
        raise typer.Exit(_REGRESSED)


def _runs(names: list[str], location: str | None) -> list[list[Run]]:
    """The runs of each suite or file; the journal is opened only where a suite is named."""
    found: dict[str, list[Run]] = {}
    for name in dict.fromkeys(names):
        if _is_file(name):
            found[name] = _read(name)
    if len(found) < len(set(names)):
        with open_journal(location) as book:
            for name in names:
                if name not in found:
                    found[name] = _of_suite(book, name)
    return [found[name] for name in names]


def _of_suite(book: Journal, name: str) -> list[Run]:
    row = book.suite(name)
    return book.runs(row.id, every=True)


def _is_file(name: str) -> bool:
    from shufflenet_deploy.atomic_files import is_file  # noqa: PLC0415

    return name.endswith((".jsonl", ".json")) or os.sep in name or is_file(Path(name))


def _read(name: str) -> list[Run]:
    from shufflenet_deploy.atomic_files import read_lines, user_path  # noqa: PLC0415
    from shufflenet_deploy.journal import parse_lines  # noqa: PLC0415
    from shufflenet_deploy.records import Run  # noqa: PLC0415

    lines = read_lines(user_path(name))
    return [one for one in parse_lines(lines, name) if isinstance(one, Run)]
