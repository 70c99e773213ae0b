"""``emit-c``: a network as one dependency-free C file, its header and its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the ``emit-c`` command."""
    app.command()(emit_c)


def emit_c(  # noqa: PLR0917 - options, each passed by name
    model: Annotated[str, typer.Option("--model", "-m")] = "shufflenet-g3-0.5x",
    weights: Annotated[
        Path | None, typer.Option("--weights", "-w", help="A checkpoint; untrained without.")
    ] = None,
    resolution: Annotated[
        str, typer.Option(help="HEIGHTxWIDTH; [default: the model's own]", show_default=False)
    ] = "",
    machine: Annotated[
        str,
        typer.Option(help="The core to write for: host, cortex-a53, cortex-a72, cortex-a76, ..."),
    ] = "cortex-a72",
    head: Annotated[str, typer.Option(help="fixed or dense, for AlexNet and VGG.")] = "fixed",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("c"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write an fp32 network as C that needs no library: net.c, net.h, net.weights.

    The same network is first generated for this machine, compiled with gcc, clang or zig, and
    compared with PyTorch. Compile the result with the flags that are printed.
    """
    from shufflenet_deploy import zoo  # noqa: PLC0415
    from shufflenet_deploy.export import native, trace  # noqa: PLC0415
    from shufflenet_deploy.records import Resolution  # noqa: PLC0415

    core = native.machine(machine)
    loaded = zoo.load(model, weights=weights, head=head)
    card = loaded.architecture
    size = Resolution.parse(resolution) if resolution else card.resolution
    if not loaded.weights.trained:
        typer.echo("warning: no --weights: untrained weights, good for latency only", err=True)
    graph = trace.trace(loaded.module, size, card.name)
    difference = native.check(graph, loaded.module)
    source = native.generate(graph, core)
    native.write(source, out)
    compile_line = " ".join(
        ["cc", "-std=gnu11", "-O2", *core.flags, "-DNET_WEIGHTS_FILE='\"net.weights\"'", "-c net.c"]
    )
    if as_json:
        fields = {
            "model": card.name,
            "machine": core.name,
            "folder": str(out),
            "weights_bytes": len(source.weights),
            "arena_bytes": source.arena_bytes,
            "relative_difference": difference,
            "compile": compile_line,
        }
        typer.echo(json.dumps(fields, indent=2))
        return
    typer.echo(f"{card.title} at {size} for {core.name}: net.c, net.h, net.weights in {out}")
    typer.echo(
        f"weights {len(source.weights) / 1e6:.1f} MB, memory {source.arena_bytes / 1e6:.2f} MB; "
        f"differs from PyTorch by {difference:.1e} of the largest score"
    )
    typer.echo(f"compile with: {compile_line}")
