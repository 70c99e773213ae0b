"""``inspect``: the contents of an exported file, and warnings about them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shufflenet_deploy.cli.network_options import with_network_options
from shufflenet_deploy.cli.stdout import Column, console, paragraph, print_grid, print_json
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.printing import first_line

if TYPE_CHECKING:
    from shufflenet_deploy.export.inspection.contents import Inspection
    from shufflenet_deploy.export.layer_comparison import LayerComparison
    from shufflenet_deploy.export.layer_sqnr import LayerFidelity
    from shufflenet_deploy.network.metadata import Metadata
    from shufflenet_deploy.records import TensorSpec
    from shufflenet_deploy.zoo import NetworkOptions


_MOST_CHARACTERS = 1000


def register(app: typer.Typer) -> None:
    """Add the ``inspect`` command."""
    app.command()(inspect)


@with_network_options
def inspect(  # noqa: PLR0917 - options, each passed by name
    file: Annotated[Path, typer.Argument(help="An .onnx, .tflite or .native file.")],
    layers: Annotated[
        bool,
        typer.Option(
            "--layers", help="Compare every layer with the PyTorch module, and print its SQNR."
        ),
    ] = False,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="With --layers: as at the export. [default: as noted]"),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights", "-w", help="With --layers: as at the export. [default: as noted]"
        ),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="With --layers: compare on these. [default: shipped ones]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    *,
    network: NetworkOptions,
) -> None:
    """Show the contents of an exported file: operations, shapes, cost, leftovers."""
    import shufflenet_deploy.export as exports  # noqa: PLC0415
    from shufflenet_deploy import zoo  # noqa: PLC0415
    from shufflenet_deploy.export.inspection.contained import inspect_contained  # noqa: PLC0415

    if not layers and (any((model, weights, pictures)) or network.given):
        raise UsageError("--model, --weights and --pictures are for --layers only")
    if network.given and model is None:
        raise UsageError("the options of a network of your own need its --model")
    if model is not None:
        model = zoo.described(model, network)
    found = inspect_contained(file)
    compared = (
        exports.compare_layers(file, model=model, weights=weights, folder=pictures)
        if layers
        else None
    )
    if as_json:
        fields = found.model_dump(mode="json")
        if compared is not None:
            fields["comparison"] = compared.model_dump(mode="json")
        print_json(fields)
        return
    _print(found)
    if compared is not None:
        _print_layers(compared)


def _print(found: Inspection) -> None:
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="bold")
    facts.add_column(overflow="fold")
    for name, value in _facts(found):
        facts.add_row(name, first_line(value, _MOST_CHARACTERS))
    operations = Table(box=None, pad_edge=False, header_style="bold")
    operations.add_column("operation")
    operations.add_column("count", justify="right")
    for name, count in found.operations.items():
        operations.add_row(escape(name), str(count))
    screen = console()
    screen.print(facts, markup=False)
    screen.print()
    screen.print(operations)
    for warning in found.warnings:
        typer.echo(f"warning: {warning}", err=True)


def _print_layers(compared: LayerComparison) -> None:
    from rich.text import Text  # noqa: PLC0415

    def cells(row: LayerFidelity) -> tuple[Text, ...]:
        collapsed = row.layer == compared.collapse
        texts = (
            row.layer,
            row.kind,
            "x".join(map(str, row.shape)),
            *(
                "" if value is None else f"{value:.{digits}f}"
                for value, digits in (
                    (row.sqnr_db, 1),
                    (row.cosine, 4),
                    (row.channels_db, 1),
                    (row.drop_db, 1),
                )
            ),
            "<- collapses here" if collapsed else "" if row.tensor else "merged",
        )
        return tuple(Text(text, style="red" if collapsed else "") for text in texts)

    console().print()
    print_grid(
        (
            Column(title="layer"),
            Column(title="kind", extra=True),
            Column(title="shape", right=True),
            *(
                Column(title=name, right=True)
                for name in ("SQNR dB", "cosine", "by channel", "drop dB")
            ),
            Column(title="", prose=True),
        ),
        [cells(row) for row in compared.layers],
    )
    verdict = (
        f"The SQNR falls below {compared.floor_db:g} dB at {compared.collapse}."
        if compared.collapse
        else f"The SQNR stays above {compared.floor_db:g} dB to the output."
    )
    paragraph(
        f"\n{verdict} On {compared.pictures} images. By channel: SQNR with all channels weighted "
        "equally; drop: its loss against the layer's worst input."
    )


def _facts(found: Inspection) -> list[tuple[str, str]]:
    from shufflenet_deploy.export.shortfall import explained  # noqa: PLC0415

    facts = [
        ("file", found.path.name),
        ("format", f"{found.format}, {found.version}"),
        ("precision", found.precision),
        ("size", f"{found.size_bytes / 1e6:.2f} MB"),
        ("sha256", found.sha256),
        *[("input", _spec(value)) for value in found.inputs],
        *[("output", _spec(value)) for value in found.outputs],
        ("multiply-adds", f"{found.multiply_adds / 1e6:.2f}M"),
        ("parameters", f"{found.parameters / 1e6:.3f}M"),
    ]
    if found.delegation is not None:
        facts.append(("delegate", found.delegation.text))
    if found.metadata is not None:
        facts += _usage(found.metadata)
    artifact = found.artifact
    if artifact is not None:
        verdict = "passed" if artifact.parity.passed else f"failed: {explained(artifact)}"
        facts += [
            ("model", artifact.model),
            ("weights", artifact.weights.source),
            ("converter", artifact.converter),
            ("parity", f"{verdict}, SQNR {artifact.parity.sqnr_db:.1f} dB"),
            ("exported", f"{artifact.created_at:%Y-%m-%d %H:%M} UTC"),
        ]
    return facts


def _usage(metadata: Metadata) -> list[tuple[str, str]]:
    """The preprocessing of an image into the input, and the meaning of the output."""
    low, high = metadata.value_range
    names = metadata.class_names
    shown = f"{len(names)}: {', '.join(names[:3])}, ..." if names else "not known"
    return [
        ("layout", f"{metadata.input_layout}, {metadata.channel_order}"),
        ("crop", f"centre, {metadata.crop_fraction:g} of the tighter side"),
        ("range", f"{low:g} to {high:g}, before mean and std"),
        ("mean", ", ".join(f"{value:g}" for value in metadata.mean)),
        ("std", ", ".join(f"{value:g}" for value in metadata.std)),
        ("answers", metadata.output),
        ("classes", shown),
    ]


def _spec(value: TensorSpec) -> str:
    shape = "x".join(map(str, value.shape))
    scale = "" if value.scale is None else f", scale {value.scale:.6g}, zero {value.zero_point}"
    return f"{value.name} {shape} {value.dtype}{scale}"
