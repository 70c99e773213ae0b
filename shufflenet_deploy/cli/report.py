"""``report``: the table and its charts as one HTML file, and the charts as image files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shufflenet_deploy.cli import common_options, preflight
from shufflenet_deploy.cli import history as histories
from shufflenet_deploy.cli import table as tables
from shufflenet_deploy.cli.journal import open_journal
from shufflenet_deploy.cli.stdout import print_json
from shufflenet_deploy.errors import UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.report.page_part import Part

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
    journal: common_options.Journal = None,
    baseline: Annotated[str | None, tables.BASELINE] = None,
    model: Annotated[str | None, tables.MODEL] = None,
    runtime: Annotated[str | None, tables.RUNTIME] = None,
    precision: Annotated[str | None, tables.PRECISION] = None,
    resolution: Annotated[str | None, tables.RESOLUTION] = None,
    history: Annotated[
        bool, typer.Option("--history", help="The histories of cells instead of one suite.")
    ] = False,
    host: Annotated[str | None, histories.HOST] = None,
    since: Annotated[str | None, histories.SINCE] = None,
    last: Annotated[int, histories.LAST] = histories.NEWEST,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object about what was written.")
    ] = False,
) -> None:
    """Write the speedup table with its charts and conditions as one HTML file.

    With --history it shows the cells over all suites instead, and where they became slower.
    """
    if history and (suite != "last" or baseline is not None):
        raise UsageError("--history is of all suites: leave --suite and --baseline out")
    if not history and (host, since, last) != (None, None, histories.NEWEST):
        raise UsageError("--host, --since and --last choose histories: add --history")
    preflight.writable_file("--out", out, "report.html")
    if plots is not None:
        preflight.writable_folder("--plots", plots)
    if history:
        page, charts = _histories(
            last=last, host=host, model=model, since=since, runtime=runtime,
            precision=precision, resolution=resolution, journal=journal,
        )  # fmt: skip
    else:
        page, charts = _table(
            suite=suite, journal=journal, baseline=baseline,
            model=model, runtime=runtime, precision=precision, resolution=resolution,
        )  # fmt: skip
    _write(out, page, plots, charts, as_json=as_json)


#: File names of images with their bytes, drawn when they are asked for.
_Images = Iterator[tuple[str, bytes]]


def _histories(*, last: int, **chosen: str | None) -> tuple[str, _Images]:
    """The page of the histories that options ask for, and its charts."""
    from shufflenet_deploy.report import chart_files, history_page  # noqa: PLC0415

    found = histories.read(**chosen, last=last, false_alarms=histories.RATE)
    return history_page.html(found), chart_files.images(history_page.charts(found))


def _table(*, suite: str, journal: str | None, **chosen: str | None) -> tuple[str, _Images]:
    """The page of one suite, or of all, and its charts."""
    from shufflenet_deploy.report import chart_files, predictions  # noqa: PLC0415
    from shufflenet_deploy.report.html import html  # noqa: PLC0415

    built = tables.build(suite=suite, journal=journal, **chosen)
    profiles = tables.profiles(suite, journal)
    parts = [*predictions.part(built), *_parts(suite, journal)]
    return html(built, profiles, parts), chart_files.plots(built, profiles, parts)


def _write(out: Path, page: str, plots: Path | None, charts: _Images, *, as_json: bool) -> None:
    from shufflenet_deploy.atomic_files import write_whole  # noqa: PLC0415

    write_whole(out, page)
    drawn: list[Path] = []
    if plots is not None:
        for name, content in list(charts):
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
        measured = newest(book.observations(chosen))
        at_rates = [one for one in measured if one.kind == "paced"]
        runs = book.runs(chosen) if at_rates else []
    turns = [one for one in measured if one.kind == "sustained"]
    return [
        *paced.part(at_rates, runs),
        *pipelines.part([one for one in measured if one.kind == "pipeline"]),
        *(sustained.part(one, f"s{number}") for number, one in enumerate(turns, start=1)),
    ]
