"""Exports of several files: requests, one result each, progress."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from shufflenet_deploy.cli.heartbeat import Heartbeat
from shufflenet_deploy.cli.multi_value import ALL
from shufflenet_deploy.errors import DeployError, UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.cluster import Function, Machines, OnStage, Task
    from shufflenet_deploy.export import ExportRequest
    from shufflenet_deploy.export.file_format import FileFormat
    from shufflenet_deploy.records import Artifact, Precision
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
    chosen = _formats(formats)
    if any(one.is_program for one in chosen):
        from shufflenet_deploy.codegen.cpu_target import cpu_target_named  # noqa: PLC0415

        common["machine"] = cpu_target_named(common["machine"]).name
    sizes = [Resolution.parse(text) for text in resolutions]
    return [
        ExportRequest(
            model=model,
            format=fmt.name,
            precision=precision,
            resolution=size,
            lowering=lowering,
            **common,
        )
        for model in zoo.references(models, network).values()
        for size in sizes or [zoo.architecture(model).resolution]
        for fmt in chosen
        for precision in _resolved(
            precisions, fmt, common["machine"], every=ALL in formats and fmt.name not in formats
        )
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


def _formats(asked: Sequence[str]) -> list[FileFormat]:
    """The formats that were asked for; the usual ones where none was.

    Raises:
        UsageError: there is no such format.
    """
    from shufflenet_deploy.export import formats  # noqa: PLC0415

    if not asked:
        return [one for one in formats.every() if one.is_usual]
    named = _chosen("fmt", [name for name in asked if name != ALL], formats.names())
    if ALL in asked:
        return [one for one in formats.every() if not one.is_program or one.name in named]
    return [formats.get(name) for name in named]


def _resolved(
    asked: Sequence[str], fmt: FileFormat, machine: str, *, every: bool
) -> Sequence[Precision]:
    """The precisions of a format; of ``every`` format those that it has, maybe none.

    Raises:
        UsageError: a format that was asked for by its name has not what was asked for.
    """
    from shufflenet_deploy.export.precisions import resolve  # noqa: PLC0415

    if every and ALL not in asked:
        asked = [one for one in asked if one in fmt.precisions]
    return resolve(asked, fmt.name, machine)


def _chosen(option: str, values: Sequence[str], known: Sequence[str]) -> list[str]:
    """Check the values; each once.

    Raises:
        UsageError: a value that the option does not know.
    """
    for value in values:
        if value not in known:
            raise UsageError(f"--{option} '{value}' is unknown: choose from {', '.join(known)}")
    return list(dict.fromkeys(values))


def export_all(
    requests: Sequence[ExportRequest], machines: Machines | None = None
) -> list[ExportResult]:
    """Export every missing file, with progress on a terminal; here, or where ``machines`` are."""
    from shufflenet_deploy.cluster import Here  # noqa: PLC0415
    from shufflenet_deploy.export import NOTE, UP_TO_DATE  # noqa: PLC0415

    for folder in {one.calibration for one in requests if one.precision == "int8"}:
        # An unreadable folder is reported by the export of each file.
        with suppress(UsageError):
            warn_of_small_calibration_set(folder)
    results: dict[int, ExportResult] = {}
    with _progress(len(requests)) as show:
        stages: dict[int, list[str]] = {index: [] for index in range(len(requests))}

        def report(index: int, stage: str) -> None:
            stages[index].append(stage)
            show(f"{_asked(requests[index])}: {stage}", len(results))

        for index, artifact, error in _exported(requests, machines or Here(), report):
            if artifact is None:
                results[index] = ExportResult(request=requests[index], status="failed", error=error)
                continue
            status = "up to date" if UP_TO_DATE in stages[index] else "exported"
            if not artifact.parity.passed:
                status = "failed validation"
            results[index] = ExportResult(
                request=requests[index],
                status=status,
                artifact=artifact,
                notes=tuple(text for text in stages[index] if text.startswith(NOTE)),
            )
    return [results[index] for index in sorted(results)]


def _exported(
    requests: Sequence[ExportRequest], machines: Machines, report: OnStage
) -> Iterator[tuple[int, Artifact | None, DeployError | None]]:
    """The artifact of each request, or its error, as they come; what is there travels nowhere."""
    from shufflenet_deploy.cluster import Here  # noqa: PLC0415
    from shufflenet_deploy.export import (  # noqa: PLC0415
        UP_TO_DATE,
        ExportSession,
        find,
        shared_work,
    )

    missing: list[tuple[int, Task]] = []
    for index, request in enumerate(requests):
        try:
            found = None if machines.shares_disk else find(request)
            if found is None:
                task = shared_work.task_of(request, shares_disk=machines.shares_disk)
                missing.append((index, task))
                continue
        except DeployError as error:
            yield index, None, error
        else:
            report(index, UP_TO_DATE)
            yield index, found, None
    tasks = [task for _, task in missing]
    make: Function = shared_work.make
    if isinstance(machines, Here):
        make = partial(shared_work.make, session=ExportSession())
    for done in machines.run(make, tasks, lambda at, text: report(missing[at][0], text)):
        index = missing[done.index][0]
        if done.error is not None:
            yield index, None, done.error
        else:
            yield index, shared_work.received(done.value, requests[index]), None


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
