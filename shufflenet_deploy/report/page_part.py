"""A section of a page that is not the table's own; what makes one need not import the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shufflenet_deploy.report.svg import Chart


@dataclass(frozen=True, kw_only=True)
class Part:
    """A section after the tables: text, charts, and rows under ``header``.

    ``header`` is empty where there are no rows; the first column names its row. ``label`` is what
    the contents call it, "" for the title.
    """

    title: str
    label: str = ""
    text: str = ""
    charts: tuple[Chart, ...] = ()
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
