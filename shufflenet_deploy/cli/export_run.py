"""Exports of several files: requests, one result each, progress."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from shufflenet_deploy.cli.heartbeat import Heartbeat
from shufflenet_deploy.cli.multi_value import ALL
from shufflenet_deploy.errors import DeployError, UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.export import ExportRequest
    from shufflenet_deploy.records import Artifact
    from shufflenet_deploy.zoo import NetworkOptions


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """The outcome of one export: an artifact, or the error that prevented it.

    ``notes`` name an earlier file that was overwritten, and weights that were left out.
    """

    request: ExportRequest
    status: str
    artifact: Artifact | None = None
    error: DeployError | None = None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file's name; without a file, that of the request."""
        return _asked(self.request) if self.artifact is None else self.artifact.path.name

    @property
    def good(self) -> bool:
        """True if a file was exported and passed its validation."""
        return self.artifact is not None and self.artifact.parity.passed

    def as_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        return {
            "path": None if self.artifact is None else str(self.artifact.path),
            "status": self.status,
            "error": None if self.error is None else str(self.error),
            "artifact": None if self.artifact is None else self.artifact.model_dump(mode="json"),
        }


def _asked(request: ExportRequest) -> str:
    from shufflenet_deploy import zoo  # noqa: PLC0415

    name = zoo.name_of(request.model)
    return f"{name} {request.resolution} {request.precision.value} {request.format}"


def requests_of(
    *,
    models: Sequence[str],
    network: NetworkOptions,
    formats: Sequence[str],
    precisions: Sequence[str],
    resolutions: Sequence[str],
    lowerings: Sequence[str],
    common: dict[str, Any],
) -> list[ExportRequest]:
    """One request per model, resolution, format and precision; ``common`` goes into each.

    ``network`` describes models that are not the zoo's.

    Raises:
        UsageError: an unknown model, format or option, or a precision that files do not come in.
    """
    from shufflenet_deploy import zoo  # noqa: PLC0415
    from shufflenet_deploy.export import ExportRequest  # noqa: PLC0415
    from shufflenet_deploy.export import formats as known_formats  # noqa: PLC0415
    from shufflenet_deploy.export.precisions import resolve  # noqa: PLC0415
    from shufflenet_deploy.export.request import (  # noqa: PLC0415
        CALIBRATION_METHODS,
        CONVERTERS,
        HEADS,
        REMEDIES,
    )
    from shufflenet_deploy.records import Resolution  # noqa: PLC0415

    for option, known in (
        ("head", HEADS),
        ("converter", CONVERTERS),
        ("calibration_method", CALIBRATION_METHODS),
        ("remedies", REMEDIES),
    ):
        _chosen(option.replace("calibration", "calib").replace("_", "-"), [common[option]], known)
    chosen = _chosen("fmt", formats, known_formats.names())
    if any(known_formats.get(name).is_program for name in chosen):
        from shufflenet_deploy.codegen.cpu_target import cpu_target_named  # noqa: PLC0415

        common["machine"] = cpu_target_named(common["machine"]).name
    sizes = [Resolution.parse(text) for text in resolutions]
    return [
        ExportRequest(
            model=model,
            format=fmt,
            precision=precision,
            resolution=size,
            lowering=lowering,
            **common,
        )
        for model in zoo.references(models, network).values()
        for size in sizes or [zoo.architecture(model).resolution]
        for fmt in chosen
        for precision in resolve(precisions, fmt, common["machine"])
        for lowering in lowerings
    ]


def warn_of_small_calibration_set(folder: Path | None) -> None:
    """Warn of a calibration folder with fewer images than int8 needs.

    Raises:
        UsageError: the folder cannot be read, or has no image.
    """
    from shufflenet_deploy.export.image_set import load_image_set  # noqa: PLC0415

    if remark := load_image_set(folder).remark:
        typer.echo(f"warning: --calib {remark}", err=True)


def _chosen(option: str, values: Sequence[str], known: Sequence[str]) -> list[str]:
    """Expand ``all``, and check the values.

    Raises:
        UsageError: a value that the option does not know.
    """
    if ALL in values and option == "fmt":
        return [value for value in known if value != "native"]
    for value in values:
        if value not in known:
            raise UsageError(f"--{option} '{value}' is unknown: choose from {', '.join(known)}")
    return list(dict.fromkeys(values))


def export_all(requests: Sequence[ExportRequest]) -> list[ExportResult]:
    """Export every missing file, with progress on a terminal."""
    from shufflenet_deploy.export import NOTE, UP_TO_DATE, ExportSession  # noqa: PLC0415
    from shufflenet_deploy.export import export as export_one  # noqa: PLC0415

    for folder in {one.calibration for one in requests if one.precision == "int8"}:
        # An unreadable folder is reported by the export of each file.
        with suppress(UsageError):
            warn_of_small_calibration_set(folder)
    results: list[ExportResult] = []
    session = ExportSession()
    with _progress(len(requests)) as show:
        for request in requests:
            stages: list[str] = []

            def report(
                stage: str, request: ExportRequest = request, seen: list[str] = stages
            ) -> None:
                seen.append(stage)
                show(f"{_asked(request)}: {stage}", len(results))

            report("starting")
            try:
                artifact = export_one(request, session=session, on_stage=report)
            except DeployError as error:
                results.append(ExportResult(request=request, status="failed", error=error))
                continue
            status = "up to date" if UP_TO_DATE in stages else "exported"
            if not artifact.parity.passed:
                status = "failed validation"
            notes = tuple(stage for stage in stages if stage.startswith(NOTE))
            results.append(
                ExportResult(request=request, status=status, artifact=artifact, notes=notes)
            )
    return results


@contextmanager
def _progress(files: int) -> Iterator[Callable[[str, int], None]]:
    """A progress line on a terminal; in a log periodic lines."""
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
        console=Console(stderr=True, markup=False),
        transient=True,
    ) as bar:
        task = bar.add_task("", total=files)
        yield lambda text, done: bar.update(task, description=text, completed=done)
