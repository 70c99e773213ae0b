"""The speedup table of a suite in the journal."""

from __future__ import annotations

import contextlib
import difflib
import json
from collections.abc import Sequence

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.journal import Journal
from shufflenet_deploy.records import Run

DEFAULT_BASELINE, NO_BASELINE = "alexnet", "none"
#: Every suite of a journal together.
ALL_SUITES = "all"


def read_runs(journal: Journal, suite: str) -> tuple[list[Run], str]:
    """Read every attempt of one suite, or of all, and the baseline that the suite names.

    Args:
        journal: an open journal.
        suite: a suite's id, its beginning, ``last`` or ``all``.

    Returns:
        The runs, and the suite's own baseline (``none`` where it has none).

    Raises:
        UsageError: there is no such suite, or it has no runs.
    """
    row = None if suite == ALL_SUITES else journal.suite(suite)
    chosen = None if row is None else row.id
    runs = journal.runs(chosen, every=True)
    if not runs:
        where = f"suite {chosen} in {journal.location}" if chosen else journal.location
        raise UsageError(f"no runs in {where}: measure first with shufflenet-deploy bench")
    return runs, _own_baseline(row.definition if row is not None else "")


def choose_baseline(runs: Sequence[Run], own: str, asked: str | None = None) -> str:
    """Choose the model that speedups are over.

    Args:
        runs: what was measured.
        own: the suite's own baseline.
        asked: the baseline wanted instead, ``none`` for none; None for the suite's own.

    Returns:
        A model's name; empty where nothing is compared.

    Raises:
        UsageError: ``asked`` was not measured.
    """
    chosen = own if asked is None else asked
    chosen = "" if chosen == NO_BASELINE else chosen
    models = list(dict.fromkeys(run.cell.model for run in runs))
    if asked is not None and chosen not in (DEFAULT_BASELINE, "", *models):
        raise UsageError(
            f"'{chosen}' was not measured in this suite, so it cannot be the baseline; "
            f"measured: {nearest_first(chosen, models)}; or leave it out with --baseline none"
        )
    return chosen


def nearest_first(wrong: str, choices: Sequence[str]) -> str:
    """List the choices, beginning with the one most like ``wrong`` where one is."""
    near = difflib.get_close_matches(wrong, choices, n=1)
    return ", ".join(dict.fromkeys([*near, *choices]))


def _own_baseline(definition: str) -> str:
    """The baseline in a suite's definition; the default where the definition has none."""
    with contextlib.suppress(ValueError, AttributeError):
        own = json.loads(definition).get("baseline", DEFAULT_BASELINE)
        return own if isinstance(own, str) else NO_BASELINE
    return DEFAULT_BASELINE
