"""``import``: turn a foreign checkpoint into a safetensors file and a card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shufflenet_deploy.cli import common_options, preflight
from shufflenet_deploy.cli.network_options import with_network_options
from shufflenet_deploy.cli.stdout import print_json
from shufflenet_deploy.errors import UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.zoo import Architecture, NetworkOptions


def register(app: typer.Typer) -> None:
    """Add the ``import`` command."""
    app.command("import")(import_weights)


@with_network_options
def import_weights(  # noqa: PLR0917 - options, each passed by name
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Weights (.pth, .pt, .safetensors), or a network: .onnx, .prototxt, .pt2,"
            " FILE.py:CALLABLE that loads its weights itself.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="The model in the file: a name, or FILE.py:CALLABLE. [default: inferred]",
        ),
    ] = None,
    state_dict: Annotated[
        str | None,
        typer.Option(
            "--state-dict",
            help="Key of the state dict to take (such as ema) if the file has several."
            " [default: the trained weights]",
        ),
    ] = None,
    resolution: Annotated[
        str | None,
        typer.Option(
            help="HEIGHTxWIDTH of a network of your own. [default: its file's or 224x224]"
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("models"),
    as_json: common_options.AsJson = False,
    *,
    network: NetworkOptions,
) -> None:
    """Turn weights of another implementation, or a network of your own, into a card.

    Knows the layouts of megvii, pytorchcv, mmpretrain, jaxony, weiaicunzai and torchvision. The
    card is then a model: shufflenet-deploy export --model CARD.toml
    """
    from shufflenet_deploy import zoo  # noqa: PLC0415

    preflight.writable_folder("--out", out)
    if zoo.is_own(str(file)) or (model is not None and zoo.is_own(model)):
        done = _own(str(file), model, network, resolution, out)
    else:
        if resolution is not None:
            raise UsageError("--resolution is for a network of your own; others have theirs")
        done = _weights(file, model, state_dict, network, out)
    title = done.pop("title")
    if as_json:
        print_json({**done, "notes": list(done["notes"])})
        return
    typer.echo(f"{file}: {title}, {done['layout']}'s layout")
    for note in done["notes"]:
        typer.echo(f"note: {note}")
    typer.echo(f"wrote {done['weights']}")
    typer.echo(f"wrote {done['card']}")
    typer.echo(f"use it with --model {done['card']}")


def _weights(
    file: Path, model: str | None, state_dict: str | None, network: NetworkOptions, out: Path
) -> dict[str, Any]:
    """Import a checkpoint of a network that the zoo has."""
    from shufflenet_deploy.zoo.convert import convert  # noqa: PLC0415

    if network.arguments or network.channels is not None:
        raise UsageError("--model-arg and --channels are for a network of your own: name it")
    done = convert(file, model=model, out=out, state_dict=state_dict, options=network)
    return _described(done.architecture, done.layout, done.card, done.weights, done.notes)


def _own(
    file: str, model: str | None, network: NetworkOptions, resolution: str | None, out: Path
) -> dict[str, Any]:
    """Import a network of the user's own: with a checkpoint, or with the weights it brings."""
    from shufflenet_deploy import zoo  # noqa: PLC0415
    from shufflenet_deploy.records import Resolution  # noqa: PLC0415
    from shufflenet_deploy.zoo.own_import import write_card  # noqa: PLC0415

    if zoo.is_own(file) and model is not None:
        raise UsageError(f"{file} is a network already: leave --model {model} out")
    reference = zoo.described(file if model is None else model, network)
    if resolution is not None:
        reference = zoo.sized(reference, Resolution.parse(resolution))
    made, card, weights = write_card(reference, None if model is None else Path(file), out)
    return _described(made.architecture, made.weights.layout, card, weights, made.notes)


def _described(
    card: Architecture, layout: str, path: Path, weights: Path, notes: tuple[str, ...]
) -> dict[str, Any]:
    return {
        "model": card.name,
        "title": card.title,
        "notes": notes,
        "layout": layout,
        "card": str(path),
        "weights": str(weights),
        "description": card.description.model_dump(mode="json"),
        "preprocessing": card.preprocessing.model_dump(mode="json"),
    }
