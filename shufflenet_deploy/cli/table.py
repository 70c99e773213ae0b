"""``table``: the paper's Table 8 from measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shufflenet_deploy.cli import common_options, completion, preflight
from shufflenet_deploy.cli.journal import open_journal
from shufflenet_deploy.cli.multi_value import listed
from shufflenet_deploy.cli.stdout import show
from shufflenet_deploy.errors import UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.analysis.profile import Breakdown
    from shufflenet_deploy.records import Run
    from shufflenet_deploy.report.render import Rendering
    from shufflenet_deploy.report.table import Table

SUITE = typer.Option(
    "--suite",
    help="A suite's id, its beginning, 'last', or 'all'.",
    autocompletion=completion.suites,
)
BASELINE = typer.Option(
    "--baseline", help="The model that speedups are over, or 'none'. [default: the suite's own]"
)
MODEL = typer.Option("--model", "-m", help="Only these models (comma-separated). [default: all]")
RUNTIME = typer.Option(
    "--runtime", "-r", help="Only these runtimes (comma-separated). [default: all]"
)
PRECISION = typer.Option(
    "--precision", "-p", help="Only these precisions (comma-separated). [default: all]"
)
RESOLUTION = typer.Option(
    "--resolution", help="Only these resolutions (comma-separated). [default: all]"
)


class By(StrEnum):
    """The values of ``--by``."""

    SETTING = "setting"
    HOST = "host"


class Form(StrEnum):
    """The values of ``--format``; the same as those of ``report.render.Rendering``."""

    TERMINAL = "terminal"
    MARKDOWN = "md"
    CSV = "csv"
    JSON = "json"
    LATEX = "latex"


_FORMAT = typer.Option(
    "--format",
    metavar="FORM",
    help="terminal, md, csv, json or latex; --out FILE sets it by its ending. [default: terminal]",
)
_OUT = typer.Option(
    "--out", "-o", help="Write to this file; to a folder, every format. [default: print]"
)
_BY = typer.Option("--by", help="setting: a table per setting; host: models by hosts.")
_JSON = typer.Option("--json", help="Short for --format json.")


def register(app: typer.Typer) -> None:
    """Add the ``table`` command."""
    app.command()(table)


def table(  # noqa: PLR0917 - one parameter per option
    suite: Annotated[str, SUITE] = "last",
    journal: common_options.Journal = None,
    baseline: Annotated[str | None, BASELINE] = None,
    form: Annotated[Form | None, _FORMAT] = None,
    out: Annotated[Path | None, _OUT] = None,
    model: Annotated[str | None, MODEL] = None,
    runtime: Annotated[str | None, RUNTIME] = None,
    precision: Annotated[str | None, PRECISION] = None,
    resolution: Annotated[str | None, RESOLUTION] = None,
    by: Annotated[By, _BY] = By.SETTING,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Print the speedup table: models, resolutions, speedup over AlexNet, and the paper's.

    With --by host it shows the models by boards: which keep the paper's promise, and which models
    change places.
    """
    from shufflenet_deploy.report.render import Rendering  # noqa: PLC0415

    if as_json and form not in (None, Form.JSON):
        raise UsageError(f"--json and --format {form} contradict each other: keep one")
    chosen = Form.JSON if as_json else form
    targets = _targets(out, Rendering(chosen) if chosen else None) if out is not None else []
    built = build(
        suite=suite, journal=journal, baseline=baseline,
        model=model, runtime=runtime, precision=precision, resolution=resolution,
    )  # fmt: skip
    rendered, colored = _renderers(built, by)
    if out is not None:
        from shufflenet_deploy.atomic_files import write_whole  # noqa: PLC0415

        for path, content in [(path, rendered(rendering)) for path, rendering in targets]:
            write_whole(path, content)
            typer.echo(f"wrote {path}", err=True)
    elif chosen in (None, Form.TERMINAL):
        show(colored)
    else:
        typer.echo(rendered(Rendering(chosen)), nl=False)


