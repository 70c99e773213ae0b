"""The journal: every run, raw, appended at once."""

from __future__ import annotations

from shufflenet_deploy.journal.lines import Exported, parse_lines
from shufflenet_deploy.journal.rows import SuiteRow
from shufflenet_deploy.journal.store import (
    JOURNAL_VARIABLE,
    LAST,
    Journal,
    OnDamaged,
    default_location,
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
