"""The ``shufflenet-deploy`` command: parse, call one function below, print; the only exit codes.

Each subcommand is one module of this package with a ``register(app)`` function. Modules here import
nothing heavy at the top, so that ``--help`` stays instant; a command imports what it needs inside.

Exit codes: 0 done, 1 a run failed, 2 the user's mistake, 70 a fault of this program (see
``unexpected_errors``), 130 interrupted.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from importlib import import_module
from typing import Annotated, Any

import typer

import shufflenet_deploy
from shufflenet_deploy import extras
from shufflenet_deploy.cli import unexpected_errors
from shufflenet_deploy.cli.arguments import use_checked_commands
from shufflenet_deploy.errors import DeployError
from shufflenet_deploy.interruption import Interruption

#: Commands in the order that ``--help`` lists them, and the modules of this package that add them.
COMMANDS: dict[str, str] = {
    "export": "export",
    "eval": "evaluate",
    "bench": "bench",
    "table": "table",
    "profile": "profile",
    "report": "report",
    "compare": "compare",
    "history": "history",
    "models": "models",
    "import": "import_weights",
    "inspect": "inspect",
    "classify": "classify",
    "emit-c": "emit_c",
    "runs": "runs",
    "clean": "clean",
    "devices": "devices",
    "doctor": "doctor",
    "tune": "tune",
    "restore": "restore",
    "board": "board",
    "cost": "cost",
    "predict": "predict",
}

MISUSED, INTERRUPTED = 2, 130

#: Objects made before the collector of cycles looks at the youngest: the records of a history are
#: many and hold none, and looking at them again and again takes a third of the time to read them.
_OBJECTS_PER_COLLECTION = 200_000

#: The parser's exception for a wrong command line, wherever its own copy of click lives.
_Misuse: type[Exception] = typer.BadParameter.__mro__[2]


def _version(value: bool) -> None:
    if value:
        typer.echo(f"shufflenet-deploy {shufflenet_deploy.__version__}")
        raise typer.Exit


def _root(
    _version_flag: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Shared options; the subcommands do the work."""


def command_line(only: str | None = None) -> typer.Typer:
    """The program's command line: every command, or one of ``COMMANDS``.

    The options of all commands take a quarter of a second to build; a call needs those of its own.
    """
    app = typer.Typer(
        name="shufflenet-deploy",
        help="Export ShuffleNet, run it on an ARM board, and print the paper's speedup table.",
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        # Rich's mark-up would take "[default: ...]" for a style, and keep docstrings' line ends.
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    for name, module in COMMANDS.items():
        if only in {None, name}:
            import_module(f"{__name__}.{module}").register(app)
    use_checked_commands(app)
    return app


def _explained(error: Any) -> str:
    """One line for a wrong command line: the error and its help; "" if help was shown."""
    what = unexpected_errors.one_line(error.format_message()).rstrip(".")
    what = what.replace("Input should be", "must be").replace(": Value error, ", ": ")
    if not what:
        return ""
    command = error.ctx.command_path if getattr(error, "ctx", None) else "shufflenet-deploy"
    return f"{what}; see: {command} --help"


def _caught(error: Exception) -> tuple[str, int]:
    """One line and the exit code of an exception that is none of ``errors``."""
    if isinstance(error, ModuleNotFoundError) and (missing := extras.explained(error)) is not None:
        return str(missing), missing.exit_code
    found = unexpected_errors.of_file(error) if isinstance(error, OSError) else None
    return found or (unexpected_errors.log_unexpected(error), unexpected_errors.UNEXPECTED)


def main() -> None:
    """Run the command line; translate every error into one line and an exit code."""
    gc.set_threshold(_OBJECTS_PER_COLLECTION)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        Interruption([signal.SIGINT])
    # Pydantic would look for plugins in the description of every installed package.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            # A terminal without some character shows another instead of ending the program.
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        first = sys.argv[1] if len(sys.argv) > 1 else ""
        app = command_line(first if first in COMMANDS else None)
        status = app(prog_name="shufflenet-deploy", standalone_mode=False)
    except _Misuse as error:
        if line := _explained(error):
            typer.echo(f"error: {line}", err=True)
        status = MISUSED
    except DeployError as error:
        typer.echo(f"error: {unexpected_errors.one_line(error)}", err=True)
        status = error.exit_code
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) left; silence the flush at interpreter exit too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except Exception as error:  # noqa: BLE001 - the last net
        line, status = _caught(error)
        typer.echo(f"error: {unexpected_errors.one_line(line)}", err=True)
    if status == INTERRUPTED:
        sys.stdout.flush()
        sys.stderr.flush()
        # Everything of ours is unwound; frameworks interrupted midway crash in their exit handlers.
        os._exit(INTERRUPTED)
    gc.freeze()  # Else all that was imported is searched for cycles again as the process ends.
    sys.exit(status)
