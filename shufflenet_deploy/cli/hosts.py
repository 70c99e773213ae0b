"""The ``--host`` option of every command that has it: its help and its parser."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from shufflenet_deploy.cli.inventory import coordinator_of_inventory, hosts_of
from shufflenet_deploy.errors import UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.transport import Lab, Transport

SshClientName = Literal["auto", "paramiko", "openssh"]
SSH_CLIENT_HELP = "Who connects over SSH: paramiko, openssh (your ssh program), auto (as needed)."
#: The option of every command that has ``--host``.
SshClient = Annotated[
    SshClientName, typer.Option("--ssh-client", metavar="CLIENT", help=SSH_CLIENT_HELP)
]

HOST_HELP = (
    "local, user@host[:port], an ssh alias, adb[:SERIAL], board[:NAME] (virtual), labgrid:PLACE,"
    " labgrid:TAG=VALUE,..., or a name of hosts.toml."
)
COORDINATOR_HELP = (
    "labgrid's coordinator, HOST[:PORT]. [default: $LG_COORDINATOR, hosts.toml, this machine]"
)
POWER_CYCLE_HELP = "Of places of a lab: switch the board off and on before, and off afterwards."
#: Options of the commands that may wait for a place of a lab.
Coordinator = Annotated[
    str, typer.Option("--coordinator", metavar="ADDRESS", help=COORDINATOR_HELP, show_default=False)
]
PowerCycle = Annotated[bool, typer.Option("--power-cycle", help=POWER_CYCLE_HELP)]


def lab_of(coordinator: str = "", *, power_cycle: bool = False, wait: bool = True) -> Lab:
    """How places of a lab are leased, from the options, the environment and the inventory.

    Raises:
        UsageError: an inventory is damaged.
    """
    from shufflenet_deploy.transport import Lab as LabType  # noqa: PLC0415

    known = "" if coordinator else coordinator_of_inventory()
    return LabType(coordinator=coordinator or known, power_cycle=power_cycle, wait=wait)


def transport_to(
    host: str,
    *,
    name: str | None = None,
    on_stage: Callable[[str], None] | None = None,
    start_board: bool = False,
    deterministic: bool | None = None,
    ssh_client: SshClientName = "auto",
    lab: Lab | None = None,
) -> Transport:
    """The transport to a host as typed, not yet connected; names of the inventory are resolved.

    ``board.host_transport`` imported on first use; its arguments are documented there. With
    ``name`` the host is an address already.

    Raises:
        UsageError: there is no such host, or it is a group of several.
    """
    from shufflenet_deploy.board.host_transport import transport_to as connect  # noqa: PLC0415

    if name is None:
        named = hosts_of([host])
        if len(named) != 1:
            raise UsageError(
                f"--host {host} names {len(named)} hosts, and this command asks one: choose among "
                f"{', '.join(one.name for one in named)}"
            )
        host, name = named[0].target, named[0].name
    return connect(
        host,
        name=name,
        on_stage=on_stage or _print_stage,
        start_board=start_board,
        deterministic=deterministic,
        ssh_client=ssh_client,
        lab=lab or lab_of(),
    )


def _print_stage(text: str) -> None:
    typer.echo(f"{text}...", err=True)
