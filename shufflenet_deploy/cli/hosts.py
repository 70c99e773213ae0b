"""The ``--host`` option of every command that has it: its help and its parser."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from shufflenet_deploy.errors import UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.transport import Transport

SshClientName = Literal["auto", "paramiko", "openssh"]
SSH_CLIENT_HELP = "Who connects over SSH: paramiko, openssh (your ssh program), auto (as needed)."
#: The option of every command that has ``--host``.
SshClient = Annotated[
    SshClientName, typer.Option("--ssh-client", metavar="CLIENT", help=SSH_CLIENT_HELP)
]

HOST_HELP = "local, user@host[:port], an ssh alias, adb[:SERIAL], or board[:NAME] (virtual)."


def transport_to(
    host: str,
    *,
    on_stage: Callable[[str], None] | None = None,
    start_board: bool = False,
    deterministic: bool | None = None,
    ssh_client: SshClientName = "auto",
) -> Transport:
    """The transport to a host as typed, not yet connected.

    A virtual board is reached over SSH like any other; with ``start_board`` it is started when it
    does not run. ``deterministic`` requires one whose clock counts instructions, or, when False,
    one whose clock is real time; None accepts either.

    Raises:
        UsageError: there is no such host or board.
        BoardError: the virtual board could not be started.
    """
    from shufflenet_deploy import transport  # noqa: PLC0415

    kind, _, name = host.partition(":")
    if kind != "board":
        if deterministic:
            raise UsageError(
                f"instructions are counted on a virtual board only, not on {host}: use --host board"
            )
        return transport.connect(host, ssh_client=ssh_client)
    from shufflenet_deploy import board as boards  # noqa: PLC0415

    name = name or boards.DEFAULT_NAME
    board = boards.find(name)
    if board is None or not board.running:
        option = "" if name == boards.DEFAULT_NAME else f" --name {name}"
        if not start_board:
            raise UsageError(f"the board {name} is not running: shufflenet-deploy board up{option}")
        board = boards.up(
            boards.BoardSettings.choose(name=name, deterministic=bool(deterministic)),
            on_stage=on_stage or (lambda _: None),
        )
    if deterministic is not None and deterministic != board.settings.deterministic:
        option = "" if name == boards.DEFAULT_NAME else f" --name {name}"
        runs, wanted = ("time", "instructions") if deterministic else ("instructions", "time")
        again = " and try again" if name == boards.DEFAULT_NAME else ", then board up anew"
        raise UsageError(
            f"the clock of board {name} counts {runs}, not {wanted}: measure"
            f" --metric {'latency' if deterministic else 'instructions'} there, or switch it off"
            f" with shufflenet-deploy board down{option}{again}"
        )
    return transport.connect(board.ssh_settings(), name=host, ssh_client=ssh_client)
