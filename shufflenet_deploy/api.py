"""The Python API: the steps of the command line as functions.

    import shufflenet_deploy as sd

    model = sd.load("shufflenet-g3-0.5x", weights="my.pth")
    artifact = sd.export("shufflenet-g3-0.5x", weights="my.pth", format="tflite", precision="int8")
    result = sd.bench({"models": ["shufflenet-g3-0.5x"]}, host="pi")
    print(sd.table(result.suite_id))

Deliberate errors are subclasses of ``shufflenet_deploy.errors.DeployError``: one line that names
the fault and what to do.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from shufflenet_deploy import zoo
from shufflenet_deploy.atomic_files import user_path
from shufflenet_deploy.bench import Event, Suite, find_suite, new_suite_id
from shufflenet_deploy.bench import run as run_suite
from shufflenet_deploy.bench.cell_export import cell_exporter
from shufflenet_deploy.bench.suite_checks import check_code, check_extras, check_models
from shufflenet_deploy.board.host_transport import transport_to
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export import ExportRequest
from shufflenet_deploy.export import export as export_file
from shufflenet_deploy.journal import LAST, Journal
from shufflenet_deploy.records import Artifact, Metric, Run, first_problem, last_attempts
from shufflenet_deploy.report.render import Rendering, render
from shufflenet_deploy.report.suite_table import choose_baseline, read_runs
from shufflenet_deploy.report.table import Table
from shufflenet_deploy.target import Target

if TYPE_CHECKING:
    from shufflenet_deploy.zoo.model import Model

__all__ = ["BenchResult", "bench", "export", "load", "table"]

PrecisionName = Literal["fp32", "fp16", "int8"]
FormName = Literal["terminal", "md", "csv", "json", "latex"]

#: Fields of a suite that may be left out here, though a suite file states them.
_SUITE_DEFAULTS: dict[str, Any] = {"resolutions": ["224x224"]}


def load(
    model: str,
    *,
    weights: str | Path | None = None,
    seed: int = 0,
    head: Literal["fixed", "dense", "none"] = "fixed",
    network: Mapping[str, Any] | None = None,
) -> Model:
    """Load a network as a PyTorch module in eval mode.

    Args:
        model: the name of a model, such as ``shufflenet-g3-0.5x``, the path of a card (.toml),
            ``FILE.py:CALLABLE`` or ``package.module:CALLABLE`` (whose code is run), or the path of
            a ``.pt2``, ``.onnx`` or ``.prototxt`` file.
        weights: a checkpoint (.pth, .pt or .safetensors); None for the card's own weights, or
            untrained ones.
        seed: the seed of untrained weights.
        head: the fully connected layers of AlexNet and VGG at resolutions other than their own;
            ``none`` for the feature extractor alone.
        network: facts about a network of your own, by the fields of ``zoo.NetworkOptions``:
            ``arguments`` of the callable, ``name``, ``channels``, ``preprocessing``, ``mean``,
            ``std``, ``channel_order``, ``value_range``.

    Returns:
        The module (``.module``) with its architecture, preprocessing and the origin of its weights.

    Raises:
        UsageError: there is no such model, or the checkpoint is unreadable or of another network.
    """
    return zoo.load(_reference(model, network), weights=_path(weights), seed=seed, head=head)


def export(
    model: str,
    *,
    weights: str | Path | None = None,
    format: str = "onnx",  # noqa: A002 - the option's name
    precision: PrecisionName = "fp32",
    resolution: str | None = None,
    out: str | Path = "artifacts",
    network: Mapping[str, Any] | None = None,
    on_stage: Callable[[str], None] | None = None,
    **options: Any,
) -> Artifact:
    """Export a network to one file and validate the file against the PyTorch module.

    An up-to-date file in ``out`` is returned as it is.

    Args:
        model: as for ``load``.
        weights: a checkpoint; None for the card's own weights, or untrained ones.
        format: the format of the file; ``native`` is a static executable.
        precision: the arithmetic of the file; fp16 is for native files only.
        resolution: ``HEIGHTxWIDTH`` in pixels; None for the model's own.
        out: the folder for the file and its manifest.
        network: as for ``load``.
        on_stage: called with the name of each stage.
        **options: further fields of ``export.ExportRequest``: ``machine``, ``lowering``,
            ``calibration``, ``labels``, ``head``, ``seed``, ...

    Returns:
        The file's path, sha256, size, origin and parity. A file that missed its tolerances is
        returned, too: look at ``artifact.parity.passed``.

    Raises:
        UsageError: an unknown model or option, unreadable weights, or a resolution that is too
            small.
        ExportError: the network cannot be converted to this format.
    """
    reference = _reference(model, network)
    fields = {
        "model": reference,
        "weights": _path(weights),
        "format": format,
        "precision": precision,
        "resolution": resolution or zoo.architecture(reference).resolution,
        "out": _path(out),
        **options,
    }
    try:
        request = ExportRequest.model_validate(fields)
    except ValidationError as error:
        raise UsageError(f"export: {first_problem(error)}") from error
    return export_file(request, on_stage=on_stage)


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """The runs of a suite, as they are stored in its journal.

    Attributes:
        suite_id: the name of the suite in the journal.
        runs: every attempt at a process in order of time, failed ones included; ``run.outcome`` is
            a ``Measurement`` (raw samples in ns, or instructions) or a ``Failure``.
    """

    suite_id: str
    runs: tuple[Run, ...]

    @property
    def failures(self) -> tuple[Run, ...]:
        """The last attempts of the processes that failed."""
        return tuple(run for run in last_attempts(self.runs) if run.kind == "failure")


def bench(
    suite: Suite | Mapping[str, Any] | str | Path,
    *,
    host: str = "local",
    journal: str | Path | None = None,
    artifacts: str | Path = "artifacts",
    suite_id: str | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> BenchResult:
    """Measure a suite on a host, appending every run to a journal as soon as it ends.

    Args:
        suite: what to measure: the path of a suite file, the name of a shipped suite (``table8``,
            ``demo``, ``smoke``), the keys of a suite file as a mapping (``models`` is required), or
            a ``bench.Suite``. Models that are code are refused in files: name them in a mapping.
        host: ``local``, ``user@host[:port]``, an ssh alias, ``adb[:SERIAL]`` or ``board[:NAME]``; a
            virtual board is started when it does not run.
        journal: the path of a SQLite file, or an SQLAlchemy URL; None for the default journal.
        artifacts: the folder of exported files.
        suite_id: the id of an interrupted session to continue; processes measured there with the
            same file and protocol are not measured again. None begins a new one.
        on_event: called with progress events, see ``bench.events``.

    Returns:
        The suite's id in the journal, and its runs. A failed process is a run, not an exception.

    Raises:
        UsageError: the suite, host or journal is not valid; nothing was measured.
        TransportError: the host is out of reach; finished runs are kept, continue with
            ``suite_id``.
        TargetError: another bench runs on the host, or it cannot be used at all.
        ExportError: a file for the suite cannot be made.
    """
    checked = check_models(_suite(suite))
    if isinstance(suite, str | Path):
        check_code(checked, ())
    check_extras(checked)
    chosen_id = suite_id or new_suite_id()
    with _open(journal) as book:
        link = transport_to(
            host, start_board=True, deterministic=checked.spec.metric is Metric.INSTRUCTIONS
        )
        with link, Target(link) as target:
            exporter = cell_exporter(checked, target, user_path(str(artifacts)))
            notify = on_event or (lambda _: None)
            for _ in run_suite(checked, target, book, exporter, notify, suite_id=chosen_id):
                pass
        return BenchResult(suite_id=chosen_id, runs=tuple(book.runs(chosen_id, every=True)))


def table(
    suite: str = LAST,
    *,
    form: FormName = "terminal",
    baseline: str | None = None,
    journal: str | Path | None = None,
) -> str:
    """Render the speedup table of a suite in a journal.

    Args:
        suite: a suite's id, its beginning, ``last`` or ``all``.
        form: ``terminal`` (plain text), ``md``, ``csv``, ``json`` or ``latex``.
        baseline: the model that speedups are over, ``none`` for none; None for the suite's own.
        journal: the path of a SQLite file, or an SQLAlchemy URL; None for the default journal.

    Returns:
        The table as text.

    Raises:
        UsageError: there is no such form, suite or baseline, or the journal cannot be opened.
    """
    if form not in list(Rendering):
        raise UsageError(f"no form '{form}' of a table: choose one of {', '.join(Rendering)}")
    with _open(journal) as book:
        runs, own = read_runs(book, suite)
        evaluations, predicted = book.evaluations(), book.predictions()
    built = Table.from_runs(
        runs,
        baseline=choose_baseline(runs, own, baseline),
        evaluations=evaluations,
        predicted=predicted,
    )
    return render(built, Rendering(form))


def _suite(given: Suite | Mapping[str, Any] | str | Path) -> Suite:
    if isinstance(given, Suite):
        return given
    if isinstance(given, Mapping):
        return Suite.of({**_SUITE_DEFAULTS, **given}, source="suite")
    return Suite.read(find_suite(str(given)))


def _reference(model: str, network: Mapping[str, Any] | None) -> str:
    """The reference of a model with the facts that are stated of it; arguments are any literals."""
    fields = dict(network or {})
    arguments = fields.get("arguments", {})
    fields["arguments"] = {
        name: value if isinstance(value, str) else repr(value) for name, value in arguments.items()
    }
    try:
        return zoo.described(model, zoo.NetworkOptions.model_validate(fields))
    except ValidationError as error:
        raise UsageError(f"network: {first_problem(error)}") from error


def _open(location: str | Path | None) -> Journal:
    """Open a journal; a row that cannot be read is left out with a Python warning."""
    return Journal(location, on_damaged=lambda problem: warnings.warn(problem, stacklevel=4))


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else user_path(str(given))
