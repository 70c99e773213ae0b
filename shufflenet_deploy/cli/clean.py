"""``clean``: remove everything that this program put on a target."""

from __future__ import annotations

from typing import Annotated

import typer

from shufflenet_deploy.cli import common_options
from shufflenet_deploy.cli.hosts import HOST_HELP, SshClient, transport_to
from shufflenet_deploy.cli.stdout import print_json


def register(app: typer.Typer) -> None:
    """Add the ``clean`` command."""
    app.command()(clean)


def clean(
    host: Annotated[str, typer.Option("--host", "-H", help=HOST_HELP)],
    downloads: Annotated[
        bool,
        typer.Option("--downloads", help="Also remove payloads kept on this machine."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Even while somebody measures there.")
    ] = False,
    ssh_client: SshClient = "auto",
    as_json: common_options.AsJson = False,
) -> None:
    """Remove everything this program put on a host: models, runtimes, the agent."""
    from shufflenet_deploy.target import Target  # noqa: PLC0415
    from shufflenet_deploy.target import local_cache as kept  # noqa: PLC0415

    with transport_to(host, ssh_client=ssh_client) as link, Target(link) as target:
        cleaned = target.clean(force=force)
    downloads_bytes = kept.forget() if downloads else 0
    if as_json:
        found = {"host": host, "root": cleaned.root, "freed_bytes": cleaned.freed_bytes}
        print_json({**found, "downloads_freed_bytes": downloads_bytes})
        return
    if cleaned.freed_bytes:
        typer.echo(f"{host}: removed {cleaned.root}, {cleaned.freed_bytes / 1e6:.1f} MB freed")
    else:
        typer.echo(f"{host}: nothing of ours at {cleaned.root}")
    if downloads:
        typer.echo(f"here: removed downloaded payloads, {downloads_bytes / 1e6:.1f} MB freed")