def _renderers(built: Table, by: By) -> tuple[Callable[[Rendering], str], Callable[[bool], str]]:
    """The table in a form, and on a terminal with or without colours."""
    if by is By.HOST:
        from shufflenet_deploy.report import boards_render  # noqa: PLC0415
        from shufflenet_deploy.report.boards import BoardTables  # noqa: PLC0415

        tables = BoardTables.of(built)
        boards_render.check(tables)
        return (
            lambda form: boards_render.render(tables, form),
            lambda color: boards_render.terminal(tables, color=color),
        )
    from shufflenet_deploy.report import render  # noqa: PLC0415

    return (
        lambda form: render.render(built, form),
        lambda color: render.terminal(built, color=color),
    )


def build(
    *,
    suite: str,
    journal: str | None,
    baseline: str | None,
    model: str | None = None,
    runtime: str | None = None,
    precision: str | None = None,
    resolution: str | None = None,
) -> Table:
    """Read the journal, select runs and arrange them, for ``table`` and ``report``.

    Raises:
        UsageError: there are no runs, nothing fits, or no run is of the named baseline.
    """
    from shufflenet_deploy.records import Resolution  # noqa: PLC0415
    from shufflenet_deploy.report.suite_table import (  # noqa: PLC0415
        choose_baseline,
        nearest_first,
        read_runs,
    )
    from shufflenet_deploy.report.table import Table  # noqa: PLC0415

    with open_journal(journal) as book:
        runs, own = read_runs(book, suite)
        evaluations, predicted = book.evaluations(), book.predictions()
    baseline = choose_baseline(runs, own, baseline)
    sizes = [str(Resolution.parse(text)) for text in listed(resolution)]
    wanted: dict[str, tuple[list[str], Callable[[Run], str]]] = {
        "model": (listed(model), lambda run: run.cell.model),
        "runtime": (listed(runtime), lambda run: run.cell.runtime),
        "precision": (listed(precision), lambda run: run.cell.precision.value),
        "resolution": (sizes, lambda run: str(run.cell.resolution)),
    }
    for name, (values, of) in wanted.items():
        present = _distinct(map(of, runs))
        for value in values:
            if value not in present:
                raise UsageError(
                    f"no run with --{name} {value}; measured: {nearest_first(value, present)}"
                )
        # The baseline stays whatever models are asked for: the speedups are over it.
        keep = {*values, baseline} if name == "model" else {*values}
        runs = [run for run in runs if not values or of(run) in keep]
    if not runs:
        raise UsageError("no run fits all of these options; leave one of them out")
    return Table.from_runs(runs, baseline=baseline, evaluations=evaluations, predicted=predicted)


def profiles(suite: str, journal: str | None) -> list[Breakdown]:
    """The profiles of one suite, or of all."""
    from shufflenet_deploy.analysis import profile  # noqa: PLC0415

    with open_journal(journal) as book:
        chosen = None if suite == "all" else book.suite(suite).id
        profiled = book.profiles(chosen)
        return profile.of_suite(profiled, book.runs(chosen)) if profiled else []


def _targets(out: Path, form: Rendering | None) -> list[tuple[Path, Rendering]]:
    """The files to write, each with its format; refused before anything is read or computed."""
    from shufflenet_deploy.report.render import Rendering  # noqa: PLC0415

    if out.is_dir() or not out.suffix:
        forms = [form] if form else [each for each in Rendering if each is not Rendering.TERMINAL]
        targets = [(out / f"table{each.suffix}", each) for each in forms]
        preflight.writable_folder("--out", out, [path.name for path, _ in targets])
        return targets
    by_suffix = {each.suffix: each for each in Rendering}
    inferred = form or by_suffix.get(out.suffix.lower())
    if inferred is None:
        raise UsageError(
            f"cannot infer a format from {out.name}: end it in {', '.join(by_suffix)}, "
            "or give --format"
        )
    preflight.writable_file("--out", out, "table.md")
    return [(out, inferred)]


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
