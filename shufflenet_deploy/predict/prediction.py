"""Predictions of a plan: every network in every runtime on every board, one after the other."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from pydantic import Field

from shufflenet_deploy import runtime, zoo
from shufflenet_deploy.cluster import Files, Function, Here, Machines, Task
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export import ExportSession, export, shared_work
from shufflenet_deploy.export.precisions import resolve
from shufflenet_deploy.export.request import ExportRequest
from shufflenet_deploy.export.shortfall import explained
from shufflenet_deploy.predict import counting, userland
from shufflenet_deploy.predict.boards import BoardCard
from shufflenet_deploy.predict.counts import Counts
from shufflenet_deploy.predict.latency import Parts, interval, predicted, timed
from shufflenet_deploy.predict.layers import LayerCounts, layer_counts
from shufflenet_deploy.predict.plugin import Emulator, emulator
from shufflenet_deploy.records import (
    Artifact,
    AskedPrecisions,
    Precision,
    Record,
    Resolution,
    ResolutionText,
    RuntimeSpec,
)

#: The kind of figure this is, in JSON and tables: never to be taken for a measurement.
KIND = "predicted"


class TimeParts(Record):
    """The parts of a predicted time, in ns. They add up to it."""

    issue: float
    mispredict: float
    l2: float
    l3: float
    dram_bandwidth: float
    dram_latency: float

    @classmethod
    def of(cls, parts: Parts) -> TimeParts:
        """The same as a record, to whole tenths of a nanosecond."""
        return cls(**{name: round(value, 1) for name, value in asdict(parts).items()})


class LayerPrediction(Record):
    """One layer of a native program: its predicted time and what that is made of."""

    name: str
    operator: str
    predicted_ns: float
    parts: TimeParts


class Prediction(Record):
    """The predicted latency of one inference, with the interval that the truth is expected in.

    ``guessed`` are the board's figures that nobody measured; ``validated`` says that predictions
    for this core were compared with published latencies.
    """

    kind: str = KIND
    board: str
    core: str
    clock_ghz: float
    model: str
    runtime: str
    version: str
    precision: Precision
    resolution: ResolutionText
    threads: int = 1
    predicted_ns: float
    low_ns: float
    high_ns: float
    parts: TimeParts
    instructions: int
    multiply_adds: int
    artifact: str
    guessed: tuple[str, ...] = ()
    validated: bool
    layers: tuple[LayerPrediction, ...] = ()

    @property
    def relative(self) -> float:
        """The larger half-width of the interval over the prediction."""
        return max(self.high_ns - self.predicted_ns, self.predicted_ns - self.low_ns) / (
            self.predicted_ns
        )

    def speedup(self, baseline: Prediction) -> tuple[float, float]:
        """The speedup over another, and the relative half-width of that."""
        ratio = baseline.predicted_ns / self.predicted_ns
        return ratio, math.hypot(self.relative, baseline.relative)


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
    others = [name for name in plan.runtimes if not runtime.get(name).standalone]
    if plan.profile and others:
        raise UsageError(f"--profile takes native programs apart: leave {', '.join(others)} out")
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
    execution, version = _execution(job, artifact, on_stage)
    hierarchies = [board.caches for board in job.boards]
    counts = counting.count(
        execution, core, hierarchies, qemu, recount=plan.recount, on_stage=on_stage
    )
    found = []
    for board in job.boards:
        inference = _Inference(artifact, version, counts[board.caches])
        layers: Sequence[LayerCounts] = ()
        if plan.profile:
            on_stage(f"running {execution.title} layer by layer")
            layers = layer_counts(execution, core, board.caches, qemu, inference.counts)
        found.append(_prediction(job, board, inference, layers))
    return found


def _execution(
    job: _Job, artifact: Artifact, on_stage: Callable[[str], None]
) -> tuple[counting.Execution, str]:
    """How the file is counted, and the release of what runs it."""
    chosen = runtime.get(job.runtime)
    if chosen.standalone:
        return counting.native(artifact.path), artifact.tools.get("ziglang", "")
    return userland.execution(artifact, chosen, on_stage=on_stage)


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
class _Inference:
    """The counts of a file, and the release of what ran it."""

    artifact: Artifact
    version: str
    counts: Counts


def _prediction(
    job: _Job, board: BoardCard, inference: _Inference, layers: Sequence[LayerCounts]
) -> Prediction:
    core, memory, artifact = board.model, board.memory, inference.artifact
    chains = timed(inference.counts, core)
    between = interval(chains, core, memory, board.guessed)
    return Prediction(
        board=board.name,
        core=board.core,
        clock_ghz=memory.clock_ghz,
        model=artifact.model,
        runtime=RuntimeSpec.parse(job.runtime).name,
        version=inference.version,
        precision=artifact.precision,
        resolution=artifact.resolution,
        predicted_ns=round(between.predicted_ns, 1),
        low_ns=round(between.low_ns, 1),
        high_ns=round(between.high_ns, 1),
        parts=TimeParts.of(predicted(chains, core, memory)),
        instructions=inference.counts.instructions,
        multiply_adds=artifact.multiply_adds,
        artifact=artifact.sha256,
        guessed=board.guessed,
        validated=core.validated,
        layers=tuple(_layer(one, board) for one in layers),
    )


def _layer(one: LayerCounts, board: BoardCard) -> LayerPrediction:
    parts = predicted(timed(one.counts, board.model), board.model, board.memory)
    return LayerPrediction(
        name=one.name,
        operator=one.operator,
        predicted_ns=round(parts.total_ns, 1),
        parts=TimeParts.of(parts),
    )
