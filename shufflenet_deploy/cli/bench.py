"""``bench``: measure models against a baseline on a target."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shufflenet_deploy.cli.hosts import HOST_HELP, transport_to
from shufflenet_deploy.errors import DeployError, UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.bench import Suite
    from shufflenet_deploy.cli.progress import BenchProgress
    from shufflenet_deploy.records import Artifact, Cell, Run
    from shufflenet_deploy.store import Journal
    from shufflenet_deploy.target import Traffic

_FAILED = 1
_INTERRUPTED = 130

_DEFAULTS: dict[str, Any] = {"models": ["shufflenet-g3-0.5x"], "resolutions": ["224x224"]}

#: Under a clock of instructions nothing warms up and nothing varies: few runs say it all.
_INSTRUCTIONS: dict[str, Any] = {
    "warmup_runs": 1,
    "warmup_secs": 0.0,
    "min_runs": 3,
    "min_secs": 0.0,
    "max_secs": 60.0,
    "processes": 1,
    "timeout_secs": 1800.0,
}

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
            help="onnxruntime, litert, tflite-runtime, or a version: onnxruntime==1.30."
            " [default: onnxruntime]",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            "--precision", "-p", help="fp32, int8. [default: fp32]", rich_help_panel=_WHAT
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
    metric: Annotated[
        str | None,
        typer.Option(
            help="latency, or instructions (--host board only). [default: latency]",
            rich_help_panel=_HOW,
        ),
    ] = None,
    cpus: Annotated[
        str | None,
        typer.Option(help="Cores to run on, such as 0,1 or 4-7.", rich_help_panel=_HOW),
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
        "models": _listed(model),
        "baseline": baseline,
        "alexnet_head": alexnet_head,
        "runtimes": _listed(runtime),
        "precisions": _listed(precision),
        "resolutions": _listed(resolution),
        "threads": _whole_numbers(threads),
        "calibration": calib,
        "precision_target": precision_target,
        "max_processes": max_processes,
        "retries": retries,
    }
    spec = {
        "metric": metric,
        "cpus": _cores(cpus),
        **_warmup(warmup),
        "min_runs": min_runs,
        "min_secs": min_secs,
        "max_secs": max_secs,
        "processes": processes,
        "cooldown_secs": cooldown,
        "timeout_secs": timeout,
    }
    with Journal(journal) as book, BenchProgress(quiet=as_json) as progress:
        base: dict[str, Any] = {}
        if resume:
            row = book.suite(suite_id or LAST)
            base, host, suite_id = _definition(row.definition, row.id), host or row.host, row.id
        elif suite is not None:
            base = _read_suite(suite)
        wanted = _suite(base, options, spec, weights or [], fresh=not resume)
        _check_models(wanted)
        measured = _Bench(
            suite=wanted, suite_id=suite_id, host=host or "local", artifacts=artifacts, book=book
        )
        measured.go(progress)
    measured.tell(as_json=as_json, out=out)
    if measured.failures:
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
        self.traffic: Traffic | None = None

    @property
    def failures(self) -> list[Run]:
        """Runs of cells that have no figure."""
        return [run for run in self.runs if run.kind == "failure"]

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
                    self._exporter(),
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

    def _exporter(self) -> Callable[[Cell], Artifact]:
        from shufflenet_deploy import export  # noqa: PLC0415
        from shufflenet_deploy.export import ExportRequest  # noqa: PLC0415

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
                        "out": self.artifacts,
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

        table = Table.from_runs(self.runs, baseline=self.suite.baseline or "")
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
        typer.echo(render.terminal(table))
        self._warn()
        typer.echo(self._summary(out), err=True)

    def _judged(self) -> list[tuple[Cell, Any]]:
        from shufflenet_deploy import stats  # noqa: PLC0415

        groups: dict[str, list[Run]] = {}
        for run in self.runs:
            groups.setdefault(run.cell.model_dump_json(), []).append(run)
        return [(runs[0].cell, stats.stability(runs)) for runs in groups.values()]

    def _warn(self) -> None:
        """One line for each cell that is not stable, the worst cause first, and what to do."""
        from shufflenet_deploy.bench.session import describe  # noqa: PLC0415

        for cell, stability in self._judged():
            if stability.findings:
                worst = stability.findings[0]
                typer.echo(
                    f"{stability.verdict.value}: {describe(cell)}: {worst.message}; "
                    f"try: {worst.remedy}",
                    err=True,
                )

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
        if out is not None:
            parts.append(f"tables in {out}")
        return "; ".join(parts)

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
        }


# --- reading the options -------------------------------------------------------------------------


def _suite(
    base: dict[str, Any],
    options: dict[str, Any],
    spec: dict[str, Any],
    weights: list[str],
    *,
    fresh: bool,
) -> Suite:
    """The suite of a file or of the journal, overruled by the options that were given."""
    from shufflenet_deploy.bench import Suite  # noqa: PLC0415

    fields: dict[str, Any] = {**_DEFAULTS, **base}
    fields.update({key: value for key, value in options.items() if value is not None})
    if fields.get("baseline") in ("none", ""):
        fields["baseline"] = None
    given = {key: value for key, value in spec.items() if value is not None}
    defaults = _INSTRUCTIONS if fresh and given.get("metric") == "instructions" else {}
    fields["spec"] = {**fields.get("spec", {}), **defaults, **given}
    if weights:
        fields["weights"] = {**fields.get("weights", {}), **_weights(weights, fields["models"])}
    for key in ("calibration",):
        if fields.get(key):
            fields[key] = str(Path(fields[key]).expanduser().absolute())
    return Suite.of(fields, source="bench")


def _read_suite(name: str) -> dict[str, Any]:
    from shufflenet_deploy.bench import Suite, find_suite  # noqa: PLC0415

    return Suite.read(find_suite(name)).model_dump(mode="json")


def _definition(text: str, suite_id: str) -> dict[str, Any]:
    if not text:
        raise UsageError(
            f"the suite {suite_id} was imported without its definition: run bench anew"
        )
    fields: dict[str, Any] = json.loads(text)
    return fields


def _check_models(suite: Suite) -> None:
    """Refuse an unknown model before anything is connected or exported."""
    from shufflenet_deploy import zoo  # noqa: PLC0415

    for name in dict.fromkeys((*suite.models, *([suite.baseline] if suite.baseline else []))):
        zoo.architecture(name)
    for name in suite.weights:
        if name not in (*suite.models, suite.baseline):
            raise UsageError(f"--weights {name}=...: {name} is not measured; add --model {name}")


def _weights(given: list[str], models: list[str] | tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or Path(text).is_file():
            if len(models) != 1:
                raise UsageError(
                    f"--weights {text}: which model? Write NAME={text} with one of "
                    f"{', '.join(models)}"
                )
            name, path = models[0], text
        file = Path(path).expanduser().absolute()
        if not file.is_file():
            raise UsageError(f"--weights: {path} is not a file")
        found[name] = str(file)
    return found


def _listed(values: list[str] | None) -> list[str] | None:
    """``["a,b", "c"]`` as ``["a", "b", "c"]``; None when the option was not given."""
    if not values:
        return None
    return [word.strip() for value in values for word in value.split(",") if word.strip()]


def _whole_numbers(values: list[str] | None) -> list[int] | None:
    words = _listed(values)
    if words is None:
        return None
    if not all(word.isdecimal() for word in words):
        raise UsageError(f"--threads {','.join(words)}: write whole numbers, such as 1,4")
    return [int(word) for word in words]


def _cores(text: str | None) -> list[int] | None:
    """``"0,2-3"`` as ``[0, 2, 3]``."""
    if text is None:
        return None
    cores: set[int] = set()
    for word in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,4})(?:\s*-\s*(\d{1,4}))?\s*", word)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise UsageError(f"--cpus {text}: write core numbers, such as 0,1 or 4-7")
        cores.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return sorted(cores)


def _warmup(text: str | None) -> dict[str, Any]:
    """``"10"`` inferences, or ``"0.5s"``; the other minimum is then none."""
    if text is None:
        return {}
    if text.isdecimal():
        return {"warmup_runs": int(text), "warmup_secs": 0.0}
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s)", text.strip())
    if match is None:
        raise UsageError(f"--warmup {text}: write a number of inferences or seconds: 10, 0.5s")
    return {"warmup_runs": 1, "warmup_secs": float(match[1]) / (1000 if match[2] == "ms" else 1)}
