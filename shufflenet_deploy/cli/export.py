"""``export``: ONNX and TFLite files from weights, each checked against the model it came from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shufflenet_deploy import extras
from shufflenet_deploy.cli import export_options as options
from shufflenet_deploy.cli import preflight
from shufflenet_deploy.cli.heartbeat import Heartbeat
from shufflenet_deploy.cli.multi_value import ALL, listed, precisions
from shufflenet_deploy.cli.stdout import Column, print_grid, print_json
from shufflenet_deploy.errors import DeployError, UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.export import ExportRequest
    from shufflenet_deploy.records import Artifact

_FAILED, _MISUSED = 1, 2
_CHECK = "When it counts as valid"


def register(app: typer.Typer) -> None:
    """Add the ``export`` command."""
    app.command()(export)


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
    max_diff: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="fp32: largest difference, relative to the largest score. [default: 0.001]",
            rich_help_panel=_CHECK,
        ),
    ] = None,
    min_sqnr: Annotated[
        float | None,
        typer.Option(
            help="fp16, int8: floor under the SQNR in dB. [default: fp16 30; int8 10, untrained 2]",
            rich_help_panel=_CHECK,
        ),
    ] = None,
    min_cosine: Annotated[
        float | None,
        typer.Option(
            min=-1,
            max=1,
            help="fp16, int8: floor under the cosine. [default: fp16 0.999; int8 0.95, untrained"
            " 0.9]",
            rich_help_panel=_CHECK,
        ),
    ] = None,
    min_agreement: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="fp16, int8, trained weights: floor under top-1 agreement. [default: fp16 0.85;"
            " int8 0.6]",
            rich_help_panel=_CHECK,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Export a model to ONNX and TFLite, fp32 and int8, and check each file against it.

    --fmt native makes a static program that measures itself where nothing is installed; for cores
    that compute in it, in fp16 as well.

    What is already there with the same weights and options is not made again.
    """
    extras.require_export("export")
    floors = {
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
        formats=listed(fmt) or [ALL],
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
            "floors": {name: value for name, value in floors.items() if value is not None},
            "out": out,
        },
    )
    # A card that `import` wrote brings its own.
    if weights is None and not all(name.endswith(".toml") for name in listed(model) or [""]):
        typer.echo("warning: no --weights: untrained weights, good for latency only", err=True)
    results = export_all(requests)
    if as_json:
        print_json({"files": [result.as_json() for result in results]})
    else:
        _print_table(results, out)
    explain(results)
    failed = [result for result in results if not result.good]
    if failed:
        misused = all(isinstance(result.error, UsageError) for result in failed)
        raise typer.Exit(_MISUSED if misused else _FAILED)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of one file: an artifact, or the error that prevented it.

    ``notes`` name an earlier file that was overwritten, and what of the weights was left out.
    """

    request: ExportRequest
    status: str
    artifact: Artifact | None = None
    error: DeployError | None = None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file's name; where there is no file, what was asked for."""
        return _asked(self.request) if self.artifact is None else self.artifact.path.name

    @property
    def good(self) -> bool:
        """Whether there is a file, and it passed its check."""
        return self.artifact is not None and self.artifact.parity.passed

    def as_json(self) -> dict[str, Any]:
        """What ``--json`` prints of it."""
        return {
            "path": None if self.artifact is None else str(self.artifact.path),
            "status": self.status,
            "error": None if self.error is None else str(self.error),
            "artifact": None if self.artifact is None else self.artifact.model_dump(mode="json"),
        }


def _asked(request: ExportRequest) -> str:
    model = Path(request.model).stem if request.model.endswith(".toml") else request.model
    return f"{model} {request.resolution} {request.precision.value} {request.format.value}"


def requests_of(
    *,
    models: Sequence[str],
    formats: Sequence[str],
    precisions: Sequence[str],
    resolutions: Sequence[str],
    lowerings: Sequence[str],
    common: dict[str, Any],
) -> list[ExportRequest]:
    """One request per model, resolution, format and precision; ``common`` goes into each.

    Raises:
        UsageError: an unknown model, format or option, or a precision that files do not come in.
    """
    from shufflenet_deploy import zoo  # noqa: PLC0415
    from shufflenet_deploy.export import ExportRequest  # noqa: PLC0415
    from shufflenet_deploy.export.precisions import resolve  # noqa: PLC0415
    from shufflenet_deploy.export.request import (  # noqa: PLC0415
        CALIBRATION_METHODS,
        CONVERTERS,
        HEADS,
        REMEDIES,
    )
    from shufflenet_deploy.records import Format, Resolution  # noqa: PLC0415

    for option, known in (
        ("head", HEADS),
        ("converter", CONVERTERS),
        ("calibration_method", CALIBRATION_METHODS),
        ("remedies", REMEDIES),
    ):
        _chosen(option.replace("calibration", "calib").replace("_", "-"), [common[option]], known)
    if Format.NATIVE in formats:
        from shufflenet_deploy.codegen.cpu_target import cpu_target_named  # noqa: PLC0415

        common["machine"] = cpu_target_named(common["machine"]).name
    return [
        ExportRequest(
            model=model,
            format=Format(fmt),
            precision=precision,
            resolution=size,
            lowering=lowering,
            **common,
        )
        for model in zoo.references(models).values()
        for size in (
            [Resolution.parse(text) for text in resolutions] or [zoo.architecture(model).resolution]
        )
        for fmt in _chosen("fmt", formats, [value.value for value in Format])
        for precision in resolve(precisions, Format(fmt), common["machine"])
        for lowering in lowerings
    ]


