"""``export``: files of every format from weights, each checked against the model it came from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shufflenet_deploy import extras
from shufflenet_deploy.cli import common_options, preflight
from shufflenet_deploy.cli import export_options as options
from shufflenet_deploy.cli.cluster import machines_of
from shufflenet_deploy.cli.export_run import export_all, requests_of
from shufflenet_deploy.cli.export_summary import print_problems, print_results
from shufflenet_deploy.cli.multi_value import ALL, listed, precisions
from shufflenet_deploy.cli.network_options import with_network_options
from shufflenet_deploy.cli.stdout import print_json

if TYPE_CHECKING:
    from shufflenet_deploy.zoo import NetworkOptions

_FAILED, _MISUSED = 1, 2
_UNTRAINED = "warning: no --weights: untrained weights, good for latency only"
_CHECK = "When it counts as valid"


def register(app: typer.Typer) -> None:
    """Add the ``export`` command."""
    app.command()(export)


@with_network_options
def export(  # noqa: PLR0917 - options, each passed by name
    model: options.Models = None,
    weights: options.Weights = None,
    fmt: options.Formats = None,
    precision: options.Precisions = None,
    resolution: options.Resolutions = None,
    calib: options.Calibration = None,
    calib_method: options.CalibrationMethod = "minmax",
    labels: options.Labels = None,
    remedies: options.Remedies = "auto",
    head: options.Head = "fixed",
    lowering: Annotated[
        list[str] | None,
        typer.Option(
            "--lowering",
            help="auto (the best known), paper (as it is drawn), ..., or one with other forms of"
            " shuffle: blocks:stage2=dense. [default: auto]",
            rich_help_panel=options.WHAT,
        ),
    ] = None,
    core: Annotated[
        str,
        typer.Option(
            "--core",
            help="What auto is for, as tuned: cortex-a76.",
            rich_help_panel=options.WHAT,
        ),
    ] = "any",
    converter: options.Converter = "direct",
    machine: options.MachineName = "generic",
    seed: options.Seed = 0,
    out: options.Folder = Path("artifacts"),
    workers: options.Workers = None,
    cluster: options.Cluster = None,
    max_diff: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="fp32: largest difference, relative to the largest logit. [default: 0.001]",
            rich_help_panel=_CHECK,
        ),
    ] = None,
    min_sqnr: Annotated[
        float | None,
        typer.Option(
            help="fp16, int8: smallest SQNR in dB. [default: fp16 30; int8 10, untrained 2]",
            rich_help_panel=_CHECK,
        ),
    ] = None,
    min_cosine: Annotated[
        float | None,
        typer.Option(
            min=-1,
            max=1,
            help="fp16, int8: smallest cosine. [default: fp16 0.999; int8 0.95, untrained 0.9]",
            rich_help_panel=_CHECK,
        ),
    ] = None,
    min_agreement: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="fp16, int8, trained weights: smallest top-1 agreement. [default: fp16 0.85;"
            " int8 0.6]",
            rich_help_panel=_CHECK,
        ),
    ] = None,
    as_json: common_options.AsJson = False,
    *,
    network: NetworkOptions,
) -> None:
    """Export a model to files of any runtime (ONNX, TFLite, C, ...), and check each against it.

    --fmt native makes a static program that measures itself, for targets without a runtime; on
    cores that compute in it, in fp16 as well.

    Files that exist with the same weights and options are not exported again. --workers and
    --cluster share the files out, among processes or machines.
    """
    from shufflenet_deploy import zoo  # noqa: PLC0415

    extras.require_export("export")
    tolerances = {
        "fp32_relative_diff": max_diff,
        "fp16_sqnr_db": min_sqnr,
        "fp16_untrained_sqnr_db": min_sqnr,
        "int8_sqnr_db": min_sqnr,
        "untrained_sqnr_db": min_sqnr,
        "fp16_cosine": min_cosine,
        "fp16_untrained_cosine": min_cosine,
        "int8_cosine": min_cosine,
        "untrained_cosine": min_cosine,
        "fp16_top1_agreement": min_agreement,
        "int8_top1_agreement": min_agreement,
    }
    preflight.writable_folder("--out", out)
    if calib is not None:
        preflight.readable_folder("--calib", calib, "images")
    for option, file in (("--weights", weights), ("--labels", labels)):
        if file is not None:
            preflight.existing_file(option, file)
    requests = requests_of(
        models=listed(model) or ["shufflenet-g3-0.5x"],
        network=network,
        formats=listed(fmt),
        precisions=precisions(precision or [ALL]),
        resolutions=listed(resolution),
        lowerings=listed(lowering) or ["auto"],
        common={
            "weights": weights,
            "seed": seed,
            "head": head,
            "converter": converter,
            "machine": machine,
            "core": core,
            "calibration": calib,
            "calibration_method": calib_method,
            "labels": labels,
            "remedies": remedies,
            "tolerances": {name: value for name, value in tolerances.items() if value is not None},
            "out": out,
        },
    )
    by_name = weights is None and any(zoo.is_plain_name(one.model) for one in requests)
    if by_name:
        typer.echo(_UNTRAINED, err=True)
    with machines_of(cluster, workers) as machines:
        results = export_all(requests, machines)
    made = [result.artifact for result in results if result.artifact is not None]
    if not by_name and not all(artifact.weights.trained for artifact in made):
        typer.echo(_UNTRAINED, err=True)
    if as_json:
        print_json({"files": [result.as_json() for result in results]})
    else:
        print_results(results, out)
    print_problems(results)
    failed = [result for result in results if not result.good]
    if failed:
        misused = all(
            result.error is not None and result.error.exit_code == _MISUSED for result in failed
        )
        raise typer.Exit(_MISUSED if misused else _FAILED)
