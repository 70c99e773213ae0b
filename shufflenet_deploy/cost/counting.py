"""Counts instructions on deterministic boards: one per CPU, in parallel with the exports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from shufflenet_deploy import board, runtime, transport, zoo
from shufflenet_deploy.analysis.profile import Breakdown
from shufflenet_deploy.cost.baseline import Count
from shufflenet_deploy.cost.cache import Circumstances, CountCache
from shufflenet_deploy.cost.operator_profile import profile
from shufflenet_deploy.cost.protocol import PROTOCOL, SPEC, count_one
from shufflenet_deploy.errors import BoardError, DeployError, UsageError
from shufflenet_deploy.export import ExportSession, export
from shufflenet_deploy.export.precisions import resolve
from shufflenet_deploy.export.profile_attribution import Attribution
from shufflenet_deploy.export.request import ExportRequest
from shufflenet_deploy.export.shortfall import explained
from shufflenet_deploy.records import (
    ALL,
    Artifact,
    AskedPrecisions,
    Precision,
    Record,
    Resolution,
    ResolutionText,
    RuntimeSpec,
    TargetFacts,
)
from shufflenet_deploy.runtime.agent_file import agent_sha256
from shufflenet_deploy.target import Target

#: Should this process be killed, its boards still end.
_LIFETIME_SECS = 7200

_MODELS = ("shufflenet-g3-0.5x", "alexnet")
_RUNTIMES = ("onnxruntime", "litert")


class Plan(Record):
    """Cells to count.

    ``models`` are names or paths of cards, ``weights`` the checkpoints of some by their names;
    ``runtimes`` may have versions: ``onnxruntime==1.32.0``. ``profile`` also profiles inferences by
    operator. Of ``precisions``, ``all`` stands for every one of a runtime on a CPU. ``recount``
    counts anew what was counted before and has not changed.
    """

    cpus: tuple[str, ...] = ("cortex-a72", "cortex-a76")
    models: tuple[str, ...] = _MODELS
    weights: dict[str, Path] = Field(default_factory=dict)
    runtimes: tuple[str, ...] = _RUNTIMES
    precisions: AskedPrecisions = (ALL,)
    resolution: ResolutionText = Field(default=Resolution(height=224, width=224))
    profile: bool = False
    recount: bool = False

    def precisions_in(self, name: str, cpu: str) -> tuple[Precision, ...]:
        """The precisions to count in a runtime on a CPU.

        Raises:
            UsageError: something else was asked for by its name.
        """
        return resolve(self.precisions, runtime.get(name).formats[0], cpu, runtime=name)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for name, cpu in product(self.runtimes, self.cpus):
            self.precisions_in(name, cpu)
        return self


class Profiled(Record):
    """Per-layer breakdown of an inference on one CPU."""

    cpu: str
    breakdown: Breakdown


class Result(Record):
    """Counts of a plan; ``problems`` has one line for each cell without a figure.

    ``cached`` are the cells whose count was made by an earlier call.
    """

    counts: tuple[Count, ...] = ()
    profiles: tuple[Profiled, ...] = ()
    problems: tuple[str, ...] = ()
    cached: tuple[tuple[str, str, str, str, str], ...] = ()


def count(plan: Plan, *, out: Path, keep_boards: bool, on_stage: Callable[[str], None]) -> Result:
    """Count every cell of a plan: boards count the files that are there while others are exported.

    What was counted before and has not changed is not counted again. A board is started when there
    is something to count; those that were not running are switched off at the end unless
    ``keep_boards``.

    Raises:
        UsageError: the plan names something that does not exist.
        BoardError: a board cannot be built or started.
    """
    requests = enumerate(_requests(plan, out))
    # By models: what the files of one have in common is found made, and the small one's come first.
    order = list(zoo.references(plan.models))
    files = sorted(
        (_File(index, one) for index, one in requests),
        key=lambda file: order.index(file.wanted.model),
    )
    boards = [_settings(cpu, persistent=keep_boards) for cpu in plan.cpus]
    found = [board.find(one.name) for one in boards]
    ours = [one for one, there in zip(boards, found, strict=True) if not (there and there.running)]
    # Counting is not disturbed by other load, so all of it may go on at the same time.
    with ThreadPoolExecutor(max_workers=len(boards)) as pool:
        try:
            cache = CountCache(board.cache_folder("counts"))
            parts = [pool.submit(_count_on, one, plan, files, cache, on_stage) for one in boards]
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
        cached=tuple(one for part in results for one in part.cached),
    )


@dataclass(frozen=True)
class _CountRequest:
    """A file to count: the runtime that runs it, on the boards with one of ``cpus``."""

    model: str
    runtime: str
    request: ExportRequest
    cpus: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"{zoo.name_of(self.request.model)} {self.request.precision} for {self.runtime}"


@dataclass(frozen=True)
class _File:
    """A request, its index in the result, and its file; None when it cannot be exported."""

    index: int
    wanted: _CountRequest
    made: Future[Artifact | None] = field(default_factory=Future)


def _requests(plan: Plan, out: Path) -> Iterator[_CountRequest]:
    """Each runtime with each file it is to run."""
    models = zoo.references(plan.models)
    for name, (model, reference) in product(plan.runtimes, models.items()):
        chosen = runtime.get(name)
        # A program is for one kind of core, other files are for all.
        groups = [(cpu,) for cpu in plan.cpus] if chosen.standalone else [plan.cpus]
        for cpus, precision in (
            (group, one) for group in groups for one in plan.precisions_in(name, group[0])
        ):
            request = ExportRequest(
                model=reference,
                weights=plan.weights.get(model),
                format=chosen.formats[0],
                precision=precision,
                resolution=plan.resolution,
                out=out,
                **({"machine": cpus[0]} if chosen.standalone else {}),
            )
            yield _CountRequest(model, name, request, cpus)


def _export(
    files: Sequence[_File], parts: Sequence[Future[Result]], on_stage: Callable[[str], None]
) -> list[str]:
    """Make the files, in the order in which the boards wait for them; a line for each problem."""
    problems, session = [], ExportSession()
    for wanted, made in ((file.wanted, file.made) for file in files):
        for part in parts:
            if part.done():
                part.result()  # Raises what ended a board: without it there is nothing to export.
        on_stage(f"exporting {wanted.title}")
        try:
            artifact = export(wanted.request, session=session)
        except UsageError:
            raise
        except DeployError as error:
            problems.append(f"{wanted.title}: {error}")
            made.set_result(None)
            continue
        if not artifact.parity.passed:
            problems.append(f"{artifact.path.name} failed validation: {explained(artifact)}")
        made.set_result(artifact)
    return problems


def _settings(cpu: str, *, persistent: bool) -> board.BoardSettings:
    return board.BoardSettings.choose(
        name=f"cost-{cpu}",
        cpu=cpu,
        deterministic=True,
        lifetime_secs=None if persistent else _LIFETIME_SECS,
    )


class _LazyBoard:
    """A board that is started when something is to run there, and what decides its counts."""

    def __init__(self, settings: board.BoardSettings, on_stage: Callable[[str], None]) -> None:
        self._settings = settings
        self._on_stage = on_stage
        self._stack = ExitStack()
        self._target: Target | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def target(self) -> Target:
        """The board as a target, started and connected.

        Raises:
            BoardError: it cannot be built or started.
        """
        if self._target is None:
            machine = board.up(self._settings, on_stage=self._on_stage)
            link = transport.connect(machine.ssh_settings(), name=f"board:{machine.name}")
            self._target = self._stack.enter_context(Target(self._stack.enter_context(link)))
        return self._target

    def circumstances(self, name: str, artifact: Artifact) -> Circumstances | None:
        """Cache key of a count: everything that decides it; None while there is no image.

        Raises:
            BoardError: QEMU is not installed.
            TargetError: the runtime has no release for the board.
        """
        image = board.image_for(self._settings.name)
        if image is None:
            return None
        running = board.find(self._settings.name)
        chosen = runtime.get(name)
        agent = "" if chosen.standalone else agent_sha256()
        # A version that was typed is one of the pins: it is the same runtime when it was not.
        pins = chosen.payload(_facts_of(image, self._settings.cpu)).requirements
        return Circumstances(
            artifact=artifact.sha256,
            runtime=(RuntimeSpec.parse(name).name, *pins),
            agent=agent,
            image=image.id,
            cpu=self._settings.cpu,
            qemu=running.qemu if running and running.running else board.qemu_version(),
            protocol=PROTOCOL,
        )


def _facts_of(image: board.ImageInfo, cpu: str) -> TargetFacts:
    """A board before it is started, as far as the choice of a runtime's release goes."""
    return TargetFacts(
        host=f"board:{cpu}",
        transport="ssh",
        arch="aarch64",
        os="Debian",
        kernel=image.kernel,
        cpu=cpu,
        cores=(),
        libc=f"glibc {image.packages['libc6']}",
        python=image.packages["python3"].partition("-")[0],
    )


