"""``classify``: classify an image with an exported file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shufflenet_deploy.cli import common_options
from shufflenet_deploy.cli.stdout import Column, print_grid


def register(app: typer.Typer) -> None:
    """Add the ``classify`` command."""
    app.command()(classify)


def classify(
    image: Annotated[Path, typer.Argument(help="An image: JPEG, PNG, ...")],
    model: Annotated[
        Path, typer.Option("--model", "-m", help="An exported file: .onnx, .tflite, .ncnn, ...")
    ],
    top: Annotated[int, typer.Option(min=1, help="Number of classes to print.")] = 5,
    labels: Annotated[
        Path | None,
        typer.Option(help="Names of the classes, one per line. [default: the file's own]"),
    ] = None,
    as_json: common_options.AsJson = False,
) -> None:
    """Print the most probable classes of an image by an exported file.

    The image is preprocessed as the file states; docs/deploying.md does the same by hand.
    """
    from shufflenet_deploy.export.classification import classify as look  # noqa: PLC0415

    found = look(model, image, top=top, labels=labels)
    if not found.trained:
        typer.echo(f"warning: {model} has untrained weights: its answers are chance", err=True)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
        return
    print_grid(
        (
            Column(title="probability", right=True),
            Column(title="class", right=True),
            Column(title="name", prose=True),
        ),
        [
            (f"{100 * one.probability:.2f} %", str(one.index), one.name or "(not known)")
            for one in found.classes
        ],
    )
