"""``bench``: measure models against a baseline on a target."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from shufflenet_deploy.cli import bench_options as options
from shufflenet_deploy.cli import preflight
from shufflenet_deploy.cli import resume as resuming
from shufflenet_deploy.cli.bench_run import BenchRun, Places
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
from shufflenet_deploy.cli.emulator import FEW_INFERENCES, board_of, is_emulated, notices
from shufflenet_deploy.cli.export_run import warn_of_small_calibration_set
from shufflenet_deploy.cli.fleet_run import FleetRun
from shufflenet_deploy.cli.hosts import lab_of
from shufflenet_deploy.cli.inventory import hosts_of, local_host, names_of, with_defaults
from shufflenet_deploy.cli.journal import open_journal
from shufflenet_deploy.cli.known_suites import (
    host_of_suite,
    is_known_code,
    remember_code,
    remember_host,
)
from shufflenet_deploy.cli.multi_value import listed, precisions
from shufflenet_deploy.cli.named_files import NamedFiles
from shufflenet_deploy.cli.named_models import NamedModels
from shufflenet_deploy.cli.network_options import with_network_options
from shufflenet_deploy.errors import UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.bench import Suite
    from shufflenet_deploy.fleet import Host
    from shufflenet_deploy.journal import Journal
    from shufflenet_deploy.zoo import NetworkOptions

_FAILED = 1


def register(app: typer.Typer) -> None:
    """Add the ``bench`` command."""
    app.command()(bench)


@with_network_options
def bench(  # noqa: PLR0917 - options, each passed by name
    suite_id: options.SuiteId = None,
    host: options.Hosts = None,
    ssh_client: options.SshClient = "auto",
    coordinator: options.Coordinator = "",
    power_cycle: options.PowerCycle = False,
    suite: options.SuiteName = None,
    model: options.Models = None,
    file: options.Files = None,
    shape: options.Shapes = None,
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
    rate: options.Rate = None,
    background_load: options.BackgroundLoad = None,
    end_to_end: options.EndToEnd = None,
    energy: options.Energy = False,
    sustained: options.Sustained = None,
    benchmark_model: options.BenchmarkModel = None,
    benchmark_model_arg: options.BenchmarkModelArgs = None,
    timeout: options.Timeout = None,
    retries: options.Retries = None,
    profile: options.WithProfile = False,
    calib: options.Calibration = None,
    artifacts: options.ArtifactsFolder = Path("artifacts"),
    out: options.TablesFolder = None,
    journal: options.Journal = None,
    resume: options.Resume = False,
    as_json: options.AsJson = False,
    *,
    network: NetworkOptions,
) -> None:
    """Measure models against a baseline on this machine or boards, and print the speedup table.

    Lists take commas, or the option several times. Every run is kept at once: after Ctrl-C or a
    broken connection, --resume goes on.
    """
    from shufflenet_deploy.cli.progress import BenchProgress  # noqa: PLC0415

    if suite_id is not None and not resume:
        raise UsageError(f"'{suite_id}' goes with --resume only; models are named with --model")
    named = NamedModels.of(
        listed(model),
        baseline,
        network,
        resolutions=listed(resolution),
        runtimes=listed(runtime),
        files=NamedFiles.of(file or [], shape or [], baseline),
    )
    overrides = _Overrides(
        fields={
            **named.fields,
            "alexnet_head": alexnet_head,
            "head": head,
            "precisions": precisions(precision) or None,
            "lowerings": listed(lowering) or None,
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
            "rate_hz": rate,
            "end_to_end": end_to_end,
            "sustained_secs": duration_secs(sustained),
            "benchmark_model": program(benchmark_model),
            "benchmark_model_args": benchmark_model_arg or None,
        },
        spec={
            "metric": metric,
            "cpus": cores(cpus),
            "background_load": background_load,
            "energy": energy or None,
            **warmup_limits(warmup),
            "min_runs": min_runs,
            "min_secs": min_secs,
            "max_secs": max_secs,
            "processes": processes,
            "cooldown_secs": cooldown,
            "timeout_secs": timeout,
        },
        weights=named.weights(weights or []),
        references=frozenset(named.references.values()),
    )
    if resume and suite is not None:
        raise UsageError("--suite starts a new suite and --resume goes on with one: keep one")
    preflight.writable_folder("--artifacts", artifacts)
    if out is not None:
        preflight.writable_folder("--out", out, TABLE_FILES)
    if calib is not None:
        preflight.readable_folder("--calib", Path(calib), "images")
    hosts = hosts_of(listed(host))
    with open_journal(journal) as book:
        if resume:
            start = _resumed(book, suite_id, hosts, may_ask=not as_json)
        else:
            start = _Start(
                base={} if suite is None else read_suite(suite), hosts=hosts or [local_host()]
            )
        lab = lab_of(coordinator, power_cycle=power_cycle)
        places = Places(ssh_client=ssh_client, lab=lab, artifacts=artifacts, journal=book)
        if len(start.hosts) > 1:
            fleet = FleetRun(
                suite=_suite_of(start, overrides),
                suite_id=start.suite_id,
                targets=[(one, _checked_suite(start, overrides, one)) for one in start.hosts],
                places=places,
            )
            remember_host(fleet.suite_id, fleet.host)
            remember_code(fleet.suite_id, fleet.suite.cards.values())
            fleet.measure(as_json=as_json, out=out)
            return
        (only,) = start.hosts
        run = BenchRun(
            suite=_checked_suite(start, overrides, only),
            suite_id=start.suite_id,
            host=only,
            places=places,
        )
        remember_host(run.suite_id, run.host)
        remember_code(run.suite_id, run.suite.cards.values())
        with BenchProgress(quiet=as_json) as progress:
            result = run.measure(progress)
    BenchSummary(result).show(as_json=as_json, out=out)
    if result.has_failed:
        raise typer.Exit(_FAILED)


@dataclass(frozen=True, kw_only=True)
class _Overrides:
    """The options that were given: fields of a suite, of its spec, and checkpoints.

    A value of None leaves that of the suite. ``references`` are the models that were named.
    """

    fields: dict[str, Any]
    spec: dict[str, Any]
    weights: list[str]
    references: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class _Start:
    """The suite before the options overrule it; ``suite_id`` is None for a new one."""

    base: dict[str, Any]
    hosts: list[Host]
    suite_id: str | None = None


def _resumed(journal: Journal, name: str | None, hosts: list[Host], *, may_ask: bool) -> _Start:
    """Look up a suite of the journal to go on with, by default the last.

    ``hosts`` are those of the command line; without any, those of the suite.

    Raises:
        UsageError: there is none, it is damaged, or it was measured on other hosts.
    """
    from shufflenet_deploy.journal import LAST  # noqa: PLC0415

    row = journal.suite(name or LAST)
    given = names_of(hosts)
    resuming.check_host(row.id, row.host, given)
    if not hosts:
        hosts = hosts_of(host_of_suite(row.id, row.host, may_ask=may_ask).split(","))
    return _Start(base=definition_of(row.definition, row.id), hosts=hosts, suite_id=row.id)


def _suite_of(start: _Start, overrides: _Overrides, host: Host | None = None) -> Suite:
    """Apply the options to the suite, and what the inventory says of a host to the rest.

    Raises:
        UsageError: a value is wrong.
    """
    fresh = start.suite_id is None
    base, spec = start.base, overrides.spec
    few = host is not None and fresh and is_emulated(host.target, counting=_is_counting(spec, base))
    suite = make_suite(
        *(base, overrides.fields, spec, overrides.weights),
        fresh=fresh,
        defaults=FEW_INFERENCES if few else None,
    )
    return with_defaults(suite, host) if host is not None else suite


def _is_counting(spec: dict[str, Any], base: dict[str, Any]) -> bool:
    return bool((spec["metric"] or base.get("spec", {}).get("metric")) == "instructions")


def _checked_suite(start: _Start, overrides: _Overrides, host: Host) -> Suite:
    """The suite as a host measures it, validated before anything slow.

    Prints the notices of a virtual board.

    Raises:
        UsageError: it cannot be measured, or not by resuming this suite.
    """
    from shufflenet_deploy.bench.suite_checks import (  # noqa: PLC0415
        check_code,
        check_extras,
        check_models,
    )

    counting = _is_counting(overrides.spec, start.base)
    suite = check_models(_suite_of(start, overrides, host))
    own = [one for one in suite.cards.values() if is_known_code(start.suite_id or "", one)]
    check_code(suite, {*overrides.references, *own})
    if start.suite_id is not None:
        known = with_defaults(make_suite(start.base, {}, {}, [], fresh=False), host)
        resuming.check(start.suite_id, known, suite)
    check_extras(suite)
    preflight.resolutions(suite)
    if suite.calibration and any(cell.precision == "int8" for cell in suite.cells()):
        warn_of_small_calibration_set(Path(suite.calibration))
    virtual = board_of(host.target, deterministic=counting)
    for line in notices(virtual, deterministic=counting) if virtual is not None else ():
        typer.echo(line, err=True)
    return suite
