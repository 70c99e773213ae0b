"""``bench``: measure models against a baseline on a target."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shufflenet_deploy.cli.bench_options import (
    check_extras,
    check_folder,
    check_models,
    cores,
    definition_of,
    duration_secs,
    kind_of_cores,
    make_suite,
    program,
    read_suite,
    warmup_limits,
    whole_numbers,
)
from shufflenet_deploy.cli.hosts import HOST_HELP, transport_to
from shufflenet_deploy.cli.lists import PRECISIONS, listed, precisions
from shufflenet_deploy.cli.observations import described, newest, summaries
from shufflenet_deploy.cli.output import show
from shufflenet_deploy.cli.profile import Profiles
from shufflenet_deploy.errors import DeployError, UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.bench import Suite
    from shufflenet_deploy.cli.progress import BenchProgress
    from shufflenet_deploy.records import Artifact, Cell, CrossCheck, Evaluation, Run, Sustained
    from shufflenet_deploy.store import Journal
    from shufflenet_deploy.target import Target, Traffic

_FAILED = 1
_INTERRUPTED = 130

_WHAT, _WHERE, _HOW, _OUT = "What to measure", "Where", "How to measure", "Results"


def register(app: typer.Typer) -> None:
    """Add the ``bench`` command."""
    app.command()(bench)


def bench(  # noqa: PLR0917 - options, each passed by name
    suite_id: Annotated[
        str | None, typer.Argument(metavar="SUITE", help="With --resume: which (default: last).")
    ] = None,
    host: Annotated[
        str | None,
        typer.Option("--host", "-H", help=f"{HOST_HELP} [default: local]", rich_help_panel=_WHERE),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            help="A suite: a .toml file, or table8, demo, smoke. Other options overrule it.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="[default: shufflenet-g3-0.5x]", rich_help_panel=_WHAT),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(help="A checkpoint: FILE for the model, or NAME=FILE.", rich_help_panel=_WHAT),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Measured beside the others; 'none' for none. [default: alexnet]",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    alexnet_head: Annotated[
        str | None,
        typer.Option(
            help="fixed or dense: AlexNet's fully connected layers at other resolutions.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            "--runtime",
            "-r",
            help="onnxruntime, litert, tflite-runtime, native, or a version: onnxruntime==1.30."
            " [default: onnxruntime]",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            "--precision", "-p", help=f"{PRECISIONS} [default: fp32]", rich_help_panel=_WHAT
        ),
    ] = None,
    lowering: Annotated[
        list[str] | None,
        typer.Option(
            "--lowering",
            help="auto (the best known for the core), paper, .... [default: auto]",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    resolution: Annotated[
        list[str] | None,
        typer.Option(
            "--resolution", help="HEIGHTxWIDTH, .... [default: 224x224]", rich_help_panel=_WHAT
        ),
    ] = None,
    threads: Annotated[
        list[str] | None, typer.Option(help="1, 2, .... [default: 1]", rich_help_panel=_WHAT)
    ] = None,
    payload: Annotated[
        str | None,
        typer.Option(
            help="Where the runtime comes from: auto, system, venv, wheels, self-contained."
            " [default: auto]",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="latency, or instructions (--host board only). [default: latency]",
            rich_help_panel=_HOW,
        ),
    ] = None,
    cpus: Annotated[
        str | None,
        typer.Option(
            help="Cores to run on: 0,1 or 4-7, big (the fastest), all."
            " [default: big for single threads on phones, else all]",
            rich_help_panel=_HOW,
        ),
    ] = None,
    warmup: Annotated[
        str | None,
        typer.Option(help="At least so many inferences, or so long: 0.5s.", rich_help_panel=_HOW),
    ] = None,
    min_runs: Annotated[
        int | None, typer.Option(help="Samples per process, at least.", rich_help_panel=_HOW)
    ] = None,
    min_secs: Annotated[
        float | None, typer.Option(help="Sampling time per process.", rich_help_panel=_HOW)
    ] = None,
    max_secs: Annotated[
        float | None, typer.Option(help="Sampling stops then.", rich_help_panel=_HOW)
    ] = None,
    processes: Annotated[
        int | None, typer.Option(help="Fresh processes per cell.", rich_help_panel=_HOW)
    ] = None,
    precision_target: Annotated[
        str | None,
        typer.Option(
            help="Add rounds until the speedup is known so well, such as 2%.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    max_processes: Annotated[
        int | None, typer.Option(help="Limit for --precision-target.", rich_help_panel=_HOW)
    ] = None,
    cooldown: Annotated[
        float | None, typer.Option(help="Seconds between processes.", rich_help_panel=_HOW)
    ] = None,
    max_temperature: Annotated[
        float | None,
        typer.Option(
            help="Start no process while the target is hotter, in °C, unless it stays so.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    governor: Annotated[
        str | None,
        typer.Option(
            help="Set the frequency governor, such as performance, and put it back afterwards.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    sustained: Annotated[
        str | None,
        typer.Option(
            help="Afterwards let the models of each group take turns for so long, such as 10m.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    benchmark_model: Annotated[
        Path | None,
        typer.Option(
            help="TFLite's benchmark_model, built for the target: measures TFLite cells too.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds one process may take.", rich_help_panel=_HOW)
    ] = None,
    retries: Annotated[
        int | None,
        typer.Option(
            help="New attempts after broken connections and disturbed measurements.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile",
            help="Then say which layers the time goes to, in processes of their own.",
            rich_help_panel=_HOW,
        ),
    ] = False,
    calib: Annotated[
        str | None,
        typer.Option(help="Folder of pictures to calibrate int8 with.", rich_help_panel=_WHAT),
    ] = None,
    artifacts: Annotated[
        Path, typer.Option(help="Folder of exported files.", rich_help_panel=_OUT)
    ] = Path("artifacts"),
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for table.md, .csv, .json.", rich_help_panel=_OUT),
    ] = None,
    journal: Annotated[
        str | None,
        typer.Option(help="Where runs are kept: a file or URL.", rich_help_panel=_OUT),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with an interrupted suite.", rich_help_panel=_OUT),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=_OUT)
    ] = False,
) -> None:
    """Measure models against a baseline on this machine or a board, and print the speedup table.

    Lists take commas, or the option several times. Every run is kept at once: after Ctrl-C or a
    broken connection, --resume goes on.
    """
    from shufflenet_deploy.cli.progress import BenchProgress  # noqa: PLC0415
    from shufflenet_deploy.store import LAST, Journal  # noqa: PLC0415

    if suite_id is not None and not resume:
        raise UsageError(f"'{suite_id}' goes with --resume only; models are named with --model")
    options = {
        "models": listed(model) or None,
        "baseline": baseline,
        "alexnet_head": alexnet_head,
        "runtimes": listed(runtime) or None,
        "precisions": precisions(precision) or None,
        "lowerings": listed(lowering) or None,
        "resolutions": listed(resolution) or None,
        "threads": whole_numbers(threads),
        "calibration": calib,
        "precision_target": precision_target,
        "max_processes": max_processes,
        "retries": retries,
        "payload": payload,
        "cores": kind_of_cores(cpus),
        "max_temperature_c": max_temperature,
        "profile": profile or None,
        "governor": governor,
        "sustained_secs": duration_secs(sustained),
        "benchmark_model": program(benchmark_model),
    }
    spec = {
        "metric": metric,
        "cpus": cores(cpus),
        **warmup_limits(warmup),
        "min_runs": min_runs,
        "min_secs": min_secs,
        "max_secs": max_secs,
        "processes": processes,
        "cooldown_secs": cooldown,
        "timeout_secs": timeout,
    }
    if out is not None:
        check_folder(out)
    with Journal(journal) as book, BenchProgress(quiet=as_json) as progress:
        base: dict[str, Any] = {}
        if resume:
            row = book.suite(suite_id or LAST)
            base, host, suite_id = definition_of(row.definition, row.id), host or row.host, row.id
        elif suite is not None:
            base = read_suite(suite)
        wanted = make_suite(base, options, spec, weights or [], fresh=not resume)
        check_models(wanted)
        check_extras(wanted)
        measured = _Bench(
            suite=wanted, suite_id=suite_id, host=host or "local", artifacts=artifacts, book=book
        )
        measured.go(progress)
    measured.tell(as_json=as_json, out=out)
    if measured.failures or measured.profiles.failures or measured.failed_observations:
        raise typer.Exit(_FAILED)


class _Bench:
    """One suite being measured, and what is to be said about it afterwards."""

    def __init__(
        self, *, suite: Suite, suite_id: str | None, host: str, artifacts: Path, book: Journal
    ) -> None:
        from shufflenet_deploy.bench import new_suite_id  # noqa: PLC0415

        self.suite = suite
        self.id = suite_id or new_suite_id()
        self.host = host
        self.artifacts = artifacts
        self.book = book
        self.runs: list[Run] = []
        self.profiles = Profiles(profiles=[], measured=[])
        self.observations: list[Sustained | CrossCheck] = []
        self.evaluations: list[Evaluation] = []
        self.traffic: Traffic | None = None

    @property
    def failures(self) -> list[Run]:
        """Runs of cells that have no figure."""
        return [run for run in self.runs if run.kind == "failure"]

    @property
    def failed_observations(self) -> list[Sustained | CrossCheck]:
        """What else was to be measured and was not."""
        return [one for one in self.observations if one.failure is not None]

    def go(self, progress: BenchProgress) -> None:
        """Measure; on interruption or a lost target say how to go on."""
        from shufflenet_deploy import bench as benches  # noqa: PLC0415
        from shufflenet_deploy.records import Metric  # noqa: PLC0415
        from shufflenet_deploy.target import Target  # noqa: PLC0415

        link = transport_to(
            self.host,
            on_stage=progress.stage,
            start_board=True,
            deterministic=self.suite.spec.metric is Metric.INSTRUCTIONS,
        )
        try:
            with link, Target(link) as target:
                for _ in benches.run(
                    self.suite,
                    target,
                    self.book,
                    self._exporter(target),
                    progress.show,
                    suite_id=self.id,
                ):
                    self.traffic = target.traffic
                self.traffic = target.traffic
        except KeyboardInterrupt:
            self._say_how_to_go_on("interrupted")
            raise typer.Exit(_INTERRUPTED) from None
        except DeployError:
            self._say_how_to_go_on("stopped")
            raise
        finally:
            self.runs = self.book.runs(self.id)
            self.profiles = Profiles(profiles=self.book.profiles(self.id), measured=self.runs)
            self.observations = newest(self.book.observations(self.id))
            self.evaluations = self.book.evaluations()

    def _exporter(self, target: Target) -> Callable[[Cell], Artifact]:
        from shufflenet_deploy import export  # noqa: PLC0415
        from shufflenet_deploy.codegen.cpu_target import for_facts  # noqa: PLC0415
        from shufflenet_deploy.export import ExportRequest  # noqa: PLC0415
        from shufflenet_deploy.records import Format  # noqa: PLC0415

        def artifact_of(cell: Cell) -> Artifact:
            weights = self.suite.weights.get(cell.model)
            return export.export(
                ExportRequest.model_validate(
                    {
                        "model": cell.model,
                        "weights": weights,
                        "format": cell.format,
                        "precision": cell.precision,
                        "resolution": cell.resolution,
                        "calibration": self.suite.calibration,
                        **(
                            {"machine": for_facts(target.facts()).name}
                            if cell.format is Format.NATIVE
                            else {}
                        ),
                        "out": self.artifacts,
                        "runtime": cell.runtime.partition("==")[0],
                        "core": target.facts().core_name(self.suite.spec.cpus),
                        **cell.options,
                    }
                )
            )

        return artifact_of

    def _say_how_to_go_on(self, word: str) -> None:
        kept = len(self.book.runs(self.id))
        if kept:
            typer.echo(
                f"{word}: {kept} runs are kept; go on with: "
                f"shufflenet-deploy bench --resume {self.id}",
                err=True,
            )

    # --- afterwards ------------------------------------------------------------------------------

    def tell(self, *, as_json: bool, out: Path | None) -> None:
        """Print the table or the JSON, write the files, warn about what cannot be trusted."""
        from shufflenet_deploy.report import Table, render  # noqa: PLC0415

        table = Table.from_runs(
            self.runs, baseline=self.suite.baseline or "", evaluations=self.evaluations
        )
        if out is not None:
            from shufflenet_deploy.files import write_whole  # noqa: PLC0415

            for name, text in (
                ("table.md", render.markdown(table)),
                ("table.csv", render.csv(table)),
                ("table.json", render.json(table)),
            ):
                write_whole(out / name, text)
        if as_json:
            typer.echo(json.dumps(self._described(json.loads(render.json(table)))))
            return
        show(lambda color: render.terminal(table, color=color))
        for text in summaries(self.observations, self.runs):
            typer.echo(f"\n{text}")
        self.profiles.show(self.suite.baseline)
        self._warn()
        typer.echo(self._summary(out), err=True)

    def _judged(self) -> list[tuple[Cell, Any]]:
        from shufflenet_deploy import stats  # noqa: PLC0415

        groups: dict[str, list[Run]] = {}
        for run in self.runs:
            groups.setdefault(run.cell.model_dump_json(), []).append(run)
        return [(runs[0].cell, stats.stability(runs)) for runs in groups.values()]

    def _warn(self) -> None:
        """One line per worst cause: how many cells, one of them as an example, what to do."""
        from shufflenet_deploy.bench.events import describe  # noqa: PLC0415

        for run in self._unproven():
            typer.echo(
                f"failed validation: {describe(run.cell)}: this is the figure of a file that "
                f"computes something else than the model"
                f"{': ' + run.artifact.parity.reason if run.artifact else ''}",
                err=True,
            )
        alike: dict[Any, list[tuple[Cell, Any]]] = {}
        for cell, stability in self._judged():
            if stability.findings:
                key = (stability.verdict, stability.findings[0].cause)
                alike.setdefault(key, []).append((cell, stability.findings[0]))
        for (verdict, cause), cells in alike.items():
            cell, finding = cells[0]
            others = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
            typer.echo(
                f"{verdict.value} ({cause.value}): {describe(cell)}{others}: {finding.message}; "
                f"try: {finding.remedy}",
                err=True,
            )

    def _unproven(self) -> list[Run]:
        """One run of each measured file that did not compute what its model computes."""
        found: dict[str, Run] = {}
        for run in self.runs:
            if run.artifact is not None and not run.artifact.parity.passed:
                found.setdefault(run.artifact.sha256, run)
        return list(found.values())

    def _summary(self, out: Path | None) -> str:
        parts = [f"suite {self.id}: {len(self.runs) - len(self.failures)} processes measured"]
        if self.failures:
            parts.append(f"{len(self.failures)} failed")
        if self.traffic is not None:
            parts.append(
                f"pushed {self.traffic.files_pushed} files "
                f"({self.traffic.bytes_pushed / 1e6:.1f} MB), "
                f"{self.traffic.files_present} already there"
            )
        parts += self._payloads()
        if out is not None:
            parts.append(f"tables in {out}")
        return "; ".join(parts)

    def _payloads(self) -> list[str]:
        """The runtimes that were pushed in this session, and their sizes on the way."""
        sizes = {
            run.cell.runtime: (run.tool["environment"], run.tool["payload_bytes"])
            for run in self.runs
            if run.tool.get("payload_bytes")
        }
        return [
            f"{name} {how}, {size_bytes / 1e6:.1f} MB" for name, (how, size_bytes) in sizes.items()
        ]

    def _described(self, table: object) -> dict[str, Any]:
        traffic = self.traffic
        return {
            "suite": self.id,
            "host": self.host,
            "journal": self.book.location,
            "measured": len(self.runs) - len(self.failures),
            "failures": [
                {
                    "cell": run.cell.model_dump(mode="json"),
                    **run.outcome.model_dump(mode="json"),
                }
                for run in self.failures
            ],
            "failed_validation": [
                {
                    "cell": run.cell.model_dump(mode="json"),
                    "reason": run.artifact.parity.reason if run.artifact else "",
                }
                for run in self._unproven()
            ],
            "stability": [
                {
                    "cell": cell.model_dump(mode="json"),
                    "verdict": stability.verdict.value,
                    "findings": [
                        {
                            "cause": finding.cause.value,
                            "message": finding.message,
                            "remedy": finding.remedy,
                        }
                        for finding in stability.findings
                    ],
                }
                for cell, stability in self._judged()
            ],
            "pushed": None
            if traffic is None
            else {
                "files": traffic.files_pushed,
                "bytes": traffic.bytes_pushed,
                "already_there": traffic.files_present,
            },
            "table": table,
            "profile": self.profiles.described(self.suite.baseline),
            "observations": [described(one, self.runs) for one in self.observations],
        }
