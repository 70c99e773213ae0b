"""``tune governor``: set a target's frequency governor until ``restore`` or its next start."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from shufflenet_deploy.cli import common_options
from shufflenet_deploy.cli.hosts import HOST_HELP, SshClient, transport_to
from shufflenet_deploy.cli.multi_value import one_of
from shufflenet_deploy.cli.stdout import print_json

_USUAL = "performance"


def register(group: typer.Typer) -> None:
    """Add the ``governor`` subcommand."""
    group.command()(governor)


def governor(
    host: Annotated[str, typer.Option("--host", "-H", help=HOST_HELP)],
    wanted: Annotated[
        str | None,
        typer.Argument(metavar="GOVERNOR", help=f"What to set it to. [default: {_USUAL}]"),
    ] = None,
    option: Annotated[
        str | None, typer.Option("--governor", help=f"The same. [default: {_USUAL}]")
    ] = None,
    ssh_client: SshClient = "auto",
    as_json: common_options.AsJson = False,
) -> None:
    """Set the frequency governor of a host, as root or with password-less sudo.

    What stood before is noted there; a restart of the host, or restore, puts it back. To set it for
    one measurement only, use bench --governor.
    """
    from shufflenet_deploy.target import Target  # noqa: PLC0415

    chosen = one_of(wanted, option, "--governor") or _USUAL
    with transport_to(host, ssh_client=ssh_client) as link, Target(link) as target:
        done = target.set_governor(chosen)
    if as_json:
        print_json({"host": host, **asdict(done)})
        return
    cores = f"{done.cores} core{'s' if done.cores > 1 else ''}"
    typer.echo(
        f"{host}: {done.now} on {cores}, before: {', '.join(done.before)}; "
        f"back with: shufflenet-deploy restore --host {host}"
    )
