"""Options that several commands share: one name, one help text each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shufflenet_deploy.cli import completion
from shufflenet_deploy.cli.journal import JOURNAL_HELP
from shufflenet_deploy.cli.multi_value import PRECISIONS
from shufflenet_deploy.cli.network_options import MODEL_HELP

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Journal = Annotated[str | None, typer.Option("--journal", help=JOURNAL_HELP)]
ArtifactsFolder = Annotated[Path, typer.Option(help="Folder of exported files.")]
Resolution = Annotated[str, typer.Option("--resolution", help="HEIGHTxWIDTH.")]
#: None means the size that a file states, or the usual one.
FileResolution = Annotated[
    str | None,
    typer.Option(
        "--resolution", help="HEIGHTxWIDTH. [default: a file's own, of other models 224x224]"
    ),
]


def models(default: str, *, panel: str | None = None) -> Any:
    """``--model``, given several times or as a list."""
    return typer.Option(
        "--model",
        "-m",
        help=f"{MODEL_HELP} [default: {default}]",
        autocompletion=completion.models,
        rich_help_panel=panel,
    )


def model() -> Any:
    """``--model`` of a command for one."""
    return typer.Option("--model", "-m", help=MODEL_HELP, autocompletion=completion.models)


def weights() -> Any:
    """``--weights`` of a command for one model."""
    return typer.Option("--weights", "-w", help="A checkpoint. [default: untrained]")


def weights_of_each() -> Any:
    """``--weights`` of a command for several models, given several times."""
    return typer.Option(
        "--weights",
        "-w",
        help="A checkpoint: FILE for the model, or NAME=FILE. [default: untrained]",
    )


def precisions(default: str, *, panel: str | None = None) -> Any:
    """``--precision``, given several times or as a list."""
    return typer.Option(
        "--precision", "-p", help=f"{PRECISIONS} [default: {default}]", rich_help_panel=panel
    )


def calibration(*, panel: str | None = None) -> Any:
    """The images of int8; the parameter's name is the option's."""
    return typer.Option(
        help="Folder of images for int8. [default: 16 shipped photographs]", rich_help_panel=panel
    )


def labels(*, panel: str | None = None) -> Any:
    """The names of the classes; the parameter's name is the option's."""
    return typer.Option(
        help="Names of the classes, one per line. [default: ImageNet's, of 1000 classes]",
        rich_help_panel=panel,
    )
