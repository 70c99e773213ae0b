"""``cost``: instructions per inference on virtual ARM boards, and the gate that keeps them down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shufflenet_deploy.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from shufflenet_deploy.cost import Comparison, Count, Lock, Plan

_CPUS = "a72,a76"
_MODELS = "shufflenet-g3-0.5x,alexnet"
_RUNTIMES = "onnxruntime,litert"
_PRECISIONS = "fp32,int8"
_BASELINE = "alexnet"


def register(app: typer.Typer) -> None:
    """Add the ``cost`` command."""
    app.command()(cost)


def cost(  # noqa: PLR0917 - options, each passed by name
    check: Annotated[
        Path | None,
        typer.Option("--check", metavar="LOCK", help="Compare with a lock file; 1 when worse."),
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Write today's counts into the lock file.")
    ] = False,
    cpu: Annotated[str, typer.Option("--cpu", help="CPUs to count on.")] = _CPUS,
    model: Annotated[str, typer.Option("--model", "-m", help="Models.")] = _MODELS,
    runtime: Annotated[str, typer.Option("--runtime", help="Runtimes.")] = _RUNTIMES,
    precision: Annotated[str, typer.Option("--precision", help="fp32, int8.")] = _PRECISIONS,
    resolution: Annotated[str, typer.Option("--resolution", help="HEIGHTxWIDTH.")] = "224x224",
    out: Annotated[Path, typer.Option("--out", help="Where exported files lie.")] = Path(
        "artifacts"
    ),
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the boards running: the next count is faster.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Count the instructions of an inference on deterministic virtual ARM boards.

    The figure is the same on every host and under every load; it is work, not time.
    """
    from shufflenet_deploy import cost as costs  # noqa: PLC0415
    from shufflenet_deploy.files import resource  # noqa: PLC0415

    path = check or resource("benchmarks", "cost.lock.toml")
    locked = costs.Lock.read(path) if check is not None else None
    plan = _plan(
        cpu=cpu,
        model=model,
        runtime=runtime,
        precision=precision,
        resolution=resolution,
        locked=locked,
    )
    counts, problems = costs.count(
        plan, out=out, keep_boards=keep, on_stage=lambda stage: typer.echo(f"{stage}...", err=True)
    )
    comparison = None
    if locked is not None:
        comparison = costs.compare([one for one in locked.count if _planned(one, plan)], counts)
    if as_json:
        typer.echo(json.dumps(_described(counts, problems, comparison), indent=2))
    else:
        _print_tables(counts)
        if comparison is not None:
            _print_comparison(comparison, path)
    for problem in problems:
        typer.echo(f"error: {problem}", err=True)
    if update and not problems:
        _update(path, plan, counts)
        typer.echo(f"wrote {path}", err=True)
    worse = comparison is not None and not comparison.passed and not update
    if problems or worse:
        raise typer.Exit(1)


def _plan(
    *, cpu: str, model: str, runtime: str, precision: str, resolution: str, locked: Lock | None
) -> Plan:
    from shufflenet_deploy.board import CPUS, BoardSettings  # noqa: PLC0415
    from shufflenet_deploy.cost import Plan  # noqa: PLC0415
    from shufflenet_deploy.records import Precision, Resolution  # noqa: PLC0415

    precisions = _words(precision)
    for word in precisions:
        if word not in set(Precision):
            raise UsageError(f"'{word}' is not a precision: write fp32 or int8")
    cpus = [
        BoardSettings.choose(name="cost", cpu=word, deterministic=True).cpu
        for word in _words(cpu, every=CPUS)
    ]
    return Plan(
        cpus=tuple(dict.fromkeys(cpus)),
        models=tuple(_words(model)),
        runtimes=tuple(_pinned(name, locked) for name in _words(runtime)),
        precisions=tuple(Precision(word) for word in precisions),
        resolution=Resolution.parse(resolution),
    )


def _words(text: str, *, every: Sequence[str] = ()) -> list[str]:
    if every and text.strip() == "all":
        return list(every)
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise UsageError("an empty list was given: separate several values by commas")
    return list(dict.fromkeys(words))


