"""The options of ``bench``: their names, help and panels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shufflenet_deploy.cli import completion
from shufflenet_deploy.cli.hosts import HOST_HELP, SSH_CLIENT_HELP, SshClientName
from shufflenet_deploy.cli.journal import JOURNAL_HELP
from shufflenet_deploy.cli.multi_value import PRECISIONS
from shufflenet_deploy.cli.network_options import MODEL_HELP

_WHAT, _WHERE, _HOW, _OUT = "What to measure", "Where", "How to measure", "Results"

SuiteId = Annotated[
    str | None,
    typer.Argument(
        metavar="SUITE",
        help="With --resume: which. [default: last]",
        autocompletion=completion.suites,
    ),
]
Hosts = Annotated[
    list[str] | None,
    typer.Option(
        "--host",
        "-H",
        help=f"{HOST_HELP} Several, or @GROUP of hosts.toml, are measured side by side."
        " [default: local]",
        rich_help_panel=_WHERE,
    ),
]
SshClient = Annotated[
    SshClientName,
    typer.Option("--ssh-client", metavar="CLIENT", help=SSH_CLIENT_HELP, rich_help_panel=_WHERE),
]
SuiteName = Annotated[
    str | None,
    typer.Option(
        help="A suite: a .toml file, or table8, demo, smoke. Other options overrule it."
        " [default: the options]",
        rich_help_panel=_WHAT,
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        help=f"{MODEL_HELP} [default: shufflenet-g3-0.5x]",
        autocompletion=completion.models,
        rich_help_panel=_WHAT,
    ),
]
Files = Annotated[
    list[str] | None,
    typer.Option(
        "--file",
        metavar="FILE",
        help="An .onnx or .tflite file of anybody's making, measured as it is: no parity."
        " [default: none]",
        rich_help_panel=_WHAT,
    ),
]
Shapes = Annotated[
    list[str] | None,
    typer.Option(
        "--shape",
        metavar="NAME=SIZES",
        help="Of an input that a --file leaves open: x=1x3x320x320. [default: none]",
        rich_help_panel=_WHAT,
    ),
]
Weights = Annotated[
    list[str] | None,
    typer.Option(
        "--weights",
        "-w",
        help="A checkpoint: FILE for the model, or NAME=FILE. Of several each is measured."
        " [default: untrained]",
        rich_help_panel=_WHAT,
    ),
]
Baseline = Annotated[
    str | None,
    typer.Option(
        help="Measured next to the others; 'none' for none. [default: alexnet]",
        rich_help_panel=_WHAT,
    ),
]
AlexnetHead = Annotated[
    str | None,
    typer.Option(
        help="fixed or dense: AlexNet's fully connected layers at other resolutions."
        " [default: fixed]",
        rich_help_panel=_WHAT,
    ),
]
Head = Annotated[
    str | None,
    typer.Option(
        help="none: without their classifiers, as backbones. [default: fixed]",
        rich_help_panel=_WHAT,
    ),
]
Runtimes = Annotated[
    list[str] | None,
    typer.Option(
        "--runtime",
        "-r",
        help="onnxruntime, litert, ncnn, mnn, native, ..., a version (onnxruntime==1.30), or all:"
        " every one, with a reason where it cannot be had. [default: onnxruntime]",
        autocompletion=completion.runtimes,
        rich_help_panel=_WHAT,
    ),
]
Precisions = Annotated[
    list[str] | None,
    typer.Option("--precision", "-p", help=f"{PRECISIONS} [default: fp32]", rich_help_panel=_WHAT),
]
Lowerings = Annotated[
    list[str] | None,
    typer.Option(
        "--lowering",
        help="auto (the best known for the core), paper, .... [default: auto]",
        rich_help_panel=_WHAT,
    ),
]
Resolutions = Annotated[
    list[str] | None,
    typer.Option(
        "--resolution", help="HEIGHTxWIDTH, .... [default: 224x224]", rich_help_panel=_WHAT
    ),
]
Threads = Annotated[
    list[str] | None, typer.Option(help="1, 2, .... [default: 1]", rich_help_panel=_WHAT)
]
Payload = Annotated[
    str | None,
    typer.Option(
        help="Where the runtime comes from: auto, system, venv, wheels, self-contained."
        " [default: auto]",
        rich_help_panel=_WHERE,
    ),
]
Metric = Annotated[
    str | None,
    typer.Option(
        help="latency, or instructions (--host board only). [default: latency]",
        rich_help_panel=_HOW,
    ),
]
Cpus = Annotated[
    str | None,
    typer.Option(
        help="Cores to run on: 0,1 or 4-7, big (the fastest), all."
        " [default: big for single threads on phones, else all]",
        rich_help_panel=_HOW,
    ),
]
Warmup = Annotated[
    str | None,
    typer.Option(
        help="At least so many inferences, or so long: 0.5s. [default: 5 and 0.5s]",
        rich_help_panel=_HOW,
    ),
]
MinRuns = Annotated[
    int | None,
    typer.Option(help="Samples per process, at least. [default: 30]", rich_help_panel=_HOW),
]
MinSecs = Annotated[
    float | None,
    typer.Option(help="Sampling time per process. [default: 1.0]", rich_help_panel=_HOW),
]
MaxSecs = Annotated[
    float | None,
    typer.Option(help="Sampling stops then. [default: 30.0]", rich_help_panel=_HOW),
]
Processes = Annotated[
    int | None,
    typer.Option(help="Fresh processes per cell. [default: 3]", rich_help_panel=_HOW),
]
PrecisionTarget = Annotated[
    str | None,
    typer.Option(
        help="Add rounds until the speedup is known so well, such as 2%."
        " [default: no more than --processes]",
        rich_help_panel=_HOW,
    ),
]
MaxProcesses = Annotated[
    int | None,
    typer.Option(help="Limit for --precision-target. [default: 20]", rich_help_panel=_HOW),
]
Cooldown = Annotated[
    float | None,
    typer.Option(help="Seconds between processes. [default: 0.0]", rich_help_panel=_HOW),
]
MaxTemperature = Annotated[
    float | None,
    typer.Option(
        help="Start no process while the target is hotter, in °C, unless it stays so."
        " [default: no limit]",
        rich_help_panel=_HOW,
    ),
]
Governor = Annotated[
    str | None,
    typer.Option(
        help="Set the frequency governor, such as performance, and put it back afterwards."
        " [default: left as it is]",
        rich_help_panel=_HOW,
    ),
]
Rate = Annotated[
    float | None,
    typer.Option(
        metavar="HZ",
        help="Also infer so many times per second, as images of a camera arrive: latency from"
        " arrival, missed deadlines. [default: back to back only]",
        rich_help_panel=_HOW,
    ),
]
BackgroundLoad = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Keep so many busy processes on the target meanwhile. [default: 0]",
        rich_help_panel=_HOW,
    ),
]
Energy = Annotated[
    bool,
    typer.Option(
        "--energy",
        help="Read the target's sensors of power meanwhile: joules per inference.",
        rich_help_panel=_HOW,
    ),
]
Sustained = Annotated[
    str | None,
    typer.Option(
        help="Afterwards let the models of each group take turns for so long, such as 10m."
        " [default: not at all]",
        rich_help_panel=_HOW,
    ),
]
BenchmarkModel = Annotated[
    Path | None,
    typer.Option(
        help="TFLite's benchmark_model, built for the target: measures TFLite cells too."
        " [default: none]",
        rich_help_panel=_HOW,
    ),
]
BenchmarkModelArgs = Annotated[
    list[str] | None,
    typer.Option(
        "--benchmark-model-arg",
        metavar="--NAME=VALUE",
        help="A further argument of that program: --benchmark-model-arg=--use_gpu=true."
        " [default: none]",
        rich_help_panel=_HOW,
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(help="Seconds one process may take. [default: 300.0]", rich_help_panel=_HOW),
]
Retries = Annotated[
    int | None,
    typer.Option(
        help="New attempts after broken connections and disturbed measurements. [default: 2]",
        rich_help_panel=_HOW,
    ),
]
WithProfile = Annotated[
    bool,
    typer.Option(
        "--profile",
        help="Then profile the layers, in processes of their own.",
        rich_help_panel=_HOW,
    ),
]
Calibration = Annotated[
    str | None,
    typer.Option(
        help="Folder of images for int8. [default: 16 shipped photographs]",
        rich_help_panel=_WHAT,
    ),
]
ArtifactsFolder = Annotated[
    Path, typer.Option(help="Folder of exported files.", rich_help_panel=_OUT)
]
TablesFolder = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Folder for table.md, .csv, .json. [default: print only]",
        rich_help_panel=_OUT,
    ),
]
Journal = Annotated[
    str | None,
    typer.Option(help=JOURNAL_HELP, rich_help_panel=_OUT),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on with an interrupted suite.", rich_help_panel=_OUT),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=_OUT)
]
