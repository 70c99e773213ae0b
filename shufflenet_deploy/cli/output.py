"""How a command writes to standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import typer


def show(render: Callable[[bool], str]) -> None:
    """Print what ``render(color)`` gives: in colour on a terminal, unless ``NO_COLOR`` is set."""
    color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    typer.echo(render(color), nl=False, color=color)
