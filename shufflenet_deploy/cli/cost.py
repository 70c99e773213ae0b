"""``cost``: instructions per inference on virtual ARM boards, and a regression check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shufflenet_deploy.cli import common_options
from shufflenet_deploy.cli.checkpoints import checkpoint_of_each
from shufflenet_deploy.cli.heartbeat import Heartbeat
from shufflenet_deploy.cli.multi_value import ALL, EVERY_RUNTIME, listed, precisions, runtimes
from shufflenet_deploy.cli.named_models import size_of
from shufflenet_deploy.cli.network_options import with_network_options
from shufflenet_deploy.cli.stdout import print_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from shufflenet_deploy.cost import BaselineComparison, CostBaseline, Count, Plan, Result
    from shufflenet_deploy.zoo import NetworkOptions

_CPUS = "a72,a76"
_MODELS = "shufflenet-g3-0.5x,alexnet"
_RUNTIMES = "onnxruntime,litert"
_BASELINE = "alexnet"


def register(app: typer.Typer) -> None:
    """Add the ``cost`` command."""
    app.command()(cost)


@with_network_options
def cost(  # noqa: PLR0917 - options, each passed by name
    check: Annotated[
        Path | None,
        typer.Option(
            "--check", metavar="LOCK", help="Compare with a lock file; 1 when worse. [default: no]"
        ),
    ] = None,
    update: Annotated[
        bool,
        typer.Option("--update", help="Write the counts into it, or benchmarks/cost.lock.toml."),
    ] = False,
    cpu: Annotated[
        list[str] | None, typer.Option("--cpu", help=f"a53, a72, a76, max. [default: {_CPUS}]")
    ] = None,
    model: Annotated[list[str] | None, common_options.models(_MODELS)] = None,
    weights: Annotated[list[str] | None, common_options.weights_of_each()] = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            "--runtime",
            "-r",
            help=f"onnxruntime, litert, ncnn, ..., or {EVERY_RUNTIME}. [default: {_RUNTIMES}]",
        ),
    ] = None,
    precision: Annotated[list[str] | None, common_options.precisions("all")] = None,
    resolution: common_options.FileResolution = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Also list the layers and operators they go to.")
    ] = False,
    artifacts: common_options.ArtifactsFolder = Path("artifacts"),
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the boards running: the next count is faster.")
    ] = False,
    recount: Annotated[
        bool, typer.Option("--recount", help="Count unchanged files anew, too.")
    ] = False,
    as_json: common_options.AsJson = False,
    *,
    network: NetworkOptions,
) -> None:
    """Count the instructions of an inference on deterministic virtual ARM boards.

    The figure is the same on every host and under every load; it is work, not time. What was
    counted before and has not changed (file, runtime, board image, CPU) is not counted again.
    Lists take commas, or the option several times.
    """
    from shufflenet_deploy import cost as costs  # noqa: PLC0415
    from shufflenet_deploy.atomic_files import resource  # noqa: PLC0415

    path = check or resource("benchmarks", "cost.lock.toml")
    locked = costs.CostBaseline.read(path) if check is not None and not update else None
    plan = _plan(
        cpus=listed(cpu or _CPUS),
        models=listed(model or _MODELS),
        network=network,
        weights=weights,
        runtimes=runtimes(runtime or _RUNTIMES),
        precisions=precisions(precision or [ALL]),
        resolution=resolution,
        profile=profile,
        recount=recount,
        locked=locked,
    )
    with Heartbeat() as heartbeat:

        def report(stage: str) -> None:
            typer.echo(f"{stage}...", err=True)
            heartbeat.spoke()
            heartbeat.doing(stage)

        result = costs.count(plan, out=artifacts, keep_boards=keep, on_stage=report)
    comparison = None
    if locked is not None:
        expected = [one for one in locked.count if _planned(one, plan)]
        comparison = costs.compare(expected, result.counts)
    if as_json:
        print_json(_described(result, comparison))
    else:
        _print_tables(result, locked.count if locked is not None else ())
        if comparison is not None:
            _print_comparison(comparison, path)
    for problem in result.problems:
        typer.echo(f"error: {problem}", err=True)
    if update and not result.problems:
        _update(path, plan, result.counts)
        typer.echo(f"wrote {path}", err=True)
    if result.problems or (comparison is not None and not comparison.passed):
        raise typer.Exit(1)


def _plan(
    *,
    cpus: Sequence[str],
    models: Sequence[str],
    network: NetworkOptions,
    weights: list[str] | None,
    runtimes: Sequence[str],
    precisions: Sequence[str],
    resolution: str | None,
    profile: bool,
    recount: bool,
    locked: CostBaseline | None,
) -> Plan:
    from shufflenet_deploy import zoo  # noqa: PLC0415
    from shufflenet_deploy.board import BoardSettings  # noqa: PLC0415
    from shufflenet_deploy.cost import Plan  # noqa: PLC0415

    references = zoo.references(models, network)
    chosen = [BoardSettings.choose(name="cost", cpu=word, deterministic=True).cpu for word in cpus]
    return Plan.model_validate(
        {
            "cpus": tuple(dict.fromkeys(chosen)),
            "models": tuple(references.values()),
            "weights": checkpoint_of_each(weights, models, references),
            "runtimes": [_pinned(name, locked) for name in runtimes],
            "precisions": precisions,
            "resolution": size_of(references, resolution),
            "profile": profile,
            "recount": recount,
        }
    )


def _pinned(runtime: str, locked: CostBaseline | None) -> str:
    """The locked version, so that only changes of this project can move the count."""
    from shufflenet_deploy.records import RuntimeSpec  # noqa: PLC0415
    from shufflenet_deploy.runtime import get  # noqa: PLC0415

    if locked is None or get(runtime).standalone:
        return runtime
    version = locked.version_of(runtime)
    if not version or RuntimeSpec.parse(runtime).version is not None:
        return runtime
    return str(RuntimeSpec(name=runtime, version=version))


def _planned(count: Count, plan: Plan) -> bool:
    from shufflenet_deploy import zoo  # noqa: PLC0415
    from shufflenet_deploy.records import RuntimeSpec  # noqa: PLC0415

    return (
        count.cpu in plan.cpus
        and count.model in zoo.references(plan.models)
        and count.runtime in {RuntimeSpec.parse(name).name for name in plan.runtimes}
        and count.precision in plan.precisions_in(count.runtime, count.cpu)
        and count.resolution == plan.resolution
    )


def _update(path: Path, plan: Plan, counts: Sequence[Count]) -> None:
    """Replace the counts of this call; all others stay."""
    from importlib import metadata  # noqa: PLC0415

    from shufflenet_deploy import cost as costs  # noqa: PLC0415
    from shufflenet_deploy.board.qemu import qemu_version  # noqa: PLC0415

    kept: tuple[costs.Count, ...] = ()
    if path.exists():
        kept = tuple(one for one in costs.CostBaseline.read(path).count if not _planned(one, plan))
    tools = {"qemu": qemu_version()}
    tools |= {
        name: metadata.version(name).partition("+")[0] for name in ("torch", "onnx", "onnxruntime")
    }
    costs.CostBaseline(tools=tools, count=(*kept, *counts)).write(path)


def _print_tables(result: Result, locked: Sequence[Count]) -> None:
    from rich import box  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from shufflenet_deploy.analysis.profile import decompositions  # noqa: PLC0415
    from shufflenet_deploy.report.profiles import as_text  # noqa: PLC0415

    console, counts = Console(markup=False), result.counts
    for cpu, resolution in dict.fromkeys((one.cpu, str(one.resolution)) for one in counts):
        title = f"Instructions per inference, {cpu}, {resolution} (Minstr, not ms)"
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
        for name in ("Model", "Runtime", "Type"):
            table.add_column(name, no_wrap=True)
        for name in ("Minstr", "Ratio", "Theory", "FMA"):
            table.add_column(name, justify="right", no_wrap=True)
        for one in counts:
            if (one.cpu, str(one.resolution)) == (cpu, resolution):
                kept = one.cell in result.cached
                row = _row(one, _baseline_of(one, counts), _baseline_of(one, locked), kept=kept)
                table.add_row(*row)
        console.print(table)
    for cpu in dict.fromkeys(one.cpu for one in result.profiles):
        parts = [one.breakdown for one in result.profiles if one.cpu == cpu]
        compared = decompositions(parts, _BASELINE)
        typer.echo(f"{cpu}, profiled:\n")
        typer.echo(as_text(parts, compared, operators=True, width=console.width), nl=False)
    if counts:
        versions = dict.fromkeys(f"{one.runtime} {one.version}" for one in counts)
        console.print(
            f"{', '.join(versions)}; one thread. Ratio: {_BASELINE}'s instructions over the"
            " model's (* as locked); theory: of multiply-adds. FMA: least possible multiply-adds"
            " of vectors (4 wide in fp32, 8 in fp16) over instructions. Instructions are not"
            " cycles: a measure of work, the same on every host.",
            style="dim",
            highlight=False,
        )
    if result.cached:
        console.print(
            f"° {len(result.cached)} of {len(counts)} counts were made before, of the same files,"
            " runtimes, board image and CPU; --recount counts anew.",
            highlight=False,
        )


def _baseline_of(one: Count, among: Iterable[Count]) -> Count | None:
    like = (one.cpu, one.runtime, one.precision, one.resolution)
    for other in among:
        found = (other.cpu, other.runtime, other.precision, other.resolution)
        if other.model == _BASELINE and found == like:
            return other
    return None


def _row(one: Count, counted: Count | None, locked: Count | None, *, kept: bool) -> tuple[str, ...]:
    base, mark = (counted, "") if counted is not None else (locked, "*")
    ratio = theory = ""
    if base is not None and one.model != _BASELINE:
        ratio = f"{base.instructions / one.instructions:.1f}x{mark}"
        theory = f"{base.multiply_adds / one.multiply_adds:.1f}x"
    return (
        one.model,
        one.runtime,
        one.precision.value,
        f"{one.instructions / 1e6:.2f}{'°' if kept else ''}",
        ratio,
        theory,
        "" if one.efficiency is None else f"{one.efficiency:.0%}",
    )


def _print_comparison(comparison: BaselineComparison, path: Path) -> None:
    from shufflenet_deploy.cost import CountStatus  # noqa: PLC0415

    for change in comparison.with_verdict(
        CountStatus.REGRESSED, CountStatus.GONE, CountStatus.IMPROVED, CountStatus.NEW
    ):
        typer.echo(f"{change.verdict.value:>9}  {change.line}")
    same = len(comparison.with_verdict(CountStatus.SAME))
    typer.echo(f"{same} of {len(comparison.changes)} counts are within {comparison.tolerance:.1%}")
    if comparison.with_verdict(CountStatus.IMPROVED, CountStatus.NEW):
        typer.echo(f"to lock them: shufflenet-deploy cost --check {path} --update")


def _described(result: Result, comparison: BaselineComparison | None) -> dict[str, Any]:
    whole: dict[str, Any] = result.model_dump(mode="json")
    if comparison is not None:
        whole["passed"] = comparison.passed
        whole["tolerance"] = comparison.tolerance
        whole["changes"] = [
            {"verdict": change.verdict.value, "ratio": change.ratio, "line": change.line}
            for change in comparison.changes
        ]
    return whole
