"""Counts instructions on deterministic boards: one per CPU, all beside the exports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import median_low
from typing import Self

from pydantic import Field, model_validator

from shufflenet_deploy import board, export, runtime, transport
from shufflenet_deploy.breakdown import Breakdown
from shufflenet_deploy.cost.lock import Count
from shufflenet_deploy.cost.operators import profile
from shufflenet_deploy.errors import DeployError, TargetError, UsageError
from shufflenet_deploy.export.precisions import meant
from shufflenet_deploy.export.request import ExportRequest
from shufflenet_deploy.export.shortfall import explained
from shufflenet_deploy.files import resource
from shufflenet_deploy.records import (
    ALL,
    Artifact,
    AskedPrecisions,
    BenchmarkSpec,
    Failure,
    Metric,
    Precision,
    Record,
    Resolution,
    ResolutionText,
)
from shufflenet_deploy.target import Target

#: Counts repeat to about 0.01 %, so few are enough; after two inferences nothing is set up anew,
#: and so many there always are before the samples. The kernel's housekeeping weighs more in a short
#: inference: samples are of 40 million instructions, which are 0.04 s here, or more.
SPEC = BenchmarkSpec(
    metric=Metric.INSTRUCTIONS,
    warmup_runs=0,
    warmup_secs=0,
    min_runs=3,
    min_secs=0.04,
    max_secs=600,
    processes=1,
    timeout_secs=900,
)
#: A cell whose inferences differ by more than this is not a count.
MOST_SPREAD = 0.005
#: The kernel's own work may fall into an inference or two; it does not come back at once.
_ATTEMPTS = 3

#: Should this process be killed, its boards still end.
_LIFETIME_SECS = 7200

_MODELS = ("shufflenet-g3-0.5x", "alexnet")
_RUNTIMES = ("onnxruntime", "litert")


class Plan(Record):
    """What to count. ``runtimes`` may carry versions: ``onnxruntime==1.32.0``.

    ``profile`` takes inferences apart, too. Of ``precisions``, ``all`` is every one that there is
    in a runtime, on a CPU.
    """

    cpus: tuple[str, ...] = ("cortex-a72", "cortex-a76")
    models: tuple[str, ...] = _MODELS
    runtimes: tuple[str, ...] = _RUNTIMES
    precisions: AskedPrecisions = (ALL,)
    resolution: ResolutionText = Field(default=Resolution(height=224, width=224))
    profile: bool = False

    def precisions_in(self, name: str, cpu: str) -> tuple[Precision, ...]:
        """What is counted in a runtime on a CPU.

        Raises:
            UsageError: something else was asked for by its name.
        """
        return meant(self.precisions, runtime.get(name).formats[0], cpu, runtime=name)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for name, cpu in product(self.runtimes, self.cpus):
            self.precisions_in(name, cpu)
        return self


class Profiled(Record):
    """What an inference on one CPU goes to."""

    cpu: str
    breakdown: Breakdown


class Result(Record):
    """What came of a plan; ``problems`` has one line for each cell without a figure."""

    counts: tuple[Count, ...] = ()
    profiles: tuple[Profiled, ...] = ()
    problems: tuple[str, ...] = ()


def count(plan: Plan, *, out: Path, keep_boards: bool, on_stage: Callable[[str], None]) -> Result:
    """Count every cell of a plan: boards count the files that are there while others are exported.

    Boards that were not running are switched off at the end unless ``keep_boards``.

    Raises:
        UsageError: the plan names something that does not exist.
        BoardError: a board cannot be built or started.
    """
    wishes = enumerate(_wishes(plan, out))
    # By models: what the files of one have in common is found made, and the small one's come first.
    files = sorted(
        (_File(place, wish) for place, wish in wishes),
        key=lambda file: plan.models.index(file.wish.request.model),
    )
    boards = [_settings(cpu, lasting=keep_boards) for cpu in plan.cpus]
    found = [board.find(one.name) for one in boards]
    ours = [one for one, there in zip(boards, found, strict=True) if not (there and there.running)]
    # Counting is not disturbed by other load, so all of it may go on at the same time.
    with ThreadPoolExecutor(max_workers=len(boards)) as pool:
        try:
            parts = [pool.submit(_count_on, one, plan, files, on_stage) for one in boards]
            problems = _export(files, parts, on_stage)
            results = [part.result() for part in parts]
        finally:
            # Before the pool waits for its threads: after Ctrl-C this is what ends them.
            for file in files:
                file.made.cancel()
            if not keep_boards:
                for one in ours:
                    board.down(one.name)
    return Result(
        counts=tuple(one for part in results for one in part.counts),
        profiles=tuple(one for part in results for one in part.profiles),
        problems=(*problems, *(line for part in results for line in part.problems)),
    )


@dataclass(frozen=True)
class _Wish:
    """A file to count: the runtime that runs it, on the boards with one of ``cpus``."""

    runtime: str
    request: ExportRequest
    cpus: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"{self.request.model} {self.request.precision} for {self.runtime}"


@dataclass(frozen=True)
class _File:
    """A wish, its place in the result, and what comes of it; None when it cannot be exported."""

    place: int
    wish: _Wish
    made: Future[Artifact | None] = field(default_factory=Future)


def _wishes(plan: Plan, out: Path) -> Iterator[_Wish]:
    """Each runtime with each file it is to run."""
    for name, model in product(plan.runtimes, plan.models):
        chosen = runtime.get(name)
        # A program is for one kind of core, other files are for all.
        groups = [(cpu,) for cpu in plan.cpus] if chosen.standalone else [plan.cpus]
        for cpus, precision in (
            (group, one) for group in groups for one in plan.precisions_in(name, group[0])
        ):
            request = ExportRequest(
                model=model,
                format=chosen.formats[0],
                precision=precision,
                resolution=plan.resolution,
                out=out,
                **({"machine": cpus[0]} if chosen.standalone else {}),
            )
            yield _Wish(name, request, cpus)


def _export(
    files: Sequence[_File], parts: Sequence[Future[Result]], on_stage: Callable[[str], None]
) -> list[str]:
    """Make the files, in the order in which the boards wait for them; a line for each problem."""
    problems = []
    for wish, made in ((file.wish, file.made) for file in files):
        for part in parts:
            if part.done():
                part.result()  # Raises what ended a board: without it there is nothing to export.
        on_stage(f"exporting {wish.title}")
        try:
            artifact = export.export(wish.request)
        except UsageError:
            raise
        except DeployError as error:
            problems.append(f"{wish.title}: {error}")
            made.set_result(None)
            continue
        if not artifact.parity.passed:
            problems.append(f"{artifact.path.name} failed validation: {explained(artifact)}")
        made.set_result(artifact)
    return problems


def _settings(cpu: str, *, lasting: bool) -> board.BoardSettings:
    return board.BoardSettings.choose(
        name=f"cost-{cpu}",
        cpu=cpu,
        deterministic=True,
        lifetime_secs=None if lasting else _LIFETIME_SECS,
    )


def _count_on(
    settings: board.BoardSettings,
    plan: Plan,
    files: Sequence[_File],
    on_stage: Callable[[str], None],
) -> Result:
    wanted = [one for one in files if settings.cpu in one.wish.cpus]
    # A mistake in the plan shows at the first export: no board need start for it.
    for first in wanted[:1]:
        first.made.result()
    machine = board.up(settings, on_stage=on_stage)
    counts: dict[int, Count] = {}
    profiles: dict[int, Profiled] = {}
    problems = []
    with (
        transport.connect(machine.ssh_settings(), name=f"board:{settings.name}") as link,
        Target(link) as target,
    ):
        for file in wanted:
            name, artifact = file.wish.runtime, file.made.result()
            if artifact is None:
                continue
            title = f"{artifact.model} {artifact.precision} {name} on {settings.cpu}"
            on_stage(f"counting {title}")
            try:
                counts[file.place] = count_one(settings.cpu, name, artifact, target)
                if plan.profile:
                    taken = profile(name, artifact, target, SPEC)
                    profiles[file.place] = Profiled(cpu=settings.cpu, breakdown=taken)
            except DeployError as error:
                problems.append(f"{title}: {error}")
    return Result(
        counts=tuple(one for _, one in sorted(counts.items())),
        profiles=tuple(one for _, one in sorted(profiles.items())),
        problems=tuple(problems),
    )


def agreement(samples: Sequence[int]) -> tuple[int, float]:
    """The median of instruction counts, and how far the others are from each other, of the median.

    The highest is left out of the distance: whatever interrupts an inference only adds to it, and
    a small network is so short that one piece of the kernel's housekeeping shows. The median is
    not moved by it.
    """
    middle = median_low(samples)
    kept = sorted(samples)[: max(len(samples) - 1, 1)]
    return middle, (kept[-1] - kept[0]) / middle


def count_one(cpu: str, name: str, artifact: Artifact, target: Target) -> Count:
    """Count one file on a deterministic board.

    Raises:
        TargetError: it does not run there, or its inferences differ.
        TransportError: the link failed.
    """
    chosen = runtime.get(name)
    python: tuple[str, ...] = ()
    variables, agent = dict(chosen.environment(SPEC)), ""
    if not chosen.standalone:
        environment = target.environment(chosen.payload(target.facts()))
        python, agent = environment.python, target.install(resource("device_scripts", "agent.py"))
        variables = {**environment.env, **variables}
    argv = chosen.command(
        python=python, agent=agent, model=target.install(artifact.path), spec=SPEC
    )
    for _ in range(_ATTEMPTS):
        result = target.invoke(argv, env=variables, timeout_s=SPEC.timeout_secs)
        report = chosen.parse(result.text)
        if isinstance(report.outcome, Failure):
            raise TargetError(report.outcome.message)
        middle, spread = agreement(report.outcome.samples)
        if spread <= MOST_SPREAD:
            break
    else:
        raise TargetError(f"inferences differ by {spread:.2%}: something else runs on the board")
    return Count(
        cpu=cpu,
        model=artifact.model,
        runtime=name.partition("==")[0],
        version=report.runtime_version or "unknown",
        precision=artifact.precision,
        resolution=artifact.resolution,
        instructions=middle,
        spread=round(spread, 6),
        multiply_adds=artifact.multiply_adds,
        artifact=artifact.sha256,
    )
