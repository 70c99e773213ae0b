"""``restore``: restore the governors that ``tune``, or a bench that died, changed on a target."""

from __future__ import annotations

from typing import Annotated

import typer

from shufflenet_deploy.cli import common_options
from shufflenet_deploy.cli.hosts import HOST_HELP, SshClient, transport_to
from shufflenet_deploy.cli.stdout import print_json


def register(app: typer.Typer) -> None:
    """Add the ``restore`` command."""
    app.command()(restore)


def restore(
    host: Annotated[str, typer.Option("--host", "-H", help=HOST_HELP)],
    force: Annotated[
        bool, typer.Option("--force", help="Even while somebody measures there.")
    ] = False,
    ssh_client: SshClient = "auto",
    as_json: common_options.AsJson = False,
) -> None:
    """Restore the frequency governors from before tune, or before a bench that died."""
    from shufflenet_deploy.target import Target  # noqa: PLC0415

    with transport_to(host, ssh_client=ssh_client) as link, Target(link) as target:
        governors = target.restore(force=force)
    if as_json:
        print_json({"host": host, "governors": governors})
    elif governors is None:
        typer.echo(f"{host}: nothing was changed")
    elif not governors:
        typer.echo(f"{host}: has been restarted since, which put everything back")
    else:
        typer.echo(f"{host}: governor is {', '.join(governors)} again")
