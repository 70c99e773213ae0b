"""Predictions of a plan: every network in every runtime on every board, one after the other."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from pydantic import Field

from shufflenet_deploy import runtime, zoo
from shufflenet_deploy.cluster import Files, Function, Here, Machines, Task
from shufflenet_deploy.cores import Core
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export import ExportSession, export, shared_work
from shufflenet_deploy.export.precisions import resolve
from shufflenet_deploy.export.request import ExportRequest
from shufflenet_deploy.export.shortfall import explained
from shufflenet_deploy.predict import counting, parallel, userland
from shufflenet_deploy.predict.boards import BoardCard
from shufflenet_deploy.predict.counts import Counts
from shufflenet_deploy.predict.latency import (
    Memory,
    Parts,
    TimedChain,
    interval,
    predicted,
    timed,
)
from shufflenet_deploy.predict.layers import LayerCounts, layer_counts
from shufflenet_deploy.predict.plugin import Emulator, emulator
from shufflenet_deploy.records import (
    Artifact,
    AskedPrecisions,
    LayerPrediction,
    Precision,
    Prediction,
    Record,
    Resolution,
    ResolutionText,
    RuntimeSpec,
    TimeParts,
)

#: As many threads as the plugin tells apart.
MOST_THREADS = 16


class Plan(Record):
    """The models, boards and precisions to predict. ``models`` are names, or paths of cards;
    ``weights`` are by their names.

    ``recount`` runs again what was counted before and has not changed.
    """

    boards: tuple[BoardCard, ...] = Field(min_length=1)
    models: tuple[str, ...]
    weights: dict[str, Path] = Field(default_factory=dict)
    runtimes: tuple[str, ...] = ("native",)
    precisions: AskedPrecisions = (Precision.FP32,)
    resolution: ResolutionText = Field(default=Resolution(height=224, width=224))
    threads: int = Field(default=1, ge=1, le=MOST_THREADS)
    profile: bool = False
    recount: bool = False


class Result(Record):
    """Predictions in the order of the plan; ``problems`` has a line for each that there is not."""

    predictions: tuple[Prediction, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One file on the boards of one core; ``reference`` is what exports take for ``model``."""

    model: str
    reference: str
    weights: Path | None
    runtime: str
    precision: Precision
    boards: tuple[BoardCard, ...]

    @property
    def title(self) -> str:
        return (
            f"{zoo.name_of(self.model)} {self.precision} in {self.runtime} on {self.boards[0].core}"
        )


def predict(
    plan: Plan, *, out: Path, on_stage: Callable[[str], None], machines: Machines | None = None
) -> Result:
    """Predict every cell of a plan: one after the other, or where ``machines`` are.

    Files are exported to ``out`` unless they are there. A cell that cannot be predicted becomes a
    problem, and the others are predicted all the same.

    Raises:
        UsageError: the plan names something that does not exist or does not travel, or a program
            is not installed.
        DeployError: the plugin cannot be compiled.
        WorkersError: a worker was lost.
    """
    _require(plan)
    shared = machines or Here()
    jobs = list(_jobs(plan))
    if shared.shares_disk:
        on_stage("preparing QEMU's plugin")
        emulator()
    found: dict[int, list[Prediction]] = {}
    problems = []

    def tell(index: int, text: str) -> None:
        on_stage(f"[{index + 1}/{len(jobs)}] {text}")

    tasks = [_task(plan, job, out, here=shared.shares_disk) for job in jobs]
    work: Function = _work
    if isinstance(shared, Here):
        work = partial(_work, session=ExportSession())
    for done in shared.run(work, tasks, tell):
        if isinstance(done.error, UsageError):
            raise done.error
        if done.error is not None:
            problems.append(f"{jobs[done.index].title}: {done.error}")
        else:
            found[done.index] = done.value
    predictions = [one for index in sorted(found) for one in found[index]]
    order = {board.name: place for place, board in enumerate(plan.boards)}
    predictions.sort(key=lambda one: order[one.board])
    return Result(predictions=tuple(predictions), problems=tuple(problems))


def _require(plan: Plan) -> None:
    """Refuse what cannot be predicted, before anything slow."""
    others = [name for name in plan.runtimes if not runtime.get(name).standalone]
    if plan.profile and others:
        raise UsageError(f"--profile takes native programs apart: leave {', '.join(others)} out")
    if plan.profile and plan.threads > 1:
        raise UsageError("--profile is of one thread: leave --threads out")
    for name in others:
        userland.require_followed(runtime.get(name), plan.threads)
    for board in plan.boards:
        board.require_threads(plan.threads)


@dataclass(frozen=True)
class _Order:
    """A job for whoever does it; files are exported to ``out`` where that is at hand."""

    plan: Plan
    job: _Job
    out: Path | None


def _task(plan: Plan, job: _Job, out: Path, *, here: bool) -> Task:
    files = {} if here else shared_work.model_files(job.reference, job.weights)
    return Task(argument=_Order(plan, job, out if here else None), files=files)


def _work(
    order: _Order,
    files: Files,
    on_stage: Callable[[str], None],
    session: ExportSession | None = None,
) -> list[Prediction]:
    job = order.job
    if order.out is None:
        job = replace(
            job,
            reference=shared_work.model_in(files, job.reference),
            weights=shared_work.weights_in(files, job.weights),
        )
    with tempfile.TemporaryDirectory(prefix="shufflenet-deploy-predict-") as folder:
        out = order.out or Path(folder)
        artifact = _exported(order.plan, job, out, session or ExportSession(), on_stage)
        return _predicted(order.plan, job, emulator(), artifact, on_stage)


