"""Every rendering of a table under one name: ``Table`` -> text. None of them opens a file."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from shufflenet_deploy.report.json_csv import as_csv as csv
from shufflenet_deploy.report.json_csv import as_json as json
from shufflenet_deploy.report.latex import latex
from shufflenet_deploy.report.markdown import markdown
from shufflenet_deploy.report.table import Table
from shufflenet_deploy.report.terminal import terminal

__all__ = ["Rendering", "csv", "json", "latex", "markdown", "render", "terminal"]


class Rendering(StrEnum):
    """A form a table can take; the value is what ``--format`` takes."""

    TERMINAL = "terminal"
    MARKDOWN = "md"
    CSV = "csv"
    JSON = "json"
    LATEX = "latex"

    @property
    def suffix(self) -> str:
        """The ending of a file in this form."""
        return {Rendering.TERMINAL: ".txt", Rendering.LATEX: ".tex"}.get(self, f".{self.value}")


_RENDERERS: dict[Rendering, Callable[[Table], str]] = {
    Rendering.TERMINAL: terminal,
    Rendering.MARKDOWN: markdown,
    Rendering.CSV: csv,
    Rendering.JSON: json,
    Rendering.LATEX: latex,
}


def render(table: Table, form: Rendering) -> str:
    """The table in one form, without colours."""
    return _RENDERERS[form](table)
