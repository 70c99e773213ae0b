"""Output of exports: a table of the files, quantization fallbacks, errors and notes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from shufflenet_deploy.cli.stdout import Column, print_grid

if TYPE_CHECKING:
    from shufflenet_deploy.cli.export_run import ExportResult
    from shufflenet_deploy.records import Artifact


def print_results(results: Sequence[ExportResult], out: Path) -> None:
    """Print one line per file, their folder, and the quantization fallbacks of int8 files."""
    from rich.text import Text  # noqa: PLC0415

    rows: list[tuple[str | Text, ...]] = []
    for result in results:
        artifact = result.artifact
        figures = ["", "", ""]
        if artifact is not None:
            figures = [
                _size(artifact.size_bytes),
                f"{artifact.parity.sqnr_db:.1f} dB",
                artifact.parity.agreement_text,
            ]
        colour = "green" if result.good else "red"
        rows.append((result.name, *figures, Text(result.status, style=colour)))
    print_grid(
        (
            Column(title="file"),
            *(Column(title=name, right=True) for name in ("size", "SQNR", "top-1")),
            Column(title="status", prose=True),
        ),
        rows,
    )
    if any(result.artifact is not None for result in results):
        typer.echo(f"in {out.expanduser().resolve()}")
    for result in results:
        if result.artifact is not None and result.artifact.attempts:
            _print_attempts(result.artifact)


def _print_attempts(artifact: Artifact) -> None:
    """Print the quantization fallbacks tried after a recipe missed its tolerances."""
    from shufflenet_deploy.export.shortfall import gives_logits  # noqa: PLC0415

    typer.echo(f"{artifact.path.name}: int8 needed quantization fallbacks; tried in order:")
    for attempt in artifact.attempts:
        parity = attempt.parity
        verdict = "passed" if parity.passed else parity.reason
        kept = "  <- kept" if attempt.recipe == artifact.recipe else ""
        agreement = f"SQNR {parity.sqnr_db:.1f} dB, " if gives_logits(parity) else ""
        if agreement and parity.top1_agreement is not None:
            agreement += f"top-1 agreement {parity.agreement_text}, "
        typer.echo(f"  {attempt.recipe}: {agreement}{verdict}{kept}")
    if artifact.recipe is not None and artifact.recipe.float_layers:
        typer.echo(f"  in float: {', '.join(artifact.recipe.float_layers)}")


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def print_problems(results: Sequence[ExportResult]) -> None:
    """Print one line per error or note on standard error; equal ones of several files once."""
    from shufflenet_deploy.export.shortfall import explained  # noqa: PLC0415

    lines: dict[str, None] = {}
    for result in results:
        lines |= dict.fromkeys(result.notes)
        if result.error is not None:
            lines[f"error: {result.error}"] = None
        elif result.artifact is not None and not result.good:
            artifact = result.artifact
            layer = artifact.parity.first_diverging
            where = f"; first differs at {layer}" if layer else ""
            what = f"{artifact.path.name}: exported but failed validation"
            lines[f"error: {what}: {explained(artifact)}{where}"] = None
    for line in lines:
        typer.echo(line, err=True)
