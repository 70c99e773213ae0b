"""``emit-c``: a network as one dependency-free C file, its header and its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from shufflenet_deploy.cli import common_options, preflight
from shufflenet_deploy.cli.network_options import with_network_options
from shufflenet_deploy.cli.stdout import print_json
from shufflenet_deploy.errors import UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.codegen import CpuTarget
    from shufflenet_deploy.export.c_export import CheckedC
    from shufflenet_deploy.records import Precision, Recipe, Resolution
    from shufflenet_deploy.zoo import NetworkOptions
    from shufflenet_deploy.zoo.model import Model


def register(app: typer.Typer) -> None:
    """Add the ``emit-c`` command."""
    app.command()(emit_c)


@with_network_options
def emit_c(  # noqa: PLR0917 - options, each passed by name
    model: Annotated[str, common_options.model()] = "shufflenet-g3-0.5x",
    weights: Annotated[Path | None, common_options.weights()] = None,
    resolution: Annotated[
        str, typer.Option(help="HEIGHTxWIDTH; [default: the model's own]", show_default=False)
    ] = "",
    machine: Annotated[
        str,
        typer.Option(help="The core to write for: host, cortex-a53, cortex-a76, cortex-a710, ..."),
    ] = "cortex-a72",
    head: Annotated[
        str, typer.Option(help="fixed or dense, for AlexNet and VGG; none: features.")
    ] = "fixed",
    precision: Annotated[
        str,
        typer.Option("--precision", "-p", help="fp32, fp16 (on cores that compute in it) or int8."),
    ] = "fp32",
    calib: Annotated[Path | None, common_options.calibration()] = None,
    calib_method: Annotated[
        str | None,
        typer.Option(help="Of int8: minmax, percentile or entropy. [default: minmax]"),
    ] = None,
    remedies: Annotated[
        str | None,
        typer.Option(
            help="When int8 misses its tolerances: auto tries other recipes. [default: auto]"
        ),
    ] = None,
    labels: Annotated[Path | None, common_options.labels()] = None,
    with_preprocess: Annotated[
        bool,
        typer.Option(
            "--preprocess", help="Also net_preprocess.c: from an image's bytes to the input."
        ),
    ] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("c"),
    as_json: common_options.AsJson = False,
    *,
    network: NetworkOptions,
) -> None:
    """Write a network as C that needs no library: net.c, net.h, net.weights.

    The same network is first generated for this machine, compiled with gcc, clang or zig, and
    compared with PyTorch. Compile the result with the flags that are printed.
    """
    from shufflenet_deploy import codegen, zoo  # noqa: PLC0415
    from shufflenet_deploy.export.metadata import class_names, metadata_of  # noqa: PLC0415
    from shufflenet_deploy.records import Precision, Resolution  # noqa: PLC0415

    preflight.writable_folder("--out", out)
    in_int8 = _in_int8(precision, calib=calib, calib_method=calib_method, remedies=remedies)
    core = codegen.cpu_target_named(machine)
    core.for_precision(Precision(precision))
    reference = zoo.described(model, network)
    if resolution:
        reference = zoo.sized(reference, Resolution.parse(resolution))
    loaded = zoo.load(reference, weights=weights, head=head)
    for note in loaded.notes:
        typer.echo(f"note: {note}", err=True)
    card = loaded.architecture
    size = Resolution.parse(resolution) if resolution else card.resolution
    if not loaded.weights.trained:
        typer.echo("warning: no --weights: untrained weights, good for latency only", err=True)
    metadata = metadata_of(
        card.name,
        loaded.preprocessing,
        trained=loaded.weights.trained,
        resolution=size,
        input_layout="NCHW",
        class_names=class_names(labels, card.description.classes, head),
        head=head,
    )
    made = _made(loaded, size, core, Precision(precision), in_int8)
    source = made.source.with_metadata(metadata)
    codegen.write_sources(source.with_preprocessing(metadata) if with_preprocess else source, out)
    files = ("net.c", *(("net_preprocess.c",) if with_preprocess else ()))
    compile_line = " ".join(
        [
            *("cc", "-std=gnu11", *codegen.OPTIMIZATION, *core.flags),
            *("-DNET_WEIGHTS_FILE='\"net.weights\"'", f"-c {' '.join(files)}"),
        ]
    )
    if as_json:
        fields = {
            "model": card.name,
            "precision": precision,
            "machine": core.name,
            "folder": str(out),
            "weights_bytes": len(made.source.weights),
            "arena_bytes": made.source.arena_bytes,
            **_proof(made),
            "compile": compile_line,
        }
        print_json(fields)
        return
    typer.echo(
        f"{card.name if card.is_own else card.title} at {size}, {precision}, for {core.name}: "
        f"{', '.join(files)}, net.h, net.weights in {out}"
    )
    typer.echo(
        f"weights {len(made.source.weights) / 1e6:.1f} MB, "
        f"memory {made.source.arena_bytes / 1e6:.2f} MB; {_validation(made)}"
    )
    typer.echo(f"compile with: {compile_line}")


class _Int8(NamedTuple):
    """The quantization settings of an int8 export."""

    calib: Path | None
    recipe: Recipe
    searching: bool


def _in_int8(
    precision: str, *, calib: Path | None, calib_method: str | None, remedies: str | None
) -> _Int8 | None:
    """Parse the quantization settings of int8; None for another precision.

    Raises:
        UsageError: an unknown value, or an option of int8 with another precision.
    """
    from shufflenet_deploy.export.request import CALIBRATION_METHODS, REMEDIES  # noqa: PLC0415
    from shufflenet_deploy.records import Precision, Recipe  # noqa: PLC0415

    method, search = calib_method or "minmax", remedies or "auto"
    for option, value, known in (
        ("precision", precision, tuple(one.value for one in Precision)),
        ("calib-method", method, CALIBRATION_METHODS),
        ("remedies", search, REMEDIES),
    ):
        if value not in known:
            raise UsageError(f"--{option} '{value}' is unknown: choose from {', '.join(known)}")
    if precision == Precision.INT8:
        recipe = Recipe.model_validate({"method": method})
        return _Int8(calib, recipe, searching=search == "auto")
    if calib or calib_method or remedies:
        raise UsageError("--calib, --calib-method and --remedies are for --precision int8 only")
    return None


def _made(
    model: Model, size: Resolution, core: CpuTarget, precision: Precision, in_int8: _Int8 | None
) -> CheckedC:
    from shufflenet_deploy.export import c_export  # noqa: PLC0415
    from shufflenet_deploy.export.image_set import load_image_set  # noqa: PLC0415
    from shufflenet_deploy.records import Precision  # noqa: PLC0415

    if precision is Precision.FP16:
        return c_export.fp16(model, size, core, load_image_set(None))
    if in_int8 is None:
        return c_export.fp32(model, size, core)
    chosen = load_image_set(in_int8.calib)
    if chosen.remark:
        typer.echo(f"warning: --calib {chosen.remark}", err=True)
    return c_export.Int8Export(
        model=model,
        size=size,
        machine=core,
        images=chosen,
        searching=in_int8.searching,
    ).make(in_int8.recipe)


def _proof(made: CheckedC) -> dict[str, Any]:
    if made.parity is None:
        return {"relative_difference": made.difference}
    recipe = {"recipe": made.recipe.model_dump(mode="json")} if made.recipe else {}
    return {"parity": made.parity.model_dump(mode="json"), **recipe}


def _validation(made: CheckedC) -> str:
    if made.parity is None:
        return f"differs from PyTorch by {made.difference:.1e} of the largest logit"
    how = f" ({made.recipe})" if made.recipe else ""
    agreement = made.parity.agreement_text
    same = f", same class as PyTorch for {agreement} of" if agreement else " on"
    return f"SQNR {made.parity.sqnr_db:.1f} dB{same} {made.parity.inputs} images{how}"
