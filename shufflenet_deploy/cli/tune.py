"""``tune``: settings that make figures better or steadier; ``restore`` puts those of a target back.

Each setting is one subcommand with a ``register(group)`` function, here or in a module next to it.
"""

from __future__ import annotations

import typer

from shufflenet_deploy.cli import tune_governor, tune_lowering

#: Modules that add subcommands, in the order that ``--help`` lists them.
_SUBCOMMANDS = (tune_governor, tune_lowering)


def register(app: typer.Typer) -> None:
    """Add the ``tune`` group."""
    group = typer.Typer(name="tune", help="Make figures better or steadier.", no_args_is_help=True)
    for subcommand in _SUBCOMMANDS:
        subcommand.register(group)
    app.add_typer(group)
