"""``inspect``: what an exported file holds, and what in it deserves a warning."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from shufflenet_deploy.export.inspection import Inspection
    from shufflenet_deploy.records import TensorSpec


def register(app: typer.Typer) -> None:
    """Add the ``inspect`` command."""
    app.command()(inspect)


def inspect(
    file: Annotated[Path, typer.Argument(help="An .onnx or .tflite file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what an ONNX or TFLite file holds: operations, shapes, cost, leftovers."""
    from shufflenet_deploy import export  # noqa: PLC0415

    found = export.inspect(file)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        _print(found)


def _print(found: Inspection) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="bold")
    facts.add_column(overflow="fold")
    for name, value in _facts(found):
        facts.add_row(name, value)
    operations = Table(box=None, pad_edge=False, header_style="bold")
    operations.add_column("operation")
    operations.add_column("count", justify="right")
    for name, count in found.operations.items():
        operations.add_row(name, str(count))
    console = Console(highlight=False)
    console.print(facts, markup=False)
    console.print()
    console.print(operations)
    for warning in found.warnings:
        typer.echo(f"warning: {warning}", err=True)


def _facts(found: Inspection) -> list[tuple[str, str]]:
    facts = [
        ("file", found.path.name),
        ("format", f"{found.format.value}, {found.version}"),
        ("precision", found.precision),
        ("size", f"{found.size_bytes / 1e6:.2f} MB"),
        ("sha256", found.sha256),
        *[("input", _spec(value)) for value in found.inputs],
        *[("output", _spec(value)) for value in found.outputs],
        ("multiply-adds", f"{found.multiply_adds / 1e6:.2f}M"),
        ("parameters", f"{found.parameters / 1e6:.3f}M"),
    ]
    artifact = found.artifact
    if artifact is not None:
        verdict = "passed" if artifact.parity.passed else f"failed: {artifact.parity.reason}"
        facts += [
            ("model", artifact.model),
            ("weights", artifact.weights.source),
            ("converter", artifact.converter),
            ("parity", f"{verdict}, SQNR {artifact.parity.sqnr_db:.1f} dB"),
            ("exported", f"{artifact.created_at:%Y-%m-%d %H:%M} UTC"),
        ]
    return facts


def _spec(value: TensorSpec) -> str:
    shape = "x".join(map(str, value.shape))
    scale = "" if value.scale is None else f", scale {value.scale:.6g}, zero {value.zero_point}"
    return f"{value.name} {shape} {value.dtype}{scale}"
