"""``eval``: accuracy of a model and of its exported files on labelled images."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shufflenet_deploy import extras
from shufflenet_deploy.cli import export_options as options
from shufflenet_deploy.cli import preflight
from shufflenet_deploy.cli.evaluation_table import described, print_table
from shufflenet_deploy.cli.export_run import ExportResult, export_all, requests_of
from shufflenet_deploy.cli.export_summary import print_problems
from shufflenet_deploy.cli.heartbeat import Heartbeat
from shufflenet_deploy.cli.journal import JOURNAL_HELP, open_journal
from shufflenet_deploy.cli.multi_value import ALL, listed, precisions
from shufflenet_deploy.cli.network_options import with_network_options
from shufflenet_deploy.cli.stdout import print_json
from shufflenet_deploy.errors import UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.accuracy import LabelledImages, Progress
    from shufflenet_deploy.export import ExportRequest
    from shufflenet_deploy.records import Evaluation, Resolution
    from shufflenet_deploy.zoo import NetworkOptions

_FAILED = 1
_AUTO = "auto"
_SHOWN = 20
_ON, _HOW, _GOOD = "The images", "How", "When it counts as good"


def register(app: typer.Typer) -> None:
    """Add the ``eval`` command."""
    app.command("eval")(evaluate)


@with_network_options
def evaluate(  # noqa: PLR0917 - options, each passed by name
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            "-d",
            help="Folder of images, one folder per class: DATA/CLASS/image.jpg.",
            rich_help_panel=_ON,
        ),
    ],
    labels: Annotated[
        str | None,
        typer.Option(
            help="Which class each folder is: a FILE of names in the order of the classes, or of "
            "NAME INDEX lines; numbers (folders are named so); sorted."
            " [default: sorted, if there are as many folders as classes]",
            rich_help_panel=_ON,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="At most so many images: a random choice, always the same. [default: all]",
            rich_help_panel=_ON,
        ),
    ] = None,
    model: options.Models = None,
    weights: options.Weights = None,
    fmt: options.Formats = None,
    precision: options.Precisions = None,
    resolution: options.Resolutions = None,
    calib: options.Calibration = None,
    calib_method: options.CalibrationMethod = "minmax",
    remedies: options.Remedies = "auto",
    head: options.Head = "fixed",
    converter: options.Converter = "direct",
    machine: options.MachineName = "generic",
    seed: options.Seed = 0,
    out: options.Folder = Path("artifacts"),
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes. [default: one per core]", rich_help_panel=_HOW),
    ] = None,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh",
            help="Ignore cached predictions, and evaluate all images.",
            rich_help_panel=_HOW,
        ),
    ] = False,
    journal: Annotated[
        str | None,
        typer.Option(help=JOURNAL_HELP, rich_help_panel=_HOW),
    ] = None,
    floor: Annotated[
        list[str] | None,
        typer.Option(
            help="Percent that every file must reach: top1=55, top5=80, agreement=95."
            " [default: none]",
            rich_help_panel=_GOOD,
        ),
    ] = None,
    max_unreadable: Annotated[
        int,
        typer.Option(min=0, help="Images that may be impossible to decode.", rich_help_panel=_GOOD),
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    *,
    network: NetworkOptions,
) -> None:
    """Measure the accuracy of a model, and of each file exported from it.

    The PyTorch module and the files see the same images: shorter side to 256, centre crop of 224,
    the model's own normalisation. Predictions are cached: after Ctrl-C the same command resumes.
    """
    from shufflenet_deploy.accuracy.thresholds import Threshold  # noqa: PLC0415

    extras.require_export("eval")
    if head == "none":
        raise UsageError("--head none: a feature map tells no classes; leave it out")
    thresholds = [Threshold.parse(text) for text in listed(floor)]
    _check(data, labels, journal)
    preflight.writable_folder("--out", out)
    if calib is not None:
        preflight.readable_folder("--calib", calib, "images")
    requests = requests_of(
        models=listed(model) or ["shufflenet-g3-0.5x"],
        network=network,
        formats=listed(fmt) or [ALL],
        precisions=precisions(precision or [ALL]),
        resolutions=listed(resolution),
        lowerings=[_AUTO],
        common={
            "weights": weights,
            "seed": seed,
            "head": head,
            "converter": converter,
            "machine": machine,
            "calibration": calib,
            "calibration_method": calib_method,
            "remedies": remedies,
            "out": out,
        },
    )
    _check_classes(data, labels, requests)
    results = export_all(requests)
    made = [result for result in results if result.artifact is not None]
    session = _EvaluationRun(
        data=data, labels=labels, limit=limit, workers=workers, fresh=fresh, journal=journal
    )
    evaluations: list[Evaluation] = []
    for _, group in groupby(made, key=lambda each: (each.request.model, each.request.resolution)):
        evaluations += session.evaluate(list(group))
    problems = [
        *_unreadable(evaluations, max_unreadable),
        *_missed(evaluations, thresholds),
    ]
    if as_json:
        print_json(
            {
                "evaluations": [described(each) for each in evaluations],
                "not_exported": [each.as_json() for each in results if each.artifact is None],
                "problems": problems,
            }
        )
    else:
        for _, alike in groupby(evaluations, key=_model_and_size):
            print_table(list(alike))
    print_problems(results)
    for problem in problems:
        typer.echo(f"error: {problem}", err=True)
    if problems or len(made) < len(results):
        errors = [result.error for result in results if result.error is not None]
        codes = {error.exit_code for error in errors}
        misused = not problems and codes == {UsageError.exit_code}
        raise typer.Exit(UsageError.exit_code if misused else _FAILED)


def _model_and_size(evaluation: Evaluation) -> tuple[str, Resolution]:
    return evaluation.artifact.model, evaluation.artifact.resolution


class _EvaluationRun:
    """The options that all evaluations of one command share; caches the images."""

    def __init__(
        self,
        *,
        data: Path,
        labels: str | None,
        limit: int | None,
        workers: int | None,
        fresh: bool,
        journal: str | None,
    ) -> None:
        self._data, self._labels, self._limit = data, labels, limit
        self._workers, self._fresh, self._journal = workers, fresh, journal
        self._pictures: dict[int, LabelledImages] = {}
        self._answered = "no"

    def evaluate(self, made: Sequence[ExportResult]) -> list[Evaluation]:
        """Evaluate files of one model and resolution, and add the results to the journal."""
        from shufflenet_deploy import accuracy, zoo  # noqa: PLC0415
        from shufflenet_deploy.accuracy import ModelSource  # noqa: PLC0415

        artifacts = [result.artifact for result in made if result.artifact is not None]
        pictures = self._labelled(int(artifacts[0].outputs[0].shape[-1]))
        _warn_of_calibration(artifacts, made[0], pictures)
        if not artifacts[0].weights.trained:
            typer.echo(
                f"warning: {artifacts[0].model} has UNTRAINED weights: what follows is the "
                "accuracy of chance, no measure of the network",
                err=True,
            )
        request = made[0].request
        source = ModelSource(
            name=zoo.sized(request.model, request.resolution),
            weights=request.weights,
            seed=request.seed,
            head=request.head,
        )
        with _progress(f"{artifacts[0].model} at {artifacts[0].resolution}") as show:

            def report(now: Progress) -> None:
                self._answered = f"{now.answered} of {now.total}"
                show(now.answered, now.total)

            try:
                evaluations = accuracy.evaluate(
                    artifacts,
                    pictures,
                    source=source,
                    workers=self._workers,
                    fresh=self._fresh,
                    on_progress=report,
                )
            except KeyboardInterrupt:
                typer.echo(
                    f"the answers to {self._answered} images are kept: the same command goes on",
                    err=True,
                )
                raise
        with open_journal(self._journal) as book:
            for evaluation in evaluations:
                book.append_evaluation(evaluation)
        return evaluations

    def _labelled(self, classes: int) -> LabelledImages:
        from shufflenet_deploy.accuracy import labelled  # noqa: PLC0415

        if classes not in self._pictures:
            with _progress("reading images") as show:
                self._pictures[classes] = labelled(
                    self._data,
                    classes=classes,
                    labels=self._labels,
                    limit=self._limit,
                    on_hashed=show,
                )
            for remark in self._pictures[classes].remarks:
                typer.echo(f"warning: {remark}", err=True)
        return self._pictures[classes]


def _check(folder: Path, labels: str | None, journal: str | None) -> None:
    """Check the data and the journal before minutes of exporting and hours of counting."""
    from shufflenet_deploy import accuracy  # noqa: PLC0415

    preflight.readable_folder("--data", folder, "a folder of images per class")
    accuracy.check(folder, labels)
    open_journal(journal).close()


def _check_classes(folder: Path, labels: str | None, requests: Sequence[ExportRequest]) -> None:
    """Check the class labels against each network's number of classes, before exporting."""
    from shufflenet_deploy import accuracy, zoo  # noqa: PLC0415

    for request in {(one.model, one.weights): one for one in requests}.values():
        try:
            model = zoo.load(
                zoo.sized(request.model, request.resolution),
                weights=request.weights,
                seed=request.seed,
                head=request.head,
            )
        except UsageError:
            continue  # Its export reports the error, and the others go on.
        classes = model.architecture.description.classes
        if classes is None:
            raise UsageError(
                f"{model.architecture.name} outputs no vector of classes: eval needs a classifier"
            )
        accuracy.check(folder, labels, classes)


