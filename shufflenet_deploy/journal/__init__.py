"""The journal: every run, raw, appended at once."""

from __future__ import annotations

from shufflenet_deploy.journal.cells import MeasuredCell
from shufflenet_deploy.journal.lines import Exported, parse_lines
from shufflenet_deploy.journal.store import (
    JOURNAL_VARIABLE,
    LAST,
    Journal,
    OnDamaged,
    default_location,
)
from shufflenet_deploy.journal.suites import SuiteRow

__all__ = [
    "JOURNAL_VARIABLE",
    "LAST",
    "Exported",
    "Journal",
    "MeasuredCell",
    "OnDamaged",
    "SuiteRow",
    "default_location",
    "parse_lines",
]
