"""``board``: start, find, enter and switch off virtual ARM boards."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from shufflenet_deploy.cli import common_options
from shufflenet_deploy.cli.heartbeat import Heartbeat
from shufflenet_deploy.cli.multi_value import one_of
from shufflenet_deploy.cli.stdout import print_json
from shufflenet_deploy.errors import BoardError, UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.board import Board

_NAME = typer.Option("--name", "-n", help="Which board.", show_default=True)
_NAME_TOO = typer.Option("--name", "-n", help="The same. [default: default]")
_WORD = typer.Argument(metavar="NAME", help="Which board. [default: default]")

board_app = typer.Typer(
    name="board",
    help="A virtual ARM board: real aarch64 Linux behind a real sshd, in seconds.",
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    """Add the ``board`` commands."""
    app.add_typer(board_app)


@board_app.command()
def up(  # noqa: PLR0917 - options, each passed by name
    word: Annotated[str | None, _WORD] = None,
    named: Annotated[str | None, _NAME_TOO] = None,
    cpu: Annotated[
        str | None,
        typer.Option(
            "--cpu",
            help="cortex-a53, cortex-a72, cortex-a76 or max (a53, a72, a76 for short)."
            " [default: the host's own on an aarch64 host with KVM, else cortex-a72]",
        ),
    ] = None,
    smp: Annotated[int, typer.Option("--smp", help="Number of CPUs.")] = 1,
    memory: Annotated[int, typer.Option("--memory", help="Memory in MB.")] = 2048,
    deterministic: Annotated[
        bool,
        typer.Option(
            "--deterministic",
            help="Make the board's clock count instructions, for bench --metric instructions.",
        ),
    ] = False,
    lifetime: Annotated[
        int | None,
        typer.Option(
            "--lifetime",
            help="Switch off by itself after SECONDS. [default: never]",
            metavar="SECONDS",
        ),
    ] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Rebuild the image when Debian has newer packages.")
    ] = False,
    as_json: common_options.AsJson = False,
) -> None:
    """Start a board, building its image the first time; does nothing when it already runs."""
    from shufflenet_deploy import board as boards  # noqa: PLC0415

    name = _chosen(word, named)
    settings = boards.BoardSettings.choose(
        name=name,
        cpu=cpu,
        smp=smp,
        memory_mb=memory,
        deterministic=deterministic,
        lifetime_secs=lifetime,
    )
    started = time.monotonic()
    with Heartbeat() as heartbeat:

        def report(stage: str) -> None:
            typer.echo(f"{stage}...", err=True)
            heartbeat.spoke()
            heartbeat.doing(stage)

        board = boards.up(settings, refresh_image=refresh, on_stage=report)
    if as_json:
        print_json(_described(board))
        return
    suffix = "" if name == boards.DEFAULT_NAME else f" {name}"
    host = "board" if name == boards.DEFAULT_NAME else f"board:{name}"
    metric = " --metric instructions" if deterministic else ""
    typer.echo(f"{_line(board)} ({time.monotonic() - started:.1f} s)")
    typer.echo(f"  enter it    shufflenet-deploy board ssh{suffix}")
    typer.echo(f"  measure     shufflenet-deploy bench --host {host}{metric}")
    typer.echo(f"  switch off  shufflenet-deploy board down{suffix}")


@board_app.command()
def status(
    word: Annotated[str | None, _WORD] = None,
    named: Annotated[str | None, _NAME_TOO] = None,
    as_json: common_options.AsJson = False,
) -> None:
    """Print whether a board runs and answers; exit code 1 when it does not."""
    board = _find(_chosen(word, named))
    if as_json:
        print_json({**_described(board), "answers": board.running and board.answers()})
    else:
        typer.echo(_line(board))
    if not (board.running and board.answers()):
        raise typer.Exit(1)


@board_app.command("list")
def list_boards(as_json: common_options.AsJson = False) -> None:
    """List every board that was started and not switched off."""
    from shufflenet_deploy import board as boards  # noqa: PLC0415

    found = boards.boards()
    if as_json:
        print_json({"boards": [_described(board) for board in found]})
        return
    if not found:
        typer.echo("no boards; start one with: shufflenet-deploy board up")
    for board in found:
        typer.echo(_line(board))


@board_app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def ssh(
    context: typer.Context,
    name: Annotated[str, _NAME] = "default",
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print one JSON object: the command's output, or how to connect."
        ),
    ] = False,
) -> None:
    """Open a shell on a board, or run what follows ``--`` there."""
    board = _find(name)
    if not board.running:
        raise BoardError(f"board {name} does not run; start it with: {_up_command(name)}")
    argv = [*board.ssh_argv(), *context.args]
    try:
        if as_json:
            _print_ssh(argv, has_command=bool(context.args))
        os.execvp(argv[0], argv)  # noqa: S606 - no shell; this process becomes ssh
    except FileNotFoundError as error:
        raise BoardError("ssh is not installed: run sudo apt-get install openssh-client") from error


def _print_ssh(argv: list[str], *, has_command: bool) -> NoReturn:
    """Run a command on the board and print its output; without one, print how to connect."""
    import subprocess  # noqa: PLC0415

    if not has_command:
        print_json({"ssh": argv})
        raise typer.Exit
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    print_json(
        {
            "ssh": argv,
            "exit_code": done.returncode,
            "stdout": done.stdout,
            "stderr": done.stderr,
        }
    )
    raise typer.Exit(done.returncode)


@board_app.command()
def down(
    word: Annotated[str | None, _WORD] = None,
    named: Annotated[str | None, _NAME_TOO] = None,
    every: Annotated[bool, typer.Option("--all", help="All boards.")] = False,
    as_json: common_options.AsJson = False,
) -> None:
    """Switch a board off and remove everything it left."""
    from shufflenet_deploy import board as boards  # noqa: PLC0415

    if every and (word or named):
        raise UsageError(f"{word or named} and --all contradict each other: keep one")
    existed: dict[str, bool] = {}
    for each in boards.names() if every else [_chosen(word, named)]:
        existed[each] = boards.down(each)
        if not as_json:
            typer.echo(f"board {each} is {'off' if existed[each] else 'not there: nothing to do'}")
    if as_json:
        print_json({"boards": [{"name": one, "existed": was} for one, was in existed.items()]})


def _chosen(word: str | None, option: str | None) -> str:
    return one_of(word, option, "--name") or "default"


def _find(name: str) -> Board:
    from shufflenet_deploy import board as boards  # noqa: PLC0415

    board = boards.find(name)
    if board is None:
        raise UsageError(f"there is no board {name}; start it with: {_up_command(name)}")
    return board


def _up_command(name: str) -> str:
    return "shufflenet-deploy board up" + ("" if name == "default" else f" --name {name}")


def _line(board: Board) -> str:
    settings = board.settings
    state = f"runs on 127.0.0.1:{board.port}" if board.running else "has ended (killed?)"
    cpus = f"{settings.smp} CPU" + "s" * (settings.smp > 1)
    return f"board {board.name} {state}: {settings.title}, {cpus}, {settings.memory_mb} MB"


def _described(board: Board) -> dict[str, Any]:
    return {
        **board.model_dump(mode="json"),
        "running": board.running,
        "ssh": board.ssh_argv(),
    }
