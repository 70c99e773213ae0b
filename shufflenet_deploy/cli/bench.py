"""``bench``: measure models against a baseline on a target."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from shufflenet_deploy.cli import bench_options as options
from shufflenet_deploy.cli import preflight
from shufflenet_deploy.cli import resume as resuming
from shufflenet_deploy.cli.bench_run import BenchRun
from shufflenet_deploy.cli.bench_suite import (
    cores,
    definition_of,
    duration_secs,
    integers,
    kind_of_cores,
    make_suite,
    program,
    read_suite,
    warmup_limits,
)
from shufflenet_deploy.cli.bench_summary import TABLE_FILES, BenchSummary
from shufflenet_deploy.cli.emulator import FEW_INFERENCES, board_of, notices
from shufflenet_deploy.cli.export_run import warn_of_small_calibration_set
from shufflenet_deploy.cli.journal import open_journal
from shufflenet_deploy.cli.known_suites import host_of_suite, remember_host
from shufflenet_deploy.cli.multi_value import listed, precisions
from shufflenet_deploy.errors import UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.bench import Suite
    from shufflenet_deploy.journal import Journal

_FAILED = 1


def register(app: typer.Typer) -> None:
    """Add the ``bench`` command."""
    app.command()(bench)


def bench(  # noqa: PLR0917 - options, each passed by name
    suite_id: options.SuiteId = None,
    host: options.Host = None,
    ssh_client: options.SshClient = "auto",
    suite: options.SuiteName = None,
    model: options.Models = None,
    weights: options.Weights = None,
    baseline: options.Baseline = None,
    alexnet_head: options.AlexnetHead = None,
    head: options.Head = None,
    runtime: options.Runtimes = None,
    precision: options.Precisions = None,
    lowering: options.Lowerings = None,
    resolution: options.Resolutions = None,
    threads: options.Threads = None,
    payload: options.Payload = None,
    metric: options.Metric = None,
    cpus: options.Cpus = None,
    warmup: options.Warmup = None,
    min_runs: options.MinRuns = None,
    min_secs: options.MinSecs = None,
    max_secs: options.MaxSecs = None,
    processes: options.Processes = None,
    precision_target: options.PrecisionTarget = None,
    max_processes: options.MaxProcesses = None,
    cooldown: options.Cooldown = None,
    max_temperature: options.MaxTemperature = None,
    governor: options.Governor = None,
    sustained: options.Sustained = None,
    benchmark_model: options.BenchmarkModel = None,
    timeout: options.Timeout = None,
    retries: options.Retries = None,
    profile: options.WithProfile = False,
    calib: options.Calibration = None,
    artifacts: options.ArtifactsFolder = Path("artifacts"),
    out: options.TablesFolder = None,
    journal: options.Journal = None,
    resume: options.Resume = False,
    as_json: options.AsJson = False,
) -> None:
    """Measure models against a baseline on this machine or a board, and print the speedup table.

    Lists take commas, or the option several times. Every run is kept at once: after Ctrl-C or a
    broken connection, --resume goes on.
    """
    from shufflenet_deploy.cli.progress import BenchProgress  # noqa: PLC0415

    if suite_id is not None and not resume:
        raise UsageError(f"'{suite_id}' goes with --resume only; models are named with --model")
    overrides = _Overrides(
        fields={
            "models": listed(model) or None,
            "baseline": baseline,
            "alexnet_head": alexnet_head,
            "head": head,
            "runtimes": listed(runtime) or None,
            "precisions": precisions(precision) or None,
            "lowerings": listed(lowering) or None,
            "resolutions": listed(resolution) or None,
            "threads": integers(threads),
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
        },
        spec={
            "metric": metric,
            "cpus": cores(cpus),
            **warmup_limits(warmup),
            "min_runs": min_runs,
            "min_secs": min_secs,
            "max_secs": max_secs,
            "processes": processes,
            "cooldown_secs": cooldown,
            "timeout_secs": timeout,
        },
        weights=weights or [],
    )
    if resume and suite is not None:
        raise UsageError("--suite starts a new suite and --resume goes on with one: keep one")
    preflight.writable_folder("--artifacts", artifacts)
    if out is not None:
        preflight.writable_folder("--out", out, TABLE_FILES)
    if calib is not None:
        preflight.readable_folder("--calib", Path(calib), "images")
    with open_journal(journal) as book, BenchProgress(quiet=as_json) as progress:
        if resume:
            start = _resumed(book, suite_id, host, may_ask=not as_json)
        else:
            start = _Start(base={} if suite is None else read_suite(suite), host=host or "local")
        run = BenchRun(
            suite=_checked_suite(start, overrides),
            suite_id=start.suite_id,
            host=start.host,
            ssh_client=ssh_client,
            artifacts=artifacts,
            journal=book,
        )
        remember_host(run.suite_id, run.host)
        result = run.measure(progress)
    BenchSummary(result).show(as_json=as_json, out=out)
    if result.failures or result.profiles.failures or result.failed_observations:
        raise typer.Exit(_FAILED)


@dataclass(frozen=True, kw_only=True)
class _Overrides:
    """The options that were given: fields of a suite, of its spec, and checkpoints.

    A value of None leaves that of the suite.
    """

    fields: dict[str, Any]
    spec: dict[str, Any]
    weights: list[str]


@dataclass(frozen=True, kw_only=True)
class _Start:
    """The suite before the options overrule it; ``suite_id`` is None for a new one."""

    base: dict[str, Any]
    host: str
    suite_id: str | None = None


def _resumed(journal: Journal, name: str | None, host: str | None, *, may_ask: bool) -> _Start:
    """Look up a suite of the journal to go on with, by default the last.

    Raises:
        UsageError: there is none, it is damaged, or it was measured on another host.
    """
    from shufflenet_deploy.journal import LAST  # noqa: PLC0415

    row = journal.suite(name or LAST)
    resuming.check_host(row.id, row.host, host)
    host = host or host_of_suite(row.id, row.host, may_ask=may_ask)
    return _Start(base=definition_of(row.definition, row.id), host=host or "local", suite_id=row.id)


def _checked_suite(start: _Start, overrides: _Overrides) -> Suite:
    """Apply the options to the suite, and validate it before anything slow.

    Prints the notices of a virtual board.

    Raises:
        UsageError: it cannot be measured, or not by resuming this suite.
    """
    from shufflenet_deploy.bench.suite_checks import check_extras, check_models  # noqa: PLC0415

    base, spec = start.base, overrides.spec
    fresh = start.suite_id is None
    counting = (spec["metric"] or base.get("spec", {}).get("metric")) == "instructions"
    virtual = board_of(start.host, deterministic=counting)
    few = virtual is not None and virtual.emulated and not counting and fresh
    suite = make_suite(
        *(base, overrides.fields, spec, overrides.weights),
        fresh=fresh,
        defaults=FEW_INFERENCES if few else None,
    )
    suite = check_models(suite)
    if start.suite_id is not None:
        resuming.check(start.suite_id, make_suite(base, {}, {}, [], fresh=False), suite)
    check_extras(suite)
    preflight.resolutions(suite)
    if suite.calibration and any(cell.precision == "int8" for cell in suite.cells()):
        warn_of_small_calibration_set(Path(suite.calibration))
    for line in notices(virtual, deterministic=counting) if virtual is not None else ():
        typer.echo(line, err=True)
    return suite
