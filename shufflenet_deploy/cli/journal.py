"""The journal as commands open it: what cannot be read of it is named and left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from shufflenet_deploy.journal import Journal

#: After so many rows their number is told instead.
_MOST_WARNINGS = 5


def open_journal(location: str | None) -> Journal:
    """Open the journal of ``--journal``; one line on standard error names each damaged row.

    Raises:
        UsageError: it cannot be opened at all.
    """
    from shufflenet_deploy.journal import Journal  # noqa: PLC0415

    told: set[str] = set()

    def warn(problem: str) -> None:
        if problem in told:
            return
        told.add(problem)
        if len(told) <= _MOST_WARNINGS:
            typer.echo(f"warning: left out: {problem}", err=True)
        elif len(told) == _MOST_WARNINGS + 1:
            typer.echo("warning: more rows than these cannot be read", err=True)

    return Journal(location, on_damaged=warn)
