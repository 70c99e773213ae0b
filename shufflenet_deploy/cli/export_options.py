"""The options of ``export``, for every command that exports files on its way."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shufflenet_deploy.cli import common_options

WHAT = "What to make"

Models = Annotated[
    list[str] | None,
    common_options.models("shufflenet-g3-0.5x", panel=WHAT),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        "-w",
        help="A checkpoint: .pth, .pt, .safetensors. [default: untrained]",
        rich_help_panel=WHAT,
    ),
]
Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--fmt",
        "-f",
        help="onnx, tflite, ncnn, mnn, native, ..., or all: every one but native."
        " [default: onnx, tflite]",
        rich_help_panel=WHAT,
    ),
]
Precisions = Annotated[list[str] | None, common_options.precisions("all", panel=WHAT)]
Resolutions = Annotated[
    list[str] | None,
    typer.Option(
        "--resolution",
        help="HEIGHTxWIDTH, .... One file each. [default: the model's own]",
        rich_help_panel=WHAT,
    ),
]
Calibration = Annotated[Path | None, common_options.calibration(panel=WHAT)]
Labels = Annotated[Path | None, common_options.labels(panel=WHAT)]
CalibrationMethod = Annotated[
    str, typer.Option(help="minmax, percentile or entropy.", rich_help_panel=WHAT)
]
Remedies = Annotated[
    str,
    typer.Option(
        help="When int8 misses its tolerances: auto tries other recipes, none leaves it.",
        rich_help_panel=WHAT,
    ),
]
Head = Annotated[
    str,
    typer.Option(
        "--head",
        "--alexnet-head",
        help="fixed or dense: AlexNet's and VGG's last layers at other resolutions; none: the"
        " feature map.",
        rich_help_panel=WHAT,
    ),
]
Converter = Annotated[
    str,
    typer.Option(
        help="What writes TFLite: direct, or litert-torch or onnx2tf in an environment of its own.",
        rich_help_panel=WHAT,
    ),
]
MachineName = Annotated[
    str,
    typer.Option(
        help="native: the core it is for: generic (64-bit ARM), cortex-a53, cortex-a72,"
        " cortex-a76, cortex-a710, armv7, host, ...",
        rich_help_panel=WHAT,
    ),
]
Seed = Annotated[
    int, typer.Option(help="Of untrained weights, without --weights.", rich_help_panel=WHAT)
]
HOW = "How"
CLUSTER_HELP = (
    "Share the work among the workers of this Dask scheduler: tcp://HOST:8786, or tls://."
    " [default: this machine]"
)
Cluster = Annotated[
    str | None,
    typer.Option("--cluster", metavar="ADDRESS", help=CLUSTER_HELP, rich_help_panel=HOW),
]
WORKERS_HELP = "Processes of one thread each. [default: this one, on all threads]"
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help=WORKERS_HELP, rich_help_panel=HOW)
]
Folder = Annotated[
    Path, typer.Option("--out", "-o", help="Folder of the files.", rich_help_panel=WHAT)
]
