"""``doctor``: check a target for sources of measurement error, with a fix for each."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from shufflenet_deploy.cli.hosts import HOST_HELP, SshClient, transport_to
from shufflenet_deploy.cli.multi_value import listed
from shufflenet_deploy.cli.stdout import console, print_json

if TYPE_CHECKING:
    from shufflenet_deploy.bench.preflight import Check

_UNFIT = 1
_RUNTIMES = ["onnxruntime", "litert", "tflite-runtime", "native"]
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def register(app: typer.Typer) -> None:
    """Add the ``doctor`` command."""
    app.command()(doctor)


def doctor(
    host: Annotated[str, typer.Option("--host", "-H", help=HOST_HELP)] = "local",
    runtime: Annotated[
        list[str] | None,
        typer.Option("--runtime", "-r", help="Look for these only. [default: all]"),
    ] = None,
    ssh_client: SshClient = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check a host for sources of measurement error, before it is measured.

    Governor, limits, heat, power, load, memory, disk, clock, and where runtimes would come from.
    Nothing is written there. Exits with 1 when a check fails.
    """
    from shufflenet_deploy.bench import preflight  # noqa: PLC0415
    from shufflenet_deploy.target import Target  # noqa: PLC0415

    with transport_to(host, ssh_client=ssh_client) as link, Target(link) as target:
        seen = preflight.probe(target, listed(runtime) or _RUNTIMES)
    checks = preflight.checks(seen)
    fit = preflight.is_ready(checks)
    if as_json:
        print_json({"host": host, "fit": fit, "checks": [asdict(check) for check in checks]})
    else:
        _print(host, checks, fit=fit)
    if not fit:
        raise typer.Exit(_UNFIT)


def _print(host: str, checks: list[Check], *, fit: bool) -> None:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, show_header=False)
    for column in ("status", "name"):
        table.add_column(column, no_wrap=True)
    table.add_column("value", overflow="fold")
    for check in checks:
        status = check.status.value
        text = Text(check.value)
        if check.why:
            text.append(f"\n{check.why}", style="dim")
        if check.remedy:
            text.append(f"\ntry: {check.remedy}")
        table.add_row(Text(status, style=_STYLES[status]), Text(check.name), text)
    console().print(table)
    counts = {name: sum(check.status == name for check in checks) for name in ("warn", "fail")}
    verdict = "fit to be measured" if fit else "not fit to be measured"
    typer.echo(f"{host}: {verdict} ({counts['fail']} fail, {counts['warn']} warn)")
