"""The journal of a command: its ``--journal`` option, and opening it with warnings of damage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from shufflenet_deploy.journal import Journal

#: Describes ``journal.store.default_location``.
DEFAULT = "[default: $SHUFFLENET_DEPLOY_JOURNAL, else the user's own file]"

JOURNAL_HELP = f"Where runs are kept: a file or URL. {DEFAULT}"

#: Further damaged rows are summarized in one line.
_MAX_WARNINGS = 5


def open_journal(location: str | None) -> Journal:
    """Open the journal of ``--journal``; one line on standard error names each damaged row.

    Raises:
        UsageError: it cannot be opened at all.
    """
    from shufflenet_deploy.journal import Journal  # noqa: PLC0415

    reported: set[str] = set()

    def warn(problem: str) -> None:
        if problem in reported:
            return
        reported.add(problem)
        if len(reported) <= _MAX_WARNINGS:
            typer.echo(f"warning: left out: {problem}", err=True)
        elif len(reported) == _MAX_WARNINGS + 1:
            typer.echo("warning: more rows than these cannot be read", err=True)

    return Journal(location, on_damaged=warn)
