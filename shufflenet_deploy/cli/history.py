"""``history``: a cell over suites, the steps in it, and an exit code for continuous integration."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from shufflenet_deploy.cli import common_options, completion
from shufflenet_deploy.cli import table as tables
from shufflenet_deploy.cli.inventory import hosts_of
from shufflenet_deploy.cli.journal import open_journal
from shufflenet_deploy.cli.multi_value import listed
from shufflenet_deploy.cli.stdout import console, print_json
from shufflenet_deploy.errors import UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.journal import MeasuredCell
    from shufflenet_deploy.report.history import History

_SLOWER = 1
#: The rate of false alarms where none is asked for.
RATE = "1%"
#: More cells at once are no history that anybody reads; each has its runs to be read, too.
_MOST_CELLS = 60

HOST = typer.Option(
    "--host",
    "-H",
    help="Only these hosts, or @groups of hosts.toml (comma-separated). [default: all]",
)
SINCE = typer.Option(
    "--since", help="Only suites since a date (2026-09-30) or for a time (90d, 12w). [default: all]"
)
LAST = typer.Option(
    "--last", min=1, help="So many suites of each cell at most, the newest of those that fit."
)
#: A year of nights.
NEWEST = 365
FALSE_ALARMS = typer.Option(
    "--false-alarms", help="A step is told where nothing changed in at most so many histories."
)
MODEL = typer.Option(
    "--model",
    "-m",
    help="Only these models (comma-separated). [default: all]",
    autocompletion=completion.models,
)


def register(app: typer.Typer) -> None:
    """Add the ``history`` command."""
    app.command()(history)


def history(  # noqa: PLR0917 - options, each passed by name
    host: Annotated[str | None, HOST] = None,
    model: Annotated[str | None, MODEL] = None,
    since: Annotated[str | None, SINCE] = None,
    last: Annotated[int, LAST] = NEWEST,
    runtime: Annotated[str | None, tables.RUNTIME] = None,
    precision: Annotated[str | None, tables.PRECISION] = None,
    resolution: Annotated[str | None, tables.RESOLUTION] = None,
    false_alarms: Annotated[str, FALSE_ALARMS] = RATE,
    journal: common_options.Journal = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show a cell over suites: its figures, what changed, and where it became slower or faster.

    Exit code 1 when the last step of a history is a slowdown, 0 otherwise.
    """
    from shufflenet_deploy.report import history_text  # noqa: PLC0415

    found = read(
        host=host, model=model, since=since, last=last, runtime=runtime,
        precision=precision, resolution=resolution, false_alarms=false_alarms, journal=journal,
    )  # fmt: skip
    if as_json:
        print_json(history_text.as_json(found))
    else:
        typer.echo(history_text.terminal(found, width=console().width), nl=False)
    if any(one.slowdown is not None for one in found):
        raise typer.Exit(_SLOWER)


def read(
    *,
    host: str | None,
    model: str | None,
    since: str | None,
    last: int,
    runtime: str | None,
    precision: str | None,
    resolution: str | None,
    false_alarms: str,
    journal: str | None,
) -> list[History]:
    """The histories that options ask for, for ``history`` and ``report --history``.

    Raises:
        UsageError: nothing fits, or too much.
    """
    from shufflenet_deploy.records import Resolution  # noqa: PLC0415
    from shufflenet_deploy.report.comparison import parse_threshold  # noqa: PLC0415
    from shufflenet_deploy.report.history import histories  # noqa: PLC0415

    rate = parse_threshold(false_alarms, "rate of false alarms")
    if rate <= 0:
        raise UsageError("--false-alarms 0 would allow no step at all: write a share such as 1%")
    start = _moment(since) if since else None
    sizes = [str(Resolution.parse(text)) for text in listed(resolution)]
    wanted: dict[str, tuple[list[str], Callable[[MeasuredCell], str]]] = {
        "host": ([one.name for one in hosts_of(listed(host))], lambda one: one.host),
        "model": (listed(model), lambda one: one.cell.model),
        "runtime": (listed(runtime), lambda one: one.cell.runtime),
        "precision": (listed(precision), lambda one: one.cell.precision.value),
        "resolution": (sizes, lambda one: str(one.cell.resolution)),
    }
    with open_journal(journal) as book:
        cells = book.cells()
        if not cells:
            raise UsageError(f"no runs in {book.location}: run bench first")
        for name, (values, of) in wanted.items():
            cells = _fitting(cells, name, values, of)
        if len(cells) > _MOST_CELLS:
            raise UsageError(
                f"{len(cells)} cells fit, and {_MOST_CELLS} at most are shown: name a --host, a "
                "--model, a --runtime, a --precision or a --resolution"
            )
        found = histories(
            book, sorted(cells, key=_order), since=start, last=last, false_alarms=rate
        )
    if not found:
        raise UsageError(f"nothing of these was measured since {since}: leave --since out")
    return found


def _fitting(
    cells: Sequence[MeasuredCell],
    name: str,
    values: Sequence[str],
    of: Callable[[MeasuredCell], str],
) -> list[MeasuredCell]:
    from shufflenet_deploy.report.suite_table import nearest_first  # noqa: PLC0415

    present = sorted({of(cell) for cell in cells})
    for value in values:
        if value not in present:
            raise UsageError(
                f"no run with --{name} {value}; measured: {nearest_first(value, present)}"
            )
    return [cell for cell in cells if not values or of(cell) in values]


def _order(one: MeasuredCell) -> tuple[object, ...]:
    cell = one.cell
    size = cell.resolution
    return (
        *(one.host, one.metric.value, cell.model, sorted(cell.options.items())),
        *(size.pixels, size.height, cell.display_order, cell.format),
    )


def _moment(text: str) -> datetime:
    """A date or time (of UTC where it names no zone), or so long ago.

    Raises:
        UsageError: it is neither.
    """
    if ago := re.fullmatch(r"([0-9]{1,5})([dw])", text):
        days = int(ago[1]) * (7 if ago[2] == "w" else 1)
        return datetime.now(UTC) - timedelta(days=days)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"--since '{text}' is neither a date such as 2026-09-30 nor a time such as 90d or 12w"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
