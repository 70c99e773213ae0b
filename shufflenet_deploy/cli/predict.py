"""``predict``: milliseconds on ARM cores that are not here, with the interval they are good for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shufflenet_deploy.cli import common_options, predict_calibrate
from shufflenet_deploy.cli.arguments import CheckedGroup
from shufflenet_deploy.cli.checkpoints import checkpoint_of_each
from shufflenet_deploy.cli.cluster import machines_of
from shufflenet_deploy.cli.export_options import CLUSTER_HELP
from shufflenet_deploy.cli.heartbeat import Heartbeat
from shufflenet_deploy.cli.journal import open_journal
from shufflenet_deploy.cli.multi_value import ALL, EVERY_RUNTIME, listed, precisions, runtimes
from shufflenet_deploy.cli.named_models import size_of
from shufflenet_deploy.cli.network_options import with_network_options
from shufflenet_deploy.cli.stdout import Column, paragraph, print_grid, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shufflenet_deploy.predict import Plan, Prediction, Result
    from shufflenet_deploy.predict.boards import BoardCard
    from shufflenet_deploy.zoo import NetworkOptions

_MODELS = "shufflenet-g3-0.5x,alexnet"
_BASELINE = "alexnet"
_BOARD = "raspberry-pi-4"
#: The parts of a time, by their fields and as the table calls them.
_PARTS = {
    "issue": "issue",
    "l2": "L2",
    "l3": "L3",
    "dram_bandwidth": "DRAM bw",
    "dram_latency": "DRAM lat",
    "barriers": "barriers",
}


def register(app: typer.Typer) -> None:
    """Add the ``predict`` command, and what is below it."""
    group = typer.Typer(name="predict", cls=CheckedGroup)
    group.callback(invoke_without_command=True)(predict)
    predict_calibrate.register(group)
    app.add_typer(group)


@with_network_options
def predict(  # noqa: PLR0917 - options, each passed by name
    ctx: typer.Context,
    board: Annotated[
        list[str] | None,
        typer.Option(
            "--board",
            "-b",
            help="raspberry-pi-4, rk3399-big, ..., NAME@GHZ, the path of a card, or all."
            f" [default: {_BOARD}]",
        ),
    ] = None,
    core: Annotated[
        list[str] | None,
        typer.Option("--core", help="A core on a generic board: cortex-a53@1.4. [default: none]"),
    ] = None,
    model: Annotated[list[str] | None, common_options.models(_MODELS)] = None,
    weights: Annotated[list[str] | None, common_options.weights_of_each()] = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            "--runtime",
            "-r",
            help="native, or a runtime with a wheel for ARM: litert, onnxruntime, ncnn, mnn, ..., "
            f"or {EVERY_RUNTIME}."
            " [default: native]",
        ),
    ] = None,
    precision: Annotated[list[str] | None, common_options.precisions("fp32")] = None,
    resolution: common_options.FileResolution = None,
    threads: Annotated[
        int,
        typer.Option(
            "--threads", min=1, max=16, help="On one cluster: native programs and ncnn only."
        ),
    ] = 1,
    profile: Annotated[bool, typer.Option("--profile", help="Also predict every layer.")] = False,
    artifacts: common_options.ArtifactsFolder = Path("artifacts"),
    journal: common_options.Journal = None,
    recount: Annotated[
        bool, typer.Option("--recount", help="Run unchanged programs again, too.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes. [default: this one]")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option("--cluster", metavar="ADDRESS", help=CLUSTER_HELP)
    ] = None,
    as_json: common_options.AsJson = False,
    *,
    network: NetworkOptions,
) -> None:
    """Predict milliseconds on ARM cores that are not here, and what they are made of.

    The program runs once under QEMU's user emulation, which counts its code and simulates its
    caches; a model of the core makes cycles of that. The same figure on every host. A prediction
    is no measurement: see its interval, and docs/prediction.md. Lists take commas, or the option
    several times.
    """
    if ctx.invoked_subcommand is not None:
        return
    from shufflenet_deploy import predict as predictions  # noqa: PLC0415

    plan = _plan(
        boards=_boards(listed(board), listed(core)),
        models=listed(model or _MODELS),
        network=network,
        weights=weights,
        runtimes=runtimes(runtime or "native"),
        precisions=precisions(precision or ["fp32"]),
        resolution=resolution,
        threads=threads,
        profile=profile,
        recount=recount,
    )
    with Heartbeat() as heartbeat:

        def tell(stage: str) -> None:
            typer.echo(f"{stage}...", err=True)
            heartbeat.spoke()
            heartbeat.doing(stage)

        with machines_of(cluster, workers) as machines:
            result = predictions.predict(plan, out=artifacts, on_stage=tell, machines=machines)
    _store(result, journal)
    if as_json:
        print_json(_document(result))
    else:
        _print(result, plan)
    for problem in result.problems:
        typer.echo(f"error: {problem}", err=True)
    if result.problems:
        raise typer.Exit(1)


def _store(result: Result, journal: str | None) -> None:
    from datetime import UTC, datetime  # noqa: PLC0415

    from shufflenet_deploy.records import StoredPrediction  # noqa: PLC0415

    if result.predictions:
        with open_journal(journal) as book:
            for one in result.predictions:
                book.append_prediction(StoredPrediction.of(one, datetime.now(UTC)))


def _boards(names: Sequence[str], cores: Sequence[str]) -> tuple[BoardCard, ...]:
    from shufflenet_deploy.predict import boards  # noqa: PLC0415

    if ALL in names:
        others = [name for name in names if name != ALL]
        known = [name for name in boards.names() if not name.startswith("generic-")]
        names = [*known, *others]
    elif not names and not cores:
        names = [_BOARD]
    found = [boards.board(name) for name in names]
    found += [boards.board_of_core(name) for name in cores]
    return tuple({card.name: card for card in found}.values())


def _plan(
    *,
    boards: tuple[BoardCard, ...],
    models: Sequence[str],
    network: NetworkOptions,
    weights: list[str] | None,
    runtimes: Sequence[str],
    precisions: Sequence[str],
    resolution: str | None,
    threads: int,
    profile: bool,
    recount: bool,
) -> Plan:
    from shufflenet_deploy import runtime as known, zoo  # noqa: I001, PLC0415
    from shufflenet_deploy.predict import Plan  # noqa: PLC0415

    references = zoo.references(models, network)
    for name in runtimes:
        known.get(name)
    return Plan(
        boards=boards,
        models=tuple(references.values()),
        weights=checkpoint_of_each(weights, models, references),
        runtimes=tuple(runtimes),
        precisions=tuple(precisions),
        resolution=size_of(references, resolution),
        threads=threads,
        profile=profile,
        recount=recount,
    )


def _print(result: Result, plan: Plan) -> None:
    found = result.predictions
    if not found:
        return
    rare = {
        name for name in ("l3", "barriers") if not any(getattr(one.parts, name) for one in found)
    }
    parts = {field: title for field, title in _PARTS.items() if field not in rare}
    columns = [Column(title=title) for title in ("board", "model", "runtime", "type")]
    columns += [
        Column(title="predicted ms", right=True),
        Column(title="±", right=True),
        Column(title="speedup", right=True),
        Column(title="theory", right=True, extra=True),
        *(Column(title=title, right=True, extra=True) for title in parts.values()),
    ]
    print_grid(columns, [_row(one, _baseline_of(one, found), parts) for one in found])
    for one in found:
        if one.layers:
            _print_layers(one, parts)
    for line in _notes(found, plan):
        paragraph(line)


def _baseline_of(one: Prediction, among: Sequence[Prediction]) -> Prediction | None:
    def cell(other: Prediction) -> tuple[object, ...]:
        return other.board, other.runtime, other.precision, other.resolution

    alike = (other for other in among if other.model == _BASELINE and cell(other) == cell(one))
    return next(alike, None)


def _row(one: Prediction, baseline: Prediction | None, parts: dict[str, str]) -> list[str]:
    speedup = theory = ""
    if baseline is not None and one is not baseline:
        ratio, relative = one.speedup(baseline)
        speedup = f"{ratio:.1f}x ±{relative:.0%}"
        theory = f"{baseline.multiply_adds / one.multiply_adds:.1f}x"
    shares = [f"{getattr(one.parts, field) / one.predicted_ns:.0%}" for field in parts]
    name = one.board if one.validated else f"{one.board}*"
    kind = [name, one.model, one.runtime, one.precision.value]
    return [*kind, _ms(one.predicted_ns), f"{one.relative:.0%}", speedup, theory, *shares]


def _print_layers(one: Prediction, parts: dict[str, str]) -> None:
    paragraph(f"\n{one.model} {one.precision.value} on {one.board}, predicted layer by layer:")
    columns = [Column(title="layer", prose=True), Column(title="operator")]
    columns += [Column(title="predicted ms", right=True), Column(title="share", right=True)]
    columns += [Column(title=title, right=True, extra=True) for title in parts.values()]
    whole = sum(layer.predicted_ns for layer in one.layers) or 1.0
    rows = []
    for layer in one.layers:
        total = layer.predicted_ns or 1.0
        shares = [f"{getattr(layer.parts, field) / total:.0%}" for field in parts]
        share = f"{layer.predicted_ns / whole:.1%}"
        rows.append([layer.name, layer.operator, _ms(layer.predicted_ns), share, *shares])
    print_grid(columns, rows)


def _notes(found: Sequence[Prediction], plan: Plan) -> list[str]:
    legend = (
        f"Predicted, not measured: {_threads(plan)}, cycles of a model of the core. ±: where the"
        " measured figure is expected; wider where figures of the board were guessed. Speedup: over"
        f" {_BASELINE}; theory: of multiply-adds. Then what the time is made of: instructions,"
        " misses of L1 and L2, DRAM's bandwidth and latency."
    )
    lines = [legend]
    if guessed := {one.board: one.guessed for one in found if one.guessed}:
        told = "; ".join(f"{name}: {', '.join(names)}" for name, names in guessed.items())
        lines.append(f"Guessed: {told}.")
    if any(not one.validated for one in found):
        lines.append("* No prediction for this core was ever compared with a measurement.")
    lines += [f"{one.name}: {one.note}" for one in plan.boards if one.note]
    return lines


def _threads(plan: Plan) -> str:
    if plan.threads == 1:
        return "one thread"
    return f"{plan.threads} threads on one cluster, in parts of the slowest"


def _ms(nanoseconds: float) -> str:
    from shufflenet_deploy.report.numerals import figure  # noqa: PLC0415

    return figure(nanoseconds / 1e6)


def _document(result: Result) -> dict[str, Any]:
    found = []
    for one in result.predictions:
        fields = one.model_dump(mode="json")
        baseline = _baseline_of(one, result.predictions)
        fields["relative"] = round(one.relative, 4)
        fields["speedup"] = None
        if baseline is not None and baseline is not one:
            ratio, relative = one.speedup(baseline)
            fields["speedup"] = {"ratio": round(ratio, 4), "relative": round(relative, 4)}
        found.append(fields)
    return {"predictions": found, "problems": list(result.problems)}