def _count_on(
    settings: board.BoardSettings,
    plan: Plan,
    files: Sequence[_File],
    cache: CountCache,
    on_stage: Callable[[str], None],
) -> Result:
    own = [one for one in files if settings.cpu in one.wanted.cpus]
    counts: dict[int, Count] = {}
    profiles: dict[int, Profiled] = {}
    cached, problems = [], []
    attribution = Attribution()
    with _LazyBoard(settings, on_stage) as there:
        for file in own:
            name, artifact = file.wanted.runtime, file.made.result()
            model = file.wanted.request.model
            if artifact is None:
                continue
            title = f"{artifact.model} {artifact.precision} {name} on {settings.cpu}"
            try:
                under = there.circumstances(name, artifact)
                kept = cache.get(under) if under is not None and not plan.recount else None
                if kept is not None:
                    kept = kept.model_copy(update={"model": artifact.model})
                    on_stage(f"counted before, unchanged: {title}")
                    cached.append(kept.cell)
                else:
                    on_stage(f"counting {title}")
                counts[file.index] = kept or count_one(settings.cpu, name, artifact, there.target)
                if kept is None and (under := there.circumstances(name, artifact)) is not None:
                    cache.put(under, counts[file.index])
                if plan.profile:
                    taken = profile(
                        name, artifact, model, there.target, spec=SPEC, attribution=attribution
                    )
                    profiles[file.index] = Profiled(cpu=settings.cpu, breakdown=taken)
            except BoardError:
                raise
            except DeployError as error:
                problems.append(f"{title}: {error}")
    return Result(
        counts=tuple(one for _, one in sorted(counts.items())),
        profiles=tuple(one for _, one in sorted(profiles.items())),
        problems=tuple(problems),
        cached=tuple(cached),
    )
