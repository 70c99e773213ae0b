"""``bench``: measure models against a baseline on a target."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shufflenet_deploy.cli import completion, preflight
from shufflenet_deploy.cli import resume as resuming
from shufflenet_deploy.cli.bench_options import (
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
from shufflenet_deploy.cli.emulator import FEW_INFERENCES, board_of, notices
from shufflenet_deploy.cli.export import warn_of_few_pictures
from shufflenet_deploy.cli.hosts import HOST_HELP, SSH_CLIENT_HELP, SshClientName, transport_to
from shufflenet_deploy.cli.journal import open_journal
from shufflenet_deploy.cli.journal_option import JOURNAL_HELP
from shufflenet_deploy.cli.known_suites import host_of_suite, remember_host
from shufflenet_deploy.cli.multi_value import PRECISIONS, listed, precisions
from shufflenet_deploy.cli.profile import Profiles
from shufflenet_deploy.cli.stdout import paragraph, print_json, show
from shufflenet_deploy.cli.supplementary import described, newest, summaries
from shufflenet_deploy.errors import DeployError, UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.bench import Suite
    from shufflenet_deploy.cli.progress import BenchProgress
    from shufflenet_deploy.journal import Journal
    from shufflenet_deploy.records import Cell, CrossCheck, Evaluation, Run, Sustained
    from shufflenet_deploy.target import TransferStats

_FAILED = 1
_INTERRUPTED = 130

#: What --out gets.
_TABLES = ("table.md", "table.csv", "table.json")

_WHAT, _WHERE, _HOW, _OUT = "What to measure", "Where", "How to measure", "Results"


def register(app: typer.Typer) -> None:
    """Add the ``bench`` command."""
    app.command()(bench)


def bench(  # noqa: PLR0917 - options, each passed by name
    suite_id: Annotated[
        str | None,
        typer.Argument(
            metavar="SUITE",
            help="With --resume: which. [default: last]",
            autocompletion=completion.suites,
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option("--host", "-H", help=f"{HOST_HELP} [default: local]", rich_help_panel=_WHERE),
    ] = None,
    ssh_client: Annotated[
        SshClientName,
        typer.Option(
            "--ssh-client", metavar="CLIENT", help=SSH_CLIENT_HELP, rich_help_panel=_WHERE
        ),
    ] = "auto",
    suite: Annotated[
        str | None,
        typer.Option(
            help="A suite: a .toml file, or table8, demo, smoke. Other options overrule it."
            " [default: the options]",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="[default: shufflenet-g3-0.5x]",
            autocompletion=completion.models,
            rich_help_panel=_WHAT,
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="A checkpoint: FILE for the model, or NAME=FILE. Of several each is measured."
            " [default: untrained]",
            rich_help_panel=_WHAT,
        ),
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
            help="fixed or dense: AlexNet's fully connected layers at other resolutions."
            " [default: fixed]",
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
            autocompletion=completion.runtimes,
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
        typer.Option(
            help="At least so many inferences, or so long: 0.5s. [default: 5 and 0.5s]",
            rich_help_panel=_HOW,
        ),
    ] = None,
    min_runs: Annotated[
        int | None,
        typer.Option(help="Samples per process, at least. [default: 30]", rich_help_panel=_HOW),
    ] = None,
    min_secs: Annotated[
        float | None,
        typer.Option(help="Sampling time per process. [default: 1.0]", rich_help_panel=_HOW),
    ] = None,
    max_secs: Annotated[
        float | None,
        typer.Option(help="Sampling stops then. [default: 30.0]", rich_help_panel=_HOW),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(help="Fresh processes per cell. [default: 3]", rich_help_panel=_HOW),
    ] = None,
    precision_target: Annotated[
        str | None,
        typer.Option(
            help="Add rounds until the speedup is known so well, such as 2%."
            " [default: no more than --processes]",
            rich_help_panel=_HOW,
        ),
    ] = None,
    max_processes: Annotated[
        int | None,
        typer.Option(help="Limit for --precision-target. [default: 20]", rich_help_panel=_HOW),
    ] = None,
    cooldown: Annotated[
        float | None,
        typer.Option(help="Seconds between processes. [default: 0.0]", rich_help_panel=_HOW),
    ] = None,
    max_temperature: Annotated[
        float | None,
        typer.Option(
            help="Start no process while the target is hotter, in °C, unless it stays so."
            " [default: no limit]",
            rich_help_panel=_HOW,
        ),
    ] = None,
    governor: Annotated[
        str | None,
        typer.Option(
            help="Set the frequency governor, such as performance, and put it back afterwards."
            " [default: left as it is]",
            rich_help_panel=_HOW,
        ),
    ] = None,
    sustained: Annotated[
        str | None,
        typer.Option(
            help="Afterwards let the models of each group take turns for so long, such as 10m."
            " [default: not at all]",
            rich_help_panel=_HOW,
        ),
    ] = None,
    benchmark_model: Annotated[
        Path | None,
        typer.Option(
            help="TFLite's benchmark_model, built for the target: measures TFLite cells too."
            " [default: none]",
            rich_help_panel=_HOW,
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(help="Seconds one process may take. [default: 300.0]", rich_help_panel=_HOW),
    ] = None,
    retries: Annotated[
        int | None,
        typer.Option(
            help="New attempts after broken connections and disturbed measurements. [default: 2]",
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
        typer.Option(
            help="Folder of pictures for int8. [default: 16 shipped photographs]",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    artifacts: Annotated[
        Path, typer.Option(help="Folder of exported files.", rich_help_panel=_OUT)
    ] = Path("artifacts"),
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for table.md, .csv, .json. [default: print only]", rich_help_panel=_OUT
        ),
    ] = None,
    journal: Annotated[
        str | None,
        typer.Option(help=JOURNAL_HELP, rich_help_panel=_OUT),
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
    from shufflenet_deploy.journal import LAST  # noqa: PLC0415

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
    if resume and suite is not None:
        raise UsageError("--suite starts a new suite and --resume goes on with one: keep one")
    preflight.writable_folder("--artifacts", artifacts)
    if out is not None:
        preflight.writable_folder("--out", out, _TABLES)
    if calib is not None:
        preflight.readable_folder("--calib", Path(calib), "images")
    with open_journal(journal) as book, BenchProgress(quiet=as_json) as progress:
        base: dict[str, Any] = {}
        if resume:
            row = book.suite(suite_id or LAST)
            resuming.check_host(row.id, row.host, host)
            host = host or host_of_suite(row.id, row.host, may_ask=not as_json)
            base, suite_id = definition_of(row.definition, row.id), row.id
        elif suite is not None:
            base = read_suite(suite)
        counting = (metric or base.get("spec", {}).get("metric")) == "instructions"
        virtual = board_of(host or "local", deterministic=counting)
        few = virtual is not None and virtual.emulated and not counting and not resume
        wanted = make_suite(
            *(base, options, spec, weights or []),
            fresh=not resume,
            defaults=FEW_INFERENCES if few else None,
        )
        wanted = _checked(wanted, suite_id, base)
        for line in notices(virtual, deterministic=counting) if virtual is not None else ():
            typer.echo(line, err=True)
        measured = _BenchCommand(
            suite=wanted,
            suite_id=suite_id,
            host=host or "local",
            ssh_client=ssh_client,
            artifacts=artifacts,
            book=book,
        )
        remember_host(measured.id, measured.host)
        measured.go(progress)
    measured.tell(as_json=as_json, out=out)
    if measured.failures or measured.profiles.failures or measured.failed_observations:
        raise typer.Exit(_FAILED)


def _checked(wanted: Suite, suite_id: str | None, base: dict[str, Any]) -> Suite:
    """Refuse before anything slow what cannot be measured, or not by going on with ``suite_id``."""
    from shufflenet_deploy.bench.suite_checks import check_extras, check_models  # noqa: PLC0415

    wanted = check_models(wanted)
    if suite_id is not None:
        resuming.check(suite_id, make_suite(base, {}, {}, [], fresh=False), wanted)
    check_extras(wanted)
    preflight.resolutions(wanted)
    if wanted.calibration and any(cell.precision == "int8" for cell in wanted.cells()):
        warn_of_few_pictures(Path(wanted.calibration))
    return wanted


def _print_note(stage: str) -> None:
    """Print what is to be known of an export: what is replaced, what of the weights is left out."""
    from shufflenet_deploy.export import NOTE  # noqa: PLC0415

    if stage.startswith(NOTE):
        typer.echo(stage, err=True)


class _BenchCommand:
    """One suite being measured, and what is to be said about it afterwards."""

    def __init__(
        self,
        *,
        suite: Suite,
        suite_id: str | None,
        host: str,
        ssh_client: SshClientName,
        artifacts: Path,
        book: Journal,
    ) -> None:
        from shufflenet_deploy.bench import new_suite_id  # noqa: PLC0415

        self.suite = suite
        self.id = suite_id or new_suite_id()
        self.host = host
        self.ssh_client = ssh_client
        self.artifacts = artifacts
        self.book = book
        self.runs: list[Run] = []
        self.profiles = Profiles(profiles=[], measured=[])
        self.observations: list[Sustained | CrossCheck] = []
        self.evaluations: list[Evaluation] = []
        self.traffic: TransferStats | None = None

    @property
    def failures(self) -> list[Run]:
        """The last attempts of processes that failed."""
        from shufflenet_deploy.records import last_attempts  # noqa: PLC0415

        return [run for run in last_attempts(self.runs) if run.kind == "failure"]

    @property
    def measured(self) -> int:
        """How many processes have measured."""
        from shufflenet_deploy.stats import attempts  # noqa: PLC0415

        return sum(run.kind == "measurement" for run in attempts.counted(self.runs))

    @property
    def failed_observations(self) -> list[Sustained | CrossCheck]:
        """What else was to be measured and was not."""
        return [one for one in self.observations if one.failure is not None]

    def go(self, progress: BenchProgress) -> None:
        """Measure; on interruption or a lost target say how to go on."""
        import shufflenet_deploy.bench as benches  # noqa: PLC0415
        from shufflenet_deploy.bench.cell_export import cell_exporter  # noqa: PLC0415
        from shufflenet_deploy.records import Metric  # noqa: PLC0415
        from shufflenet_deploy.target import Target  # noqa: PLC0415

        try:
            link = transport_to(
                self.host,
                on_stage=progress.stage,
                start_board=True,
                deterministic=self.suite.spec.metric is Metric.INSTRUCTIONS,
                ssh_client=self.ssh_client,
            )
            with link, Target(link) as target:
                for _ in benches.run(
                    self.suite,
                    target,
                    self.book,
                    cell_exporter(self.suite, target, self.artifacts, _print_note),
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
            self.runs = self.book.runs(self.id, every=True)
            self.profiles = Profiles(profiles=self.book.profiles(self.id), measured=self.runs)
            self.observations = newest(self.book.observations(self.id))
            self.evaluations = self.book.evaluations()

    def _say_how_to_go_on(self, word: str) -> None:
        kept = len(self.book.runs(self.id))
        if kept:
            typer.echo(
                f"{word}: {kept} runs are kept; go on with: "
                f"shufflenet-deploy bench --resume {self.id}",
                err=True,
            )
        elif word == "interrupted":
            typer.echo(
                f"{word} before the first process, so there is no suite to --resume; files that "
                f"were exported are kept in {self.artifacts}; go on with: "
                f"{shlex.join(['shufflenet-deploy', *sys.argv[1:]])}",
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
            from shufflenet_deploy.atomic_files import write_whole  # noqa: PLC0415

            made = (render.markdown, render.csv, render.json)
            for name, rendered in zip(_TABLES, made, strict=True):
                write_whole(out / name, rendered(table))
        if as_json:
            print_json(self._described(json.loads(render.json(table))))
            return
        show(lambda color: render.terminal(table, color=color))
        for text in summaries(self.observations, self.runs):
            paragraph(f"\n{text}")
        self.profiles.show_summary(self.id, self.suite.baseline)
        self._warn()
        typer.echo(self._summary(out), err=True)

    def _judged(self) -> list[tuple[Cell, Any]]:
        from shufflenet_deploy import stats  # noqa: PLC0415
        from shufflenet_deploy.stats.attempts import CellRuns  # noqa: PLC0415

        groups: dict[str, list[Run]] = {}
        for run in self.runs:
            groups.setdefault(run.cell.model_dump_json(), []).append(run)
        in_order = sorted(groups.values(), key=lambda runs: runs[0].cell.display_order)
        return [(runs[0].cell, stats.stability(CellRuns.of(runs).kept)) for runs in in_order]

    def _warn(self) -> None:
        """One line per worst cause: how many cells, one of them as an example, what to do."""
        from shufflenet_deploy.bench.events import describe  # noqa: PLC0415
        from shufflenet_deploy.export.shortfall import explained  # noqa: PLC0415

        for run in self._unproven():
            why = f": {explained(run.artifact)}" if run.artifact else ""
            typer.echo(f"failed validation: {describe(run.cell)}{why}", err=True)
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
        """One run of each measured file that failed validation."""
        found: dict[str, Run] = {}
        for run in self.runs:
            if run.artifact is not None and not run.artifact.parity.passed:
                found.setdefault(run.artifact.sha256, run)
        return list(found.values())

    def _summary(self, out: Path | None) -> str:
        parts = [f"suite {self.id}: {self.measured} processes measured"]
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
            "measured": self.measured,
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
                    "top1_agreement": run.artifact.parity.top1_agreement if run.artifact else None,
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
