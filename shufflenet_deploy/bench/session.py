"""One suite on one target, from the export to the last process.

Preparation (exports, installations) comes before the first measurement, so that nothing of ours
disturbs the target while it measures. Each process is one run, and each run is in the journal
before the next begins. What fails for good becomes a run with a ``Failure`` and is left out of
later rounds; what is disturbed is measured again, and ``attempts`` says which attempt counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from shufflenet_deploy import runtime
from shufflenet_deploy.bench import events, schedule, supplementary
from shufflenet_deploy.bench.prepared import BenchContext, PreparedCell
from shufflenet_deploy.bench.process import measure, never_started
from shufflenet_deploy.bench.suite import Suite
from shufflenet_deploy.bench.suite_names import new_suite_id
from shufflenet_deploy.bench.target_session import (
    DEFAULT_PATIENCE,
    OnEvent,
    Patience,
    TargetSession,
)
from shufflenet_deploy.errors import (
    ConnectError,
    DeployError,
    ExportError,
    MissingRuntimeError,
    TargetError,
    UnavailableError,
    UsageError,
)
from shufflenet_deploy.journal import Journal
from shufflenet_deploy.records import (
    Artifact,
    Cell,
    Failure,
    FailureKind,
    Measurement,
    Run,
)
from shufflenet_deploy.runtime.agent_file import agent_sha256, install_agent
from shufflenet_deploy.stats import attempts
from shufflenet_deploy.stats.disturbances import Cause, disturbances
from shufflenet_deploy.target import Environment, Target

ArtifactOf = Callable[[Cell], Artifact]


@dataclass(frozen=True, kw_only=True)
class SuiteLabel:
    """The journal's notes on a suite that is measured on several targets at once.

    ``host`` names all of them, ``definition`` is the suite without what differs between them.
    """

    host: str
    definition: str


def run(
    suite: Suite,
    target: Target,
    journal: Journal,
    artifact_of: ArtifactOf,
    on_event: OnEvent = lambda _: None,
    *,
    suite_id: str | None = None,
    label: SuiteLabel | None = None,
    patience: Patience = DEFAULT_PATIENCE,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Run]:
    """Measure a suite; yields every run after it was journalled.

    Args:
        suite: what to measure.
        target: where, over an entered transport.
        journal: where the runs go. Processes that an earlier, interrupted session of ``suite_id``
            measured there with the same file and protocol (``Run.sampling``) are not measured
            again. The suite itself is noted with its first run: interrupted before, it leaves
            nothing.
        artifact_of: exports a cell, or finds the file that is there already.
        on_event: called with each progress event.
        suite_id: the name of the session in the journal; a new one by default.
        label: what the journal notes of the suite; by default this target and this suite.
        patience: how long the target and its connection are waited for.
        sleep: waits; replaced in tests.

    Raises:
        UsageError: the suite asks for what cannot be (unknown model, no such core).
        TransportError: the target stayed out of reach; finished runs are kept, resume later.
        TargetError: somebody else measures on the target, or it cannot be used at all.
    """
    session = _Session(
        suite=suite,
        suite_id=suite_id or new_suite_id(),
        label=label or SuiteLabel(host=target.host, definition=suite.model_dump_json()),
        target=target,
        journal=journal,
        artifact_of=artifact_of,
        emit=on_event,
        patience=patience,
        sleep=sleep,
    )
    return session.runs()


@dataclass(kw_only=True)
class _Session:
    suite: Suite
    suite_id: str
    label: SuiteLabel
    target: Target
    journal: Journal
    artifact_of: ArtifactOf
    emit: OnEvent
    patience: Patience
    sleep: Callable[[float], None]

    _done: list[Run] = field(default_factory=list)
    _given_up: set[Cell] = field(default_factory=set)
    _persistent: set[Cause] = field(default_factory=set)
    _environments: dict[str, Environment | None] = field(default_factory=dict)
    _visits: int = 0
    _noted: bool = False

    @cached_property
    def _target_session(self) -> TargetSession:
        return TargetSession(
            self.suite, self.target, emit=self.emit, patience=self.patience, sleep=self.sleep
        )

    @cached_property
    def _context(self) -> BenchContext:
        return BenchContext(
            suite=self.suite,
            suite_id=self.suite_id,
            target=self.target,
            facts=self._target_session.with_retry("connecting", self.target.facts),
            session=self._target_session,
            agent=("", ""),
            emit=self.emit,
        )

    @cached_property
    def _cells(self) -> tuple[Cell, ...]:
        """The cells of the suite on this target."""
        if not any(runtime.get(name).standalone for name in self.suite.runtime_names):
            return self.suite.cells()
        from shufflenet_deploy.codegen.cpu_target import for_facts  # noqa: PLC0415

        try:
            return self.suite.cells(for_facts(self._context.facts).name)
        except ExportError:  # Each of its exports will report that there is no code for the target.
            return self.suite.cells()

    def runs(self) -> Iterator[Run]:
        self._check_cpus()
        # Before the target is waited for: it only reads there.
        self._target_session.check_governor()
        self._done = self.journal.runs(self.suite_id)
        if self._done:
            self._note_suite()
        with self._target_session:
            ready: list[PreparedCell] = []
            for prepared in self._prepared():
                if isinstance(prepared, Run):
                    yield prepared
                else:
                    ready.append(prepared)
            self._target_session.set_governor()
            yield from self._measured(ready)
            able = [one for one in ready if one.cell not in self._given_up]
            supplementary.observe(able, self._context, self.journal)
            if self.suite.profile:
                yield from supplementary.profiled(able, self._context, self.journal)

    # --- preparation -----------------------------------------------------------------------------

    def _check_cpus(self) -> None:
        known = {core.index for core in self._context.facts.cores}
        unknown = [cpu for cpu in self.suite.spec.cpus or () if known and cpu not in known]
        if unknown:
            raise UsageError(
                f"{self.target.host} has no core {unknown[0]}: "
                f"choose among {', '.join(map(str, sorted(known)))}"
            )
        for cell in self._cells:
            self._context.spec_of(cell)

    def _prepared(self) -> Iterator[PreparedCell | Run]:
        """Each cell ready to be measured, or the failed run that states why it cannot be."""
        artifacts: dict[int, Artifact] = {}
        if all(runtime.get(name).standalone for name in self.suite.runtime_names):
            self._target_session.with_retry(
                "looking for room", lambda: self.target.require_programs("native programs")
            )
        # Sorted so that files which share a network, ranges or logits are neighbours: cache hits.
        for index, cell in sorted(enumerate(self._cells), key=lambda pair: _export_group(pair[1])):
            self.emit(events.Stage(text=f"exporting {events.describe(cell)}"))
            try:
                artifacts[index] = self.artifact_of(cell)
            except ExportError as error:
                lacking = isinstance(error, UnavailableError)
                kind = FailureKind.UNAVAILABLE if lacking else FailureKind.EXPORT
                yield self._failed(cell, None, kind, error)
        exported = [(self._cells[index], artifact) for index, artifact in sorted(artifacts.items())]
        if any(not runtime.get(cell.runtime).standalone for cell, _ in exported):
            agent = install_agent(self._context.install), agent_sha256()
            self._context = replace(self._context, agent=agent)
        for cell, artifact in exported:
            try:
                yield self._installed(cell, artifact)
            except (TargetError, UsageError) as error:
                missing = isinstance(error, MissingRuntimeError)
                kind = FailureKind.RUNTIME_MISSING if missing else FailureKind.TARGET
                yield self._failed(cell, artifact, kind, error)

    def _installed(self, cell: Cell, artifact: Artifact) -> PreparedCell:
        if cell.runtime not in self._environments:
            self._environments[cell.runtime] = self._environment(cell.runtime)
        environment = self._environments[cell.runtime]
        self.emit(events.Stage(text=f"installing {artifact.path.name} on {self.target.host}"))
        remote = self._context.install(artifact.path)
        return PreparedCell(cell=cell, artifact=artifact, remote=remote, environment=environment)

    def _environment(self, name: str) -> Environment | None:
        if runtime.get(name).standalone:
            return None
        self.emit(events.Stage(text=f"preparing {name} on {self.target.host}"))
        return self._target_session.with_retry(
            f"installing {name}",
            lambda: self.target.environment(
                runtime.get(name).payload,
                mode=self.suite.payload,
                on_stage=lambda text: self.emit(events.Stage(text=text)),
            ),
        )

    # --- rounds ----------------------------------------------------------------------------------

    def _measured(self, ready: Sequence[PreparedCell]) -> Iterator[Run]:
        of_cell = {one.cell: one for one in ready}
        rounds = range(1, self.suite.spec.processes + 1)
        plan = [
            (process, cell)
            for process in rounds
            for cell in self._round([one.cell for one in ready], process)
        ]
        known = self._known(of_cell)
        todo = [(process, cell) for process, cell in plan if (cell, process) not in known]
        total = len(todo)
        self.emit(events.Planned(visits=total, skipped=len(plan) - total))
        for process, cell in todo:
            yield from self._measure(of_cell[cell], process)
        process = self.suite.spec.processes
        while self.suite.precision_target is not None and process < self.suite.max_processes:
            process += 1
            wide = schedule.cells_above_target(
                [one.cell for one in ready],
                [run for run in self._done if run.target.host == self._context.facts.host],
                baseline=self.suite.baseline,
                target=self.suite.precision_target,
            )
            if not wide:
                return
            # Processes of this round from an earlier session count already; the next may be due.
            wide = [cell for cell in wide if (cell, process) not in known]
            if not wide:
                continue
            total += len(wide)
            self.emit(events.Planned(visits=total, skipped=len(plan) - len(todo)))
            for cell in self._round(wide, process):
                yield from self._measure(of_cell[cell], process)

    def _round(self, cells: Sequence[Cell], process: int) -> list[Cell]:
        return schedule.round_order(
            cells, baseline=self.suite.baseline, process=process, seed=self.suite.seed
        )

    def _known(self, of_cell: dict[Cell, PreparedCell]) -> set[tuple[Cell, int]]:
        """Cells and processes that were measured before, with the same file and protocol."""
        return {
            (run.cell, run.process)
            for run in attempts.counted(self._done)
            if run.target.host == self._context.facts.host
            and isinstance(run.outcome, Measurement)
            and (ready := of_cell.get(run.cell)) is not None
            and run.sampling == (ready.artifact.sha256, self._context.spec_of(ready.cell).protocol)
        }

    def _measure(self, ready: PreparedCell, process: int) -> Iterator[Run]:
        """One process of a cell; again while it is disturbed and that may help."""
        self._visits += 1
        if ready.cell in self._given_up:
            return
        for attempt in range(1, self.suite.retries + 2):
            self._target_session.cool_down()
            self.emit(events.Started(cell=ready.cell, process=process, index=self._visits))
            run = measure(ready, self._context, process=process, attempt=attempt)
            self._keep(run)
            yield run
            if isinstance(run.outcome, Failure):
                self._after_failure(run, run.outcome)
                return
            tainting = disturbances(run)
            if all(one.cause in self._persistent for one in tainting):
                return
            if attempt > self.suite.retries:
                # Measuring again did not help: what lasts would only make every process last.
                self._persistent.update(one.cause for one in tainting)
                return
            self.emit(events.Tainted(run=run, finding=tainting[0]))

    def _after_failure(self, run: Run, failure: Failure) -> None:
        if failure.kind is FailureKind.CONNECTION:
            raise ConnectError(failure.message)
        if not failure.transient:
            self._given_up.add(run.cell)

    def _failed(
        self, cell: Cell, artifact: Artifact | None, kind: FailureKind, error: DeployError
    ) -> Run:
        """The run of a cell that could not be prepared, journalled."""
        run = never_started(cell, artifact, self._context, kind, error)
        self._keep(run)
        return run

    def _keep(self, run: Run) -> None:
        if not self._noted:
            self._note_suite()
        self.journal.append(run)
        self._done.append(run)
        self.emit(events.Finished(run=run))

    def _note_suite(self) -> None:
        """Note what is measured, so that it can be resumed; not before there is a run of it."""
        self.journal.open_suite(
            id=self.suite_id,
            name=self.suite.name,
            host=self.label.host,
            definition=self.label.definition,
        )
        self._noted = True


def _export_group(cell: Cell) -> tuple[str, ...]:
    """Cells whose files are made from the same things stand together by this."""
    return cell.model, str(cell.resolution), cell.precision
