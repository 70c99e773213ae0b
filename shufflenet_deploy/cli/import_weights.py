"""``import``: turn a foreign checkpoint into a safetensors file and a card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shufflenet_deploy.cli import preflight
from shufflenet_deploy.cli.stdout import print_json


def register(app: typer.Typer) -> None:
    """Add the ``import`` command."""
    app.command("import")(import_weights)


def import_weights(  # noqa: PLR0917 - options, each passed by name
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Weights: .pth, .pt or .safetensors.")
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="The model in the file. [default: inferred from its keys]"
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", "-n", help="Name of the card and its files. [default: the model's]"),
    ] = None,
    state_dict: Annotated[
        str | None,
        typer.Option(
            "--state-dict",
            help="Key of the state dict to take (such as ema) if the file has several."
            " [default: the trained weights]",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("models"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Turn weights of another implementation into a safetensors file and a card.

    Knows the layouts of megvii, pytorchcv, mmpretrain, jaxony, weiaicunzai and torchvision. The
    card is then a model: shufflenet-deploy export --model CARD.toml
    """
    from shufflenet_deploy.zoo.convert import convert  # noqa: PLC0415

    preflight.writable_folder("--out", out)
    done = convert(file, model=model, out=out, name=name, state_dict=state_dict)
    if as_json:
        fields = {
            "model": done.architecture.name,
            "notes": list(done.notes),
            "layout": done.layout,
            "card": str(done.card),
            "weights": str(done.weights),
            "description": done.architecture.description.model_dump(mode="json"),
            "preprocessing": done.architecture.preprocessing.model_dump(mode="json"),
        }
        print_json(fields)
        return
    typer.echo(f"{file}: {done.architecture.title}, {done.layout}'s layout")
    for note in done.notes:
        typer.echo(f"note: {note}")
    typer.echo(f"wrote {done.weights}")
    typer.echo(f"wrote {done.card}")
    typer.echo(f"use it with --model {done.card}")
