"""The transport to a host as users name it, a virtual board included."""

from __future__ import annotations

from collections.abc import Callable

from shufflenet_deploy import transport
from shufflenet_deploy.board import manager
from shufflenet_deploy.board.qemu import BoardSettings
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.transport import Lab, SshClient, Transport


def transport_to(
    host: str,
    *,
    name: str | None = None,
    on_stage: Callable[[str], None] | None = None,
    start_board: bool = False,
    deterministic: bool | None = None,
    ssh_client: SshClient = "auto",
    lab: Lab | None = None,
) -> Transport:
    """Choose the transport to a host; the caller enters it to connect.

    Args:
        host: ``local``, ``user@host[:port]``, an ssh alias, ``adb[:SERIAL]``, ``labgrid:PLACE``
            or ``board[:NAME]``; a virtual board is reached over SSH like any other machine.
        name: what messages and records call it; ``host`` itself by default.
        on_stage: told the stages of starting a board, and what a lab is waited for.
        start_board: start the virtual board when it does not run.
        deterministic: True for a board whose clock counts instructions, False for one whose clock
            measures time, None for either.
        ssh_client: the client of an SSH connection: ``paramiko``, ``openssh`` or ``auto``.
        lab: how a place of a lab is leased.

    Raises:
        UsageError: there is no such host or board, or its clock is of the other kind.
        BoardError: the virtual board could not be started.
    """
    kind, _, board_name = host.partition(":")
    if kind != "board":
        if deterministic:
            raise UsageError(
                f"instructions are counted on a virtual board only, not on {host}: use --host board"
            )
        return transport.connect(host, name=name, ssh_client=ssh_client, lab=lab, on_stage=on_stage)
    board_name = board_name or manager.DEFAULT_NAME
    board = manager.find(board_name)
    if board is None or not board.running:
        option = "" if board_name == manager.DEFAULT_NAME else f" --name {board_name}"
        if not start_board:
            raise UsageError(
                f"the board {board_name} is not running: shufflenet-deploy board up{option}"
            )
        board = manager.up(
            BoardSettings.choose(name=board_name, deterministic=bool(deterministic)),
            on_stage=on_stage or (lambda _: None),
        )
    if deterministic is not None and deterministic != board.settings.deterministic:
        option = "" if board_name == manager.DEFAULT_NAME else f" --name {board_name}"
        runs, wanted = ("time", "instructions") if deterministic else ("instructions", "time")
        again = " and try again" if board_name == manager.DEFAULT_NAME else ", then board up anew"
        raise UsageError(
            f"the clock of board {board_name} counts {runs}, not {wanted}: measure"
            f" --metric {'latency' if deterministic else 'instructions'} there, or switch it off"
            f" with shufflenet-deploy board down{option}{again}"
        )
    return transport.connect(board.ssh_settings(), name=name or host, ssh_client=ssh_client)