def _pinned(runtime: str, locked: Lock | None) -> str:
    """The version that was locked, so that only what we did can move the count."""
    version = locked.version_of(runtime) if locked is not None else None
    return f"{runtime}=={version}" if version and "==" not in runtime else runtime


def _planned(count: Count, plan: Plan) -> bool:
    return (
        count.cpu in plan.cpus
        and count.model in plan.models
        and count.runtime in {name.partition("==")[0] for name in plan.runtimes}
        and count.precision in plan.precisions
        and count.resolution == plan.resolution
    )


def _update(path: Path, plan: Plan, counts: list[Count]) -> None:
    """Replace what was counted; what this call left out stays."""
    from importlib import metadata  # noqa: PLC0415

    from shufflenet_deploy import cost as costs  # noqa: PLC0415
    from shufflenet_deploy.board.machine import qemu_version  # noqa: PLC0415

    kept: tuple[costs.Count, ...] = ()
    if path.exists():
        kept = tuple(one for one in costs.Lock.read(path).count if not _planned(one, plan))
    tools = {"qemu": qemu_version()}
    tools |= {name: metadata.version(name) for name in ("torch", "onnx", "onnxruntime")}
    costs.Lock(tools=tools, count=(*kept, *counts)).write(path)


def _print_tables(counts: Sequence[Count]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console = Console()
    for cpu in dict.fromkeys(one.cpu for one in counts):
        table = Table(title=f"Instructions per inference, {cpu} (one thread; Minstr, not ms)")
        for name in ("Model", "Precision", "Runtime"):
            table.add_column(name)
        for name in ("Input", "Minstr", f"over {_BASELINE}", "theoretical", "FMA efficiency"):
            table.add_column(name, justify="right")
        for one in counts:
            if one.cpu == cpu:
                table.add_row(*_row(one, counts))
        console.print(table)
    if counts:
        console.print(
            "Instructions are not cycles: a measure of work, the same on every host."
            " FMA efficiency: least possible 4-wide fp32 multiply-adds / instructions.",
            style="dim",
        )


def _row(one: Count, counts: Iterable[Count]) -> tuple[str, ...]:
    base = next(
        (
            other
            for other in counts
            if other.model == _BASELINE
            and (other.cpu, other.runtime, other.precision, other.resolution)
            == (one.cpu, one.runtime, one.precision, one.resolution)
        ),
        None,
    )
    is_base = base is one or base is None
    return (
        one.model,
        one.precision.value,
        f"{one.runtime} {one.version}",
        str(one.resolution),
        f"{one.instructions / 1e6:.2f}",
        "" if is_base or base is None else f"{base.instructions / one.instructions:.2f}x",
        "" if is_base or base is None else f"{base.multiply_adds / one.multiply_adds:.1f}x",
        "" if one.efficiency is None else f"{one.efficiency:.0%}",
    )


def _print_comparison(comparison: Comparison, path: Path) -> None:
    from shufflenet_deploy.cost import Verdict  # noqa: PLC0415

    for change in comparison.with_verdict(
        Verdict.REGRESSED, Verdict.GONE, Verdict.IMPROVED, Verdict.NEW
    ):
        typer.echo(f"{change.verdict.value:>9}  {change.line}")
    same = len(comparison.with_verdict(Verdict.SAME))
    typer.echo(f"{same} of {len(comparison.changes)} counts are within {comparison.tolerance:.1%}")
    if comparison.with_verdict(Verdict.IMPROVED, Verdict.NEW):
        typer.echo(f"to lock them: shufflenet-deploy cost --check {path} --update")


def _described(
    counts: Sequence[Count], problems: Sequence[str], comparison: Comparison | None
) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "counts": [one.model_dump(mode="json") for one in counts],
        "problems": list(problems),
    }
    if comparison is not None:
        whole["passed"] = comparison.passed
        whole["tolerance"] = comparison.tolerance
        whole["changes"] = [
            {"verdict": change.verdict.value, "ratio": change.ratio, "line": change.line}
            for change in comparison.changes
        ]
    return whole
