"""``models``: list the models that can be exported, with their cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from shufflenet_deploy.cli import common_options
from shufflenet_deploy.cli.stdout import Column, print_grid, print_json

if TYPE_CHECKING:
    from shufflenet_deploy.zoo import Architecture


def register(app: typer.Typer) -> None:
    """Add the ``models`` command."""
    app.command()(models)


def models(
    search: Annotated[
        str,
        typer.Argument(metavar="TEXT", help="Only models whose name contains this. [default: all]"),
    ] = "",
    as_json: common_options.AsJson = False,
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
        print_json({"models": [_fields(card) for card in found]})
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
    print_grid(
        (
            Column(title="model"),
            *(Column(title=name, right=True) for name in ("params", "MAdds", "paper", "error")),
            Column(title="tables"),
            Column(title="source", extra=True),
        ),
        [_shown(card) for card in cards],
    )


def _shown(card: Architecture) -> tuple[str, ...]:
    counts, paper = card.counts, card.paper
    return (
        card.name,
        f"{counts.parameters / 1e6:.2f}M" if counts else "",
        f"{counts.multiply_adds / 1e6:.1f}M" if counts else "",
        f"{paper.mega_multiply_adds:g}M" if paper and paper.mega_multiply_adds else "",
        f"{paper.top1_error_percent:.1f}%" if paper and paper.top1_error_percent else "",
        _tables(paper.tables) if paper else "",
        card.source,
    )


def _tables(text: str) -> str:
    """``Tables 1, 2 and 8`` as ``1, 2, 8``, under a heading with the rest."""
    return text.removeprefix("Tables ").removeprefix("Table ").replace(" and ", ", ")