def _jobs(plan: Plan) -> Iterator[_Job]:
    cores = dict.fromkeys(board.core for board in plan.boards)
    for name in plan.runtimes:
        file_format = runtime.get(name).formats[0]
        for core in cores:
            boards = tuple(board for board in plan.boards if board.core == core)
            precisions = resolve(
                plan.precisions, file_format, boards[0].model.machine, runtime=name
            )
            for precision in precisions:
                for model, reference in zoo.references(plan.models).items():
                    yield _Job(
                        model=model,
                        reference=reference,
                        weights=plan.weights.get(model),
                        runtime=name,
                        precision=precision,
                        boards=boards,
                    )


def _predicted(
    plan: Plan, job: _Job, qemu: Emulator, artifact: Artifact, on_stage: Callable[[str], None]
) -> list[Prediction]:
    core = job.boards[0].model
    execution, version = _execution(job, artifact, plan.threads, on_stage)
    hierarchies = [board.caches for board in job.boards]
    file = _File(artifact, version, plan.threads)
    if plan.threads > 1:
        turns = counting.count_turns(
            execution, core, hierarchies, qemu, recount=plan.recount, on_stage=on_stage
        )
        # Native threads meet after every phase; OpenMP's at both ends of a region.
        meetings = 1 if runtime.get(job.runtime).standalone else 2
        shared = {
            caches: parallel.inference(found, core, meetings=meetings)
            for caches, found in turns.items()
        }
        return [_prediction(job, board, file, shared[board.caches]) for board in job.boards]
    counts = counting.count(
        execution, core, hierarchies, qemu, recount=plan.recount, on_stage=on_stage
    )
    found = []
    for board in job.boards:
        inference = counts[board.caches]
        layers: Sequence[LayerCounts] = ()
        if plan.profile:
            on_stage(f"running {execution.title} layer by layer")
            layers = layer_counts(execution, core, board.caches, qemu, inference)
        found.append(_prediction(job, board, file, _Alone.of(inference, core), layers))
    return found


def _execution(
    job: _Job, artifact: Artifact, threads: int, on_stage: Callable[[str], None]
) -> tuple[counting.Execution, str]:
    """How the file is counted, and the release of what runs it."""
    chosen = runtime.get(job.runtime)
    if chosen.standalone:
        return counting.native(artifact.path, threads), artifact.tools.get("ziglang", "")
    return userland.execution(artifact, chosen, threads=threads, on_stage=on_stage)


def _exported(
    plan: Plan, job: _Job, out: Path, session: ExportSession, on_stage: Callable[[str], None]
) -> Artifact:
    chosen = runtime.get(job.runtime)
    machine = {"machine": job.boards[0].model.machine} if chosen.standalone else {}
    request = ExportRequest(
        model=job.reference,
        weights=job.weights,
        format=chosen.formats[0],
        precision=job.precision,
        resolution=plan.resolution,
        out=out,
        **machine,
    )
    on_stage(f"exporting {job.title}")
    artifact = export(request, session=session)
    if not artifact.parity.passed:
        on_stage(f"{artifact.path.name} failed validation: {explained(artifact)}")
    return artifact


@dataclass(frozen=True)
class _File:
    """A file, and the release of what ran it."""

    artifact: Artifact
    version: str
    threads: int


@dataclass(frozen=True)
class _Alone:
    """An inference of one thread, as ``parallel.Inference`` is one of several."""

    chains: list[TimedChain]
    instructions: int

    @classmethod
    def of(cls, counts: Counts, core: Core) -> _Alone:
        return cls(timed(counts, core), counts.instructions)

    def predicted(self, core: Core, memory: Memory) -> Parts:
        return predicted(self.chains, core, memory)


def _prediction(
    job: _Job,
    board: BoardCard,
    file: _File,
    inference: _Alone | parallel.Inference,
    layers: Sequence[LayerCounts] = (),
) -> Prediction:
    core, memory, artifact = board.model, board.memory, file.artifact
    guessed = board.guessed(file.threads)
    error = core.error if file.threads == 1 else parallel.error(core)
    between = interval(
        lambda changed: inference.predicted(core, changed).total_ns, error, memory, guessed
    )
    return Prediction(
        board=board.name,
        core=board.core,
        clock_ghz=memory.clock_ghz,
        model=artifact.model,
        runtime=RuntimeSpec.parse(job.runtime).name,
        version=file.version,
        precision=artifact.precision,
        resolution=artifact.resolution,
        threads=file.threads,
        predicted_ns=round(between.predicted_ns, 1),
        low_ns=round(between.low_ns, 1),
        high_ns=round(between.high_ns, 1),
        parts=_recorded(inference.predicted(core, memory)),
        instructions=inference.instructions,
        multiply_adds=artifact.multiply_adds,
        artifact=artifact.sha256,
        guessed=guessed,
        validated=core.validated,
        layers=tuple(_layer(one, board) for one in layers),
    )


def _layer(one: LayerCounts, board: BoardCard) -> LayerPrediction:
    parts = predicted(timed(one.counts, board.model), board.model, board.memory)
    return LayerPrediction(
        name=one.name,
        operator=one.operator,
        predicted_ns=round(parts.total_ns, 1),
        parts=_recorded(parts),
    )


def _recorded(parts: Parts) -> TimeParts:
    """The same as a record, to whole tenths of a nanosecond."""
    return TimeParts(**{name: round(value, 1) for name, value in asdict(parts).items()})
