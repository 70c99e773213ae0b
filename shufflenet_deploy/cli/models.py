"""``models``: list the models that can be exported, with what they cost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from shufflenet_deploy.zoo import Architecture

#: Columns of a terminal from which on there is room for where the layers come from.
_WITH_SOURCE = 160


def register(app: typer.Typer) -> None:
    """Add the ``models`` command."""
    app.command()(models)


def models(
    search: Annotated[
        str, typer.Argument(metavar="[TEXT]", help="Only models whose name contains this.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """List the models: parameters, multiply-adds at 224x224, and the paper's figures.

    Names of other widths work too: shufflenet-g2-0.75x, mobilenet-0.35.
    """
    from shufflenet_deploy import zoo  # noqa: PLC0415
    from shufflenet_deploy.errors import UsageError  # noqa: PLC0415

    found = [zoo.architecture(name) for name in zoo.names() if search.lower() in name]
    if not found:
        raise UsageError(f"no model's name contains '{search}'; run `shufflenet-deploy models`")
    if as_json:
        typer.echo(json.dumps([_fields(card) for card in found], indent=2))
    else:
        _print(found)


def _fields(card: Architecture) -> dict[str, Any]:
    counts, paper = card.counts, card.paper
    return {
        "name": card.name,
        "title": card.title,
        "aliases": list(card.aliases),
        "parameters": counts.parameters if counts else None,
        "multiply_adds": counts.multiply_adds if counts else None,
        "resolution": str(card.resolution),
        "source": card.source,
        "paper": paper.model_dump(mode="json", exclude_none=True) if paper else None,
    }


def _print(cards: list[Architecture]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console = Console()
    if not console.is_terminal:
        console = Console(width=_WITH_SOURCE)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model", no_wrap=True)
    for title in ("params", "MAdds", "paper's", "error"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("reported in", no_wrap=True)
    if console.width >= _WITH_SOURCE:
        table.add_column("source", no_wrap=True)
    for card in cards:
        table.add_row(*_shown(card)[: len(table.columns)])
    console.print(table)


def _shown(card: Architecture) -> tuple[str, ...]:
    counts, paper = card.counts, card.paper
    return (
        card.name,
        f"{counts.parameters / 1e6:.2f}M" if counts else "",
        f"{counts.multiply_adds / 1e6:.1f}M" if counts else "",
        f"{paper.mega_multiply_adds:g}M" if paper and paper.mega_multiply_adds else "",
        f"{paper.top1_error_percent:.1f}%" if paper and paper.top1_error_percent else "",
        paper.tables if paper else "",
        card.source,
    )
