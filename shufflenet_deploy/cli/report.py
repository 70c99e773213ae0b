"""``report``: the table and its charts as one HTML file, and the charts as image files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shufflenet_deploy.cli import preflight
from shufflenet_deploy.cli import table as tables
from shufflenet_deploy.cli.journal import open_journal
from shufflenet_deploy.cli.stdout import print_json

if TYPE_CHECKING:
    from shufflenet_deploy.report.html import Part

_OUT = typer.Option("--out", "-o", help="The HTML file to write.")
_PLOTS = typer.Option(
    "--plots", help="Write the charts as SVG and PNG into this folder too. [default: no]"
)


def register(app: typer.Typer) -> None:
    """Add the ``report`` command."""
    app.command()(report)


def report(  # noqa: PLR0917 - options, each passed by name
    out: Annotated[Path, _OUT] = Path("report.html"),
    plots: Annotated[Path | None, _PLOTS] = None,
    suite: Annotated[str, tables.SUITE] = "last",
    journal: Annotated[str | None, tables.JOURNAL] = None,
    baseline: Annotated[str | None, tables.BASELINE] = None,
    model: Annotated[str | None, tables.MODEL] = None,
    runtime: Annotated[str | None, tables.RUNTIME] = None,
    precision: Annotated[str | None, tables.PRECISION] = None,
    resolution: Annotated[str | None, tables.RESOLUTION] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object about what was written.")
    ] = False,
) -> None:
    """Write the speedup table with its charts and conditions as one HTML file."""
    from shufflenet_deploy.atomic_files import write_whole  # noqa: PLC0415
    from shufflenet_deploy.report.html import html  # noqa: PLC0415

    preflight.writable_file("--out", out, "report.html")
    if plots is not None:
        preflight.writable_folder("--plots", plots)
    built = tables.build(
        suite=suite,
        journal=journal,
        baseline=baseline,
        model=model,
        runtime=runtime,
        precision=precision,
        resolution=resolution,
    )
    profiles, parts = tables.profiles(suite, journal), _parts(suite, journal)
    write_whole(out, html(built, profiles, parts))
    drawn: list[Path] = []
    if plots is not None:
        from shufflenet_deploy.report.chart_files import plots as chart_images  # noqa: PLC0415

        for name, content in list(chart_images(built, profiles, parts)):
            write_whole(plots / name, content)
            drawn.append(plots / name)
    if as_json:
        written = {"report": str(out.resolve()), "plots": [str(path.resolve()) for path in drawn]}
        print_json(written)
        return
    typer.echo(f"wrote {out}", err=True)
    if plots is not None:
        typer.echo(f"wrote {len(drawn)} images to {plots}", err=True)


def _parts(suite: str, journal: str | None) -> list[Part]:
    """What was measured besides the table: at a fixed rate, and for a long time."""
    from shufflenet_deploy.cli.supplementary import newest  # noqa: PLC0415
    from shufflenet_deploy.report import paced, pipelines, sustained  # noqa: PLC0415

    with open_journal(journal) as book:
        chosen = None if suite == "all" else book.suite(suite).id
        measured, runs = newest(book.observations(chosen)), book.runs(chosen)
    turns = [one for one in measured if one.kind == "sustained"]
    return [
        *paced.part([one for one in measured if one.kind == "paced"], runs),
        *pipelines.part([one for one in measured if one.kind == "pipeline"]),
        *(sustained.part(one, f"s{number}") for number, one in enumerate(turns, start=1)),
    ]
