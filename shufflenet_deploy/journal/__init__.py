"""The journal: every run, raw, appended at once."""

from __future__ import annotations

from shufflenet_deploy.journal.store import (
    JOURNAL_VARIABLE,
    LAST,
    Exported,
    Journal,
    OnDamaged,
    SuiteRow,
    default_location,
    parse_lines,
)

__all__ = [
    "JOURNAL_VARIABLE",
    "LAST",
    "Exported",
    "Journal",
    "OnDamaged",
    "SuiteRow",
    "default_location",
    "parse_lines",
]