def warn_of_few_pictures(folder: Path | None) -> None:
    """Say so when a calibration folder holds fewer pictures than int8 needs.

    Raises:
        UsageError: the folder cannot be read, or holds no picture.
    """
    from shufflenet_deploy.export.image_set import load_image_set  # noqa: PLC0415

    if remark := load_image_set(folder).remark:
        typer.echo(f"warning: --calib {remark}", err=True)


def _chosen(option: str, values: Sequence[str], known: Sequence[str]) -> list[str]:
    """The values meant, ``all`` spelt out.

    Raises:
        UsageError: a value that the option does not know.
    """
    if ALL in values and option == "fmt":
        return [value for value in known if value != "native"]
    for value in values:
        if value not in known:
            raise UsageError(f"--{option} '{value}' is unknown: choose from {', '.join(known)}")
    return list(dict.fromkeys(values))


def export_all(requests: Sequence[ExportRequest]) -> list[Result]:
    """Make every file that is not there yet, with progress on a terminal."""
    from shufflenet_deploy.export import NOTE, UP_TO_DATE  # noqa: PLC0415
    from shufflenet_deploy.export import export as export_one  # noqa: PLC0415

    for folder in {one.calibration for one in requests if one.precision == "int8"}:
        # Where it cannot be read, each of the files says so.
        with suppress(UsageError):
            warn_of_few_pictures(folder)
    results: list[Result] = []
    with _progress(len(requests)) as show:
        for request in requests:
            stages: list[str] = []

            def tell(
                stage: str, request: ExportRequest = request, seen: list[str] = stages
            ) -> None:
                seen.append(stage)
                show(f"{_asked(request)}: {stage}", len(results))

            tell("starting")
            try:
                artifact = export_one(request, on_stage=tell)
            except DeployError as error:
                results.append(Result(request=request, status="failed", error=error))
                continue
            status = "up to date" if UP_TO_DATE in stages else "exported"
            if not artifact.parity.passed:
                status = "failed validation"
            notes = tuple(stage for stage in stages if stage.startswith(NOTE))
            results.append(Result(request=request, status=status, artifact=artifact, notes=notes))
    return results


@contextmanager
def _progress(files: int) -> Iterator[Callable[[str, int], None]]:
    """A line that moves on a terminal; in a log a line now and then."""
    if not sys.stderr.isatty():
        with Heartbeat() as heartbeat:
            yield lambda text, done: heartbeat.doing(f"[{done + 1}/{files}] {text}")
        return
    from rich import progress  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    with progress.Progress(
        progress.SpinnerColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.description}", markup=False),
        progress.TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("", total=files)
        yield lambda text, done: bar.update(task, description=text, completed=done)


def _print_table(results: Sequence[Result], out: Path) -> None:
    from rich.text import Text  # noqa: PLC0415

    rows: list[tuple[str | Text, ...]] = []
    for result in results:
        artifact = result.artifact
        figures = ["", "", ""]
        if artifact is not None:
            figures = [
                _size(artifact.size_bytes),
                f"{artifact.parity.sqnr_db:.1f} dB",
                f"{artifact.parity.top1_agreement:.0%}",
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
    """What was tried because the first recipe missed its floors, and what was kept."""
    from shufflenet_deploy.export.shortfall import gives_scores  # noqa: PLC0415

    typer.echo(f"{artifact.path.name}: int8 needed remedies; tried in order:")
    for attempt in artifact.attempts:
        parity = attempt.parity
        verdict = "passed" if parity.passed else parity.reason
        kept = "  <- kept" if attempt.recipe == artifact.recipe else ""
        scores = (
            f"SQNR {parity.sqnr_db:.1f} dB, top-1 agreement {parity.top1_agreement:.0%}, "
            if gives_scores(parity)
            else ""
        )
        typer.echo(f"  {attempt.recipe}: {scores}{verdict}{kept}")
    if artifact.recipe is not None and artifact.recipe.float_layers:
        typer.echo(f"  in float: {', '.join(artifact.recipe.float_layers)}")


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def explain(results: Sequence[Result]) -> None:
    """One line for each thing that went wrong or should be known; the same of several once."""
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
