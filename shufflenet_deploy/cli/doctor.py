"""``doctor``: check a target for sources of measurement error, with a fix for each."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shufflenet_deploy.cli import common_options
from shufflenet_deploy.cli.hosts import (
    HOST_HELP,
    Coordinator,
    PowerCycle,
    SshClient,
    SshClientName,
    lab_of,
    transport_to,
)
from shufflenet_deploy.cli.inventory import hosts_of, local_host
from shufflenet_deploy.cli.multi_value import ALL, listed
from shufflenet_deploy.cli.stdout import console, print_json
from shufflenet_deploy.errors import DeployError

if TYPE_CHECKING:
    from shufflenet_deploy.bench.preflight import Check
    from shufflenet_deploy.fleet import Host
    from shufflenet_deploy.transport import Lab

_UNFIT = 1
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def register(app: typer.Typer) -> None:
    """Add the ``doctor`` command."""
    app.command()(doctor)


def doctor(  # noqa: PLR0917 - options, each passed by name
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            "-H",
            help=f"{HOST_HELP} Several, or @GROUP of hosts.toml, at the same time."
            " [default: local]",
        ),
    ] = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option("--runtime", "-r", help="Look for these only, or all. [default: all]"),
    ] = None,
    ssh_client: SshClient = "auto",
    coordinator: Coordinator = "",
    power_cycle: PowerCycle = False,
    as_json: common_options.AsJson = False,
) -> None:
    """Check hosts for sources of measurement error, before they are measured.

    Governor, limits, heat, power, load, memory, disk, clock, and where runtimes would come from.
    Nothing is written there. Exits with 1 when a check fails.
    """
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    from shufflenet_deploy import runtime as runtimes  # noqa: PLC0415
    from shufflenet_deploy.bench import preflight  # noqa: PLC0415

    named = listed(runtime) or [ALL]
    wanted = list(runtimes.names()) if ALL in named else named
    hosts = hosts_of(listed(host)) or [local_host()]
    reach = _Reach(ssh_client, lab_of(coordinator, power_cycle=power_cycle))
    if len(hosts) == 1:
        examined = [_Examined(hosts[0].name, _checks(hosts[0], wanted, reach))]
    else:
        with ThreadPoolExecutor(len(hosts)) as pool:
            examined = list(pool.map(lambda one: _examined(one, wanted, reach), hosts))
    fit = [not one.error and preflight.is_ready(one.checks) for one in examined]
    if as_json:
        documents = [_as_json(one, fit=good) for one, good in zip(examined, fit, strict=True)]
        print_json(documents[0] if len(hosts) == 1 else {"fit": all(fit), "hosts": documents})
    else:
        for one, good in zip(examined, fit, strict=True):
            if one.error:
                typer.echo(f"{one.host}: {one.error}", err=True)
            else:
                _print(one.host, one.checks, fit=good)
    if not all(fit):
        raise typer.Exit(_UNFIT)


@dataclass(frozen=True)
class _Reach:
    """Who connects, and how boards of a lab are leased."""

    ssh_client: SshClientName
    lab: Lab


@dataclass(frozen=True)
class _Examined:
    """A host with its checks, or with the error that kept it from being examined."""

    host: str
    checks: list[Check]
    error: str = ""


def _examined(host: Host, runtimes: list[str], reach: _Reach) -> _Examined:
    """Examine one of several hosts: what fails is its own finding."""
    try:
        return _Examined(host.name, _checks(host, runtimes, reach))
    except DeployError as error:
        return _Examined(host.name, [], str(error))


def _checks(host: Host, runtimes: list[str], reach: _Reach) -> list[Check]:
    from shufflenet_deploy.bench import preflight, preflight_probe  # noqa: PLC0415
    from shufflenet_deploy.target import Target  # noqa: PLC0415

    link = transport_to(host.target, name=host.name, ssh_client=reach.ssh_client, lab=reach.lab)
    with link, Target(link, root=host.folder or "") as target:
        return preflight.checks(preflight_probe.probe(target, runtimes))


def _as_json(one: _Examined, *, fit: bool) -> dict[str, Any]:
    document = {"host": one.host, "fit": fit, "checks": [asdict(check) for check in one.checks]}
    return {**document, "error": one.error} if one.error else document


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