def _warn_of_calibration(artifacts: Any, made: ExportResult, pictures: LabelledImages) -> None:
    """Warn of images that calibrated an int8 file too: its accuracy on them is biased upward."""
    from shufflenet_deploy.export.image_set import (  # noqa: PLC0415
        load_image_set as calibration_pictures,
    )

    if not any(artifact.calibration for artifact in artifacts):
        return
    chosen = calibration_pictures(made.request.calibration).calibration
    used = {path.resolve() for path in chosen}
    both = sum(picture.path.resolve() in used for picture in pictures.images)
    if both:
        typer.echo(
            f"warning: {both} of the images calibrated the int8 files too: these figures "
            "flatter them; give --calib another folder",
            err=True,
        )


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal; in a log periodic lines."""
    if not sys.stderr.isatty():
        with Heartbeat() as heartbeat:
            heartbeat.doing(title)
            yield lambda done, total: heartbeat.doing(f"{title}: {done} of {total}")
        return
    from rich import progress  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    with progress.Progress(
        progress.SpinnerColumn(),
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True, markup=False),
        transient=True,
    ) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


# --- what went wrong -----------------------------------------------------------------------------


def _unreadable(evaluations: Sequence[Evaluation], most: int) -> list[str]:
    """Name every image that could not be decoded; a problem if there are more than ``most``."""
    names = list(dict.fromkeys(name for each in evaluations for name in each.unreadable))
    for name in names[:_SHOWN]:
        typer.echo(f"warning: cannot be decoded, in no count: {name}", err=True)
    if len(names) > _SHOWN:
        typer.echo(f"warning: and {len(names) - _SHOWN} more: --json names all", err=True)
    if len(names) <= most:
        return []
    problem = (
        f"{len(names)} images cannot be decoded, so the figures are of the others only: remove "
        f"or replace them, or allow them with --max-unreadable {len(names)}"
    )
    return [problem]


def _missed(evaluations: Sequence[Evaluation], thresholds: Any) -> list[str]:
    from shufflenet_deploy.accuracy.thresholds import missed  # noqa: PLC0415

    texts = [(each.artifact.path.name, missed(each, thresholds)) for each in evaluations]
    return [f"{name}: {text}" for name, text in texts if text]
