"""Supplementary measurements, after the figures of the table are stored.

Profiles, sustained measurements (models taking turns for a long time), and cross-checks by another
program. Those that an earlier session of the suite completed are not repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from shufflenet_deploy import runtime
from shufflenet_deploy.atomic_files import resource, sha256_file
from shufflenet_deploy.bench import events, schedule
from shufflenet_deploy.bench.cross_check import (
    BENCHMARK_MODEL_FORMAT,
    BenchmarkModelBinary,
    cross_check,
    has_arguments,
)
from shufflenet_deploy.bench.paced import is_of as is_paced_of
from shufflenet_deploy.bench.paced import pace
from shufflenet_deploy.bench.pipeline import Images, run_pipeline
from shufflenet_deploy.bench.pipeline import is_of as is_pipeline_of
from shufflenet_deploy.bench.prepared import BenchContext, PreparedCell
from shufflenet_deploy.bench.process import start
from shufflenet_deploy.bench.profiling import profiled_inferences, profiling_spec
from shufflenet_deploy.bench.sustained import sustain
from shufflenet_deploy.errors import ConnectError
from shufflenet_deploy.journal import Journal
from shufflenet_deploy.records import (
    BenchmarkSpec,
    Cell,
    CrossCheck,
    Failure,
    FailureKind,
    Paced,
    Pipeline,
    Run,
    Sustained,
)

_PROFILER = "profile_operators.py"
_SUSTAINED = "sustained.py"


def profiled(
    ready: Sequence[PreparedCell], context: BenchContext, journal: Journal
) -> Iterator[Run]:
    """Profile each cell once; yields every run after it is in the journal.

    Raises:
        ConnectError: the target stayed out of reach.
    """
    from shufflenet_deploy.export.profile_attribution import Attribution  # noqa: PLC0415 - torch

    known, attribution = journal.profiles(context.suite_id), Attribution()
    path = resource("device_scripts", _PROFILER)
    profiler, sha256 = context.install(path), sha256_file(path)
    for one in ready:
        spec = profiling_spec(context.spec_of(one.cell))
        if any(_profile_of(run, one, spec, context) for run in known):
            continue
        argv = runtime.get(one.cell.runtime).profiling(
            python=one.python,
            profiler=profiler,
            agent=context.agent[0],
            model=one.remote,
            spec=spec,
            inferences=profiled_inferences(spec),
        )
        if argv is None:
            continue
        context.session.cool_down()
        context.emit(events.Stage(text=f"profiling {events.describe(one.cell)}"))
        run, report = start(one, context, spec, argv, process=1, attempt=1)
        profile = report.profile if report is not None else None
        if profile is not None:
            model = context.suite.cards.get(one.cell.model)
            profile = attribution.with_layers(profile, one.artifact, model)
        tool = {**run.tool, "profiler_sha256": sha256}
        run = run.model_copy(update={"purpose": "profile", "profile": profile, "tool": tool})
        journal.append(run)
        yield run
        if isinstance(run.outcome, Failure) and run.outcome.kind is FailureKind.CONNECTION:
            raise ConnectError(run.outcome.message)


def _profile_of(run: Run, ready: PreparedCell, spec: BenchmarkSpec, context: BenchContext) -> bool:
    return (
        run.cell == ready.cell
        and run.profile is not None
        and run.target.host == context.facts.host
        and run.sampling == (ready.artifact.sha256, spec.protocol)
    )


def observe(ready: Sequence[PreparedCell], context: BenchContext, journal: Journal) -> None:
    """Sustained measurements and cross-checks, as far as the suite asks for them.

    Raises:
        ConnectError: the target stayed out of reach.
    """
    known = [one for one in journal.observations(context.suite_id) if one.failure is None]
    if context.suite.rate_hz is not None:
        _pace(ready, context, journal, [one for one in known if isinstance(one, Paced)])
    if context.suite.end_to_end is not None:
        pipelines = [one for one in known if isinstance(one, Pipeline)]
        _run_pipelines(ready, context, journal, pipelines)
    for group in _groups(ready) if context.suite.sustained_secs else ():
        if not any(isinstance(one, Sustained) and _alike(one, group, context) for one in known):
            _sustain(group, context, journal)
    if not context.suite.benchmark_model:
        return
    program = _program(Path(context.suite.benchmark_model), context)
    for one in ready:
        done = any(
            isinstance(other, CrossCheck)
            and (other.cell, other.artifact) == (one.cell, one.artifact.sha256)
            and other.spec.protocol == context.spec_of(one.cell).protocol
            and has_arguments(other, context)
            for other in known
        )
        if one.cell.format == BENCHMARK_MODEL_FORMAT and not done:
            context.session.cool_down()
            journal.observe(cross_check(one, context, program))


def _pace(
    ready: Sequence[PreparedCell], context: BenchContext, journal: Journal, known: Sequence[Paced]
) -> None:
    """The processes of each cell at a fixed rate."""
    rate_hz = context.suite.rate_hz or 0.0

    def measure(one: PreparedCell, process: int) -> Paced | None:
        if any(is_paced_of(other, one, context) and other.process == process for other in known):
            return None
        text = f"measuring {events.describe(one.cell)} at {rate_hz:g} per second"
        context.emit(events.Stage(text=text))
        return pace(one, context, rate_hz=rate_hz, process=process)

    _in_rounds(ready, context, journal, measure)


def _run_pipelines(
    ready: Sequence[PreparedCell],
    context: BenchContext,
    journal: Journal,
    known: Sequence[Pipeline],
) -> None:
    """The processes of each cell that take images through it."""
    images = Images.of(Path(context.suite.end_to_end or ""))

    def measure(one: PreparedCell, process: int) -> Pipeline | None:
        if any(
            is_pipeline_of(other, one, context, images) and other.process == process
            for other in known
        ):
            return None
        text = f"running images through {events.describe(one.cell)}"
        context.emit(events.Stage(text=text))
        return run_pipeline(one, context, images, process=process)

    _in_rounds(ready, context, journal, measure)


def _in_rounds(
    ready: Sequence[PreparedCell],
    context: BenchContext,
    journal: Journal,
    measure: Callable[[PreparedCell, int], Paced | Pipeline | None],
) -> None:
    """Measure the processes of all cells in rounds; a cell that failed is not measured again.

    ``measure`` returns None for a process that an earlier session measured.
    """
    suite, of_cell = context.suite, {one.cell: one for one in ready}
    failed: set[Cell] = set()
    for process in range(1, suite.spec.processes + 1):
        for cell in schedule.round_order(
            of_cell, baseline=suite.baseline, process=process, seed=suite.seed
        ):
            if cell in failed:
                continue
            context.session.cool_down()
            found = measure(of_cell[cell], process)
            if found is None:
                continue
            journal.observe(found)
            if found.failure is not None:
                failed.add(cell)


def _sustain(group: Sequence[PreparedCell], context: BenchContext, journal: Journal) -> None:
    secs = context.suite.sustained_secs or 0.0
    script = context.install(resource("device_scripts", _SUSTAINED))
    context.session.cool_down(secs)
    found = sustain(group, context, secs=secs, baseline=context.suite.baseline, script=script)
    journal.observe(found)


def _groups(ready: Sequence[PreparedCell]) -> list[list[PreparedCell]]:
    groups: dict[schedule.Group, list[PreparedCell]] = {}
    for one in ready:
        groups.setdefault(schedule.group_of(one.cell), []).append(one)
    return list(groups.values())


def _alike(known: Sustained, group: Sequence[PreparedCell], context: BenchContext) -> bool:
    """True if a stored measurement is of this group, with the same files, protocol and duration."""
    return (
        known.duration_secs == context.suite.sustained_secs
        and known.cells == tuple(one.cell for one in group)
        and known.artifacts == tuple(one.artifact.sha256 for one in group)
        and known.spec.protocol == context.spec_of(group[0].cell).protocol
    )


def _program(path: Path, context: BenchContext) -> BenchmarkModelBinary:
    return BenchmarkModelBinary(path=path, sha256=sha256_file(path), remote=context.install(path))
