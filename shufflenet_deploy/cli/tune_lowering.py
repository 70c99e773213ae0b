"""``tune lowering``: find, on the target itself, how a network is best written for its runtimes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shufflenet_deploy.cli.bench_suite import INSTRUCTIONS, cores
from shufflenet_deploy.cli.hosts import HOST_HELP, SshClient, transport_to
from shufflenet_deploy.cli.journal import JOURNAL_HELP, open_journal
from shufflenet_deploy.cli.multi_value import listed
from shufflenet_deploy.cli.network_options import MODEL_HELP, with_network_options
from shufflenet_deploy.cli.stdout import Column, console, paragraph, print_grid, print_json
from shufflenet_deploy.errors import DeployError, UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.bench import Suite
    from shufflenet_deploy.export.tuning_table import TunedLowering
    from shufflenet_deploy.journal import Journal
    from shufflenet_deploy.records import Artifact, BenchmarkSpec, Cell, Run
    from shufflenet_deploy.target import Target
    from shufflenet_deploy.zoo import NetworkOptions

_INTERRUPTED = 130


def register(group: typer.Typer) -> None:
    """Add the ``lowering`` subcommand."""
    group.command()(lowering)


@with_network_options
def lowering(  # noqa: PLR0917 - options, each passed by name
    host: Annotated[str, typer.Option("--host", "-H", help=HOST_HELP)] = "local",
    model: Annotated[str, typer.Option("--model", "-m", help=MODEL_HELP)] = "shufflenet-g3-0.5x",
    weights: Annotated[
        Path | None, typer.Option("--weights", "-w", help="A checkpoint. [default: untrained]")
    ] = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option("--runtime", "-r", help="[default: onnxruntime,litert]"),
    ] = None,
    resolution: Annotated[str, typer.Option(help="HEIGHTxWIDTH.")] = "224x224",
    metric: Annotated[
        str, typer.Option(help="latency, or instructions (--host board only).")
    ] = "latency",
    cpus: Annotated[
        str | None, typer.Option(help="Cores to run on: 0,1 or 4-7. [default: all]")
    ] = None,
    processes: Annotated[int, typer.Option(help="Fresh processes per lowering.")] = 5,
    min_secs: Annotated[float, typer.Option(help="Sampling time per process.")] = 1.0,
    by_stage: Annotated[
        bool, typer.Option("--stages/--no-stages", help="Also try other forms stage by stage.")
    ] = True,
    artifacts: Annotated[Path, typer.Option(help="Folder of exported files.")] = Path("artifacts"),
    file: Annotated[
        Path | None, typer.Option("--file", help="Where winners are kept. [default: user's own]")
    ] = None,
    journal: Annotated[str | None, typer.Option(help=JOURNAL_HELP)] = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Go on with an interrupted search. [default: a new one]"),
    ] = None,
    ssh_client: SshClient = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    *,
    network: NetworkOptions,
) -> None:
    """Find the lowering that is fastest on a host, for each runtime and precision.

    The winners are kept with their figures; export --core and bench use them from then on. What is
    no faster than the plain network is not chosen.
    """
    import shufflenet_deploy.bench as benches  # noqa: PLC0415
    from shufflenet_deploy import zoo  # noqa: PLC0415
    from shufflenet_deploy.bench.tuning import TuningRequest, tune  # noqa: PLC0415
    from shufflenet_deploy.cli.progress import BenchProgress  # noqa: PLC0415
    from shufflenet_deploy.export.tuning_table import TuningTable, user_file  # noqa: PLC0415
    from shufflenet_deploy.records import Metric  # noqa: PLC0415
    from shufflenet_deploy.target import Target  # noqa: PLC0415

    spec = _spec(metric, cores(cpus), processes, min_secs)
    ((name, reference),) = zoo.references([model], network).items()
    path = file or user_file()
    tuned = TuningTable.read(path)
    runtimes = listed(runtime) or ["onnxruntime", "litert"]
    for one in runtimes:
        if not _has_lowerings(one):
            raise UsageError(f"--runtime {one}: its files leave no choice of lowering")
    search = resume or benches.new_suite_id()
    counting = spec.metric is Metric.INSTRUCTIONS
    found: list[TunedLowering] = []
    with open_journal(journal) as book, BenchProgress(quiet=as_json) as progress:
        link = transport_to(
            host,
            on_stage=progress.stage,
            start_board=True,
            deterministic=counting,
            ssh_client=ssh_client,
        )
        try:
            with link, Target(link) as target:
                facts = target.facts()
                measure = _measuring(search, target, book, artifacts, progress.show)
                for one in runtimes:
                    question = TuningRequest(
                        model=name,
                        card=None if zoo.is_plain_name(reference) else reference,
                        weights=str(weights.absolute()) if weights else None,
                        runtime=one,
                        resolution=resolution,
                        core=facts.core_name(spec.cpus),
                        host=host,
                        spec=spec,
                        by_stage=by_stage,
                    )
                    entries = tune(question, measure)
                    found += [entry.model_copy(update={"suite": search}) for entry in entries]
        except KeyboardInterrupt:
            _print_resume_hint("interrupted", search)
            raise typer.Exit(_INTERRUPTED) from None
        except UsageError:
            raise
        except DeployError:
            _print_resume_hint("stopped", search)
            raise
    tuned.with_entries(tuple(found)).write(path)
    if as_json:
        entries_json = [one.model_dump(mode="json") for one in found]
        print_json({"search": search, "file": str(path), "lowerings": entries_json})
        return
    _print(found)
    typer.echo(f"search {search}; kept in {path}", err=True)


def _has_lowerings(runtime: str) -> bool:
    """True if files for a runtime can be lowered in several ways."""
    from shufflenet_deploy import runtime as runtimes  # noqa: PLC0415
    from shufflenet_deploy.export import formats  # noqa: PLC0415

    return bool(formats.get(runtimes.get(runtime).formats[0]).lowerings)


def _spec(metric: str, cpus: list[int] | None, processes: int, min_secs: float) -> BenchmarkSpec:
    from shufflenet_deploy.records import BenchmarkSpec, Metric  # noqa: PLC0415

    if metric not in set(Metric):
        raise UsageError(f"--metric {metric}: write latency or instructions")
    if processes < 1:
        raise UsageError(f"--processes {processes}: at least one")
    if min_secs < 0:
        raise UsageError(f"--min-secs {min_secs:g}: not negative")
    fields: dict[str, Any] = {
        "metric": metric,
        "cpus": cpus,
        "processes": processes,
        "min_secs": min_secs,
        # As long as it is sampled, so that a quick search is quick altogether.
        "warmup_secs": min(0.5, min_secs),
    }
    if metric == Metric.INSTRUCTIONS:
        fields |= INSTRUCTIONS
    return BenchmarkSpec.model_validate(fields)


def _measuring(
    search: str, target: Target, book: Journal, artifacts: Path, show: Callable[[Any], object]
) -> Callable[[str, Suite], Sequence[Run]]:
    """Measures the missing cells of a suite of the search."""
    import shufflenet_deploy.bench as benches  # noqa: PLC0415
    from shufflenet_deploy.export import ExportRequest, ExportSession, export  # noqa: PLC0415

    session = ExportSession()

    def measure(name: str, suite: Suite) -> Sequence[Run]:
        def artifact_of(cell: Cell) -> Artifact:
            fields = {
                "model": suite.cards.get(cell.model, cell.model),
                "format": cell.format,
                "precision": cell.precision,
                "resolution": cell.resolution,
                "out": artifacts,
                **cell.options,
                "weights": suite.weights_of(cell),
            }
            return export(ExportRequest.model_validate(fields), session=session)

        suite_id = f"{search}-{name}"
        for _ in benches.run(suite, target, book, artifact_of, show, suite_id=suite_id):
            pass
        return book.runs(suite_id)

    return measure


def _print_resume_hint(word: str, search: str) -> None:
    typer.echo(
        f"{word}: what was measured is kept; go on with the same options and --resume {search}",
        err=True,
    )


def _print(found: Sequence[TunedLowering]) -> None:
    from rich.text import Text  # noqa: PLC0415

    from shufflenet_deploy.report.numerals import figure  # noqa: PLC0415

    for entry in found:
        unit = "Minstr" if entry.metric == "instructions" else "ms"
        title = f"{entry.model} {entry.precision.value} in {entry.runtime} {entry.version}"
        console().print(Text(f"{title} on {entry.core}", style="italic"))
        print_grid(
            (
                Column(title="Lowering"),
                *(Column(title=name, right=True) for name in (unit, "of paper's", "95 %")),
            ),
            [
                (
                    one.lowering + (" *" if one.lowering == entry.lowering else ""),
                    figure(one.value / 1e6),
                    f"{one.ratio:.3f}",
                    f"{one.low:.3f} to {one.high:.3f}",
                )
                for one in entry.figures
            ],
        )
        paragraph(f"best: {entry.lowering}{'; ' + entry.note if entry.note else ''}\n")
