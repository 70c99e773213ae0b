"""One suite on one target, from the export to the last process; only this module retries.

Preparation (exports, installations) comes before the first measurement, so that nothing of ours
disturbs the target while it measures. Each process is one run, and each run is in the journal
before the next begins. What fails for good becomes a run with a ``Failure`` and is left out of
later rounds; what is transient is tried again, over a new connection where the old one broke.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import shufflenet_deploy
from shufflenet_deploy import runtime, stats
from shufflenet_deploy.bench import events, schedule
from shufflenet_deploy.bench import outcome as outcomes
from shufflenet_deploy.bench.conditions import LONGEST_WAIT_SECS, ThermalGate, spec_on
from shufflenet_deploy.bench.cross_check import Program, cross_check
from shufflenet_deploy.bench.profiling import profiled_inferences, profiling_spec, with_layers
from shufflenet_deploy.bench.ready import Place, Ready
from shufflenet_deploy.bench.suite import Suite, new_suite_id
from shufflenet_deploy.bench.sustained import sustain
from shufflenet_deploy.errors import (
    CommandTimeout,
    ConnectError,
    DeployError,
    ExportError,
    TargetError,
    UsageError,
)
from shufflenet_deploy.files import resource, sha256_file
from shufflenet_deploy.records import (
    Artifact,
    BenchmarkSpec,
    Cell,
    CrossCheck,
    Failure,
    FailureKind,
    Format,
    Measurement,
    Run,
    Sustained,
    TargetFacts,
    last_attempts,
)
from shufflenet_deploy.runtime import Report
from shufflenet_deploy.store import Journal
from shufflenet_deploy.target import Environment, Governor, Target
from shufflenet_deploy.transport import CommandResult

AGENT = "agent.py"
PROFILER = "operators.py"
_SUSTAINED = "sustained.py"

_FIRST_WAIT_SECS = 1.0
_LONGEST_WAIT_SECS = 30.0
_LOCK_WAIT_SECS = 60.0
#: Longer than all that may keep us from saying that we still need the governor.
_LEASE_SLACK_SECS = LONGEST_WAIT_SECS + 120.0

_Value = TypeVar("_Value")
ArtifactOf = Callable[[Cell], Artifact]
OnEvent = Callable[[events.Event], object]


def run(
    suite: Suite,
    target: Target,
    journal: Journal,
    artifact_of: ArtifactOf,
    on_event: OnEvent = lambda _: None,
    *,
    suite_id: str | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Run]:
    """Measure a suite; yields every run after it was journalled.

    Args:
        suite: what to measure.
        target: where, over an entered transport.
        journal: where the runs go. Processes that an earlier, interrupted session of ``suite_id``
            measured there with the same file and the same spec are not measured again.
        artifact_of: exports a cell, or finds the file that is there already.
        on_event: told what goes on.
        suite_id: the name of the session in the journal; a new one by default.
        sleep: waits; replaced in tests.

    Raises:
        UsageError: the suite asks for what cannot be (unknown model, no such core).
        TransportError: the target stayed out of reach; finished runs are kept, resume later.
        TargetError: somebody else measures on the target, or it cannot be used at all.
    """
    session = _Session(
        suite=suite,
        suite_id=suite_id or new_suite_id(),
        target=target,
        journal=journal,
        artifact_of=artifact_of,
        tell=on_event,
        sleep=sleep,
    )
    return session.runs()


@dataclass(kw_only=True)
class _Session:
    suite: Suite
    suite_id: str
    target: Target
    journal: Journal
    artifact_of: ArtifactOf
    tell: OnEvent
    sleep: Callable[[float], None]

    _facts: TargetFacts | None = None
    _agent: tuple[str, str] = ("", "")
    _done: list[Run] = field(default_factory=list)
    _given_up: set[str] = field(default_factory=set)
    _lasting: set[stats.Cause] = field(default_factory=set)
    _environments: dict[str, Environment | None] = field(default_factory=dict)
    _broken: bool = False
    _visits: int = 0
    _hold: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _governor: Governor | None = None

    @property
    def facts(self) -> TargetFacts:
        if self._facts is None:
            self._facts = self._patiently("connecting", self.target.facts)
        return self._facts

    def runs(self) -> Iterator[Run]:
        self._check_cpus()
        self.journal.open_suite(
            id=self.suite_id,
            name=self.suite.name,
            host=self.target.host,
            definition=self.suite.model_dump_json(),
        )
        self._done = self.journal.runs(self.suite_id)
        with self._hold:
            self._lock()
            ready: list[Ready] = []
            for prepared in self._prepared():
                if isinstance(prepared, Run):
                    yield prepared
                else:
                    ready.append(prepared)
            self._set_governor()
            yield from self._measured(ready)
            self._observe(ready)
            if self.suite.profile:
                yield from self._profiled(ready)

    # --- preparation -----------------------------------------------------------------------------

    def _check_cpus(self) -> None:
        known = {core.index for core in self.facts.cores}
        unknown = [cpu for cpu in self.suite.spec.cpus or () if known and cpu not in known]
        if unknown:
            raise UsageError(
                f"{self.target.host} has no core {unknown[0]}: "
                f"choose among {', '.join(map(str, sorted(known)))}"
            )
        for cell in self.suite.cells():
            self._spec(cell)

    def _spec(self, cell: Cell) -> BenchmarkSpec:
        return spec_on(self.suite, cell, self.facts)

    def _lock(self) -> None:
        """Hold the target; a lock ends with its connection, so a new one needs a new lock."""
        self._hold.enter_context(
            self.target.exclusive(
                wait_secs=_LOCK_WAIT_SECS,
                on_wait=lambda holder: self.tell(events.Stage(text=f"waiting for {holder}")),
            )
        )

    def _set_governor(self) -> None:
        """For as long as we hold the target; like the lock it ends with its connection."""
        if self.suite.governor is not None:
            self._governor = self._hold.enter_context(
                self.target.governor(self.suite.governor, lease_secs=self._lease_secs)
            )

    @property
    def _lease_secs(self) -> float:
        return self.suite.spec.timeout_secs + self.suite.spec.cooldown_secs + _LEASE_SLACK_SECS

    def _prepared(self) -> Iterator[Ready | Run]:
        """Each cell ready to be measured, or the run that says why it never will be."""
        exported: list[tuple[Cell, Artifact]] = []
        for cell in self.suite.cells():
            self.tell(events.Stage(text=f"exporting {describe(cell)}"))
            try:
                artifact = self.artifact_of(cell)
            except ExportError as error:
                yield self._failed(cell, None, FailureKind.EXPORT, error)
                continue
            exported.append((cell, artifact))
        if any(not runtime.get(cell.runtime).standalone for cell, _ in exported):
            self._agent = self._install_agent()
        for cell, artifact in exported:
            try:
                yield self._installed(cell, artifact)
            except (TargetError, UsageError) as error:
                missing = isinstance(error, _NoRuntime)
                kind = FailureKind.RUNTIME_MISSING if missing else FailureKind.TARGET
                yield self._failed(cell, artifact, kind, error)

    def _install_agent(self) -> tuple[str, str]:
        path = resource("device_scripts", AGENT)
        remote = self._patiently("pushing the agent", lambda: self.target.install(path))
        return remote, sha256_file(path)

    def _installed(self, cell: Cell, artifact: Artifact) -> Ready:
        try:
            if cell.runtime not in self._environments:
                self._environments[cell.runtime] = self._environment(cell.runtime)
            environment = self._environments[cell.runtime]
        except TargetError as error:
            raise _NoRuntime(str(error)) from error
        self.tell(events.Stage(text=f"installing {artifact.path.name} on {self.target.host}"))
        remote = self._patiently(
            f"pushing {artifact.path.name}", lambda: self.target.install(artifact.path)
        )
        return Ready(cell=cell, artifact=artifact, remote=remote, environment=environment)

    def _environment(self, name: str) -> Environment | None:
        if runtime.get(name).standalone:
            return None
        self.tell(events.Stage(text=f"preparing {name} on {self.target.host}"))
        return self._patiently(
            f"installing {name}",
            lambda: self.target.environment(
                runtime.get(name).payload,
                mode=self.suite.payload,
                on_stage=lambda text: self.tell(events.Stage(text=text)),
            ),
        )

    # --- rounds ----------------------------------------------------------------------------------

    def _measured(self, ready: Sequence[Ready]) -> Iterator[Run]:
        of_cell = {one.cell.model_dump_json(): one for one in ready}
        rounds = range(1, self.suite.spec.processes + 1)
        plan = [
            (process, cell)
            for process in rounds
            for cell in self._round([one.cell for one in ready], process)
        ]
        todo = [
            (process, cell) for process, cell in plan if not self._known(of_cell, cell, process)
        ]
        total = len(todo)
        self.tell(events.Planned(visits=total, skipped=len(plan) - total))
        for process, cell in todo:
            yield from self._visit(of_cell[cell.model_dump_json()], process)
        process = self.suite.spec.processes
        while self.suite.precision_target is not None and process < self.suite.max_processes:
            process += 1
            wide = schedule.imprecise(
                [one.cell for one in ready],
                last_attempts(self._done),
                baseline=self.suite.baseline,
                target=self.suite.precision_target,
            )
            wide = [cell for cell in wide if not self._known(of_cell, cell, process)]
            if not wide:
                return
            total += len(wide)
            self.tell(events.Planned(visits=total, skipped=len(plan) - len(todo)))
            for cell in self._round(wide, process):
                yield from self._visit(of_cell[cell.model_dump_json()], process)

    def _round(self, cells: Sequence[Cell], process: int) -> list[Cell]:
        return schedule.round_order(
            cells, baseline=self.suite.baseline, process=process, seed=self.suite.seed
        )

    def _known(self, of_cell: dict[str, Ready], cell: Cell, process: int) -> bool:
        """Whether this process was measured before, with the same file and the same spec."""
        artifact = of_cell[cell.model_dump_json()].artifact
        return any(
            run.process == process
            and run.cell == cell
            and run.target.host == self.facts.host
            and _protocol(run.spec) == _protocol(self._spec(cell))
            and run.artifact is not None
            and run.artifact.sha256 == artifact.sha256
            and isinstance(run.outcome, Measurement)
            for run in self._done
        )

    def _visit(self, ready: Ready, process: int) -> Iterator[Run]:
        """One process of a cell; again while it is disturbed and that may help."""
        self._visits += 1
        if ready.cell.model_dump_json() in self._given_up:
            return
        for attempt in range(1, self.suite.retries + 2):
            self._cool_down()
            self.tell(events.Started(cell=ready.cell, process=process, index=self._visits))
            run = self._run_once(ready, process, attempt)
            self._keep(run)
            yield run
            if isinstance(run.outcome, Failure):
                self._after_failure(run, run.outcome)
                return
            tainting = [one for one in stats.stability([run]).findings if one.tainting]
            if all(one.cause in self._lasting for one in tainting):
                return
            if attempt > self.suite.retries:
                # Measuring again did not help: what lasts would only make every process last.
                self._lasting.update(one.cause for one in tainting)
                return
            self.tell(events.Tainted(run=run, finding=tainting[0]))

    def _after_failure(self, run: Run, failure: Failure) -> None:
        if failure.kind is FailureKind.CONNECTION:
            raise ConnectError(failure.message)
        if not failure.transient:
            self._given_up.add(run.cell.model_dump_json())

    def _cool_down(self, longer_secs: float = 0.0) -> None:
        """What comes before each process; this one may take so much longer than others."""
        governor, lease_secs = self._governor, self._lease_secs + longer_secs
        if governor is not None:
            self._patiently("keeping the governor", lambda: governor.renew(lease_secs))
        secs = self.suite.spec.cooldown_secs
        if secs > 0 and self._visits > 1:
            self.tell(events.Cooling(secs=secs))
            self.sleep(secs)
        self._gate.wait()

    @cached_property
    def _gate(self) -> ThermalGate:
        return ThermalGate(
            limit_c=self.suite.max_temperature_c,
            hottest_c=lambda: self._patiently("reading temperatures", self.target.state).hottest_c,
            tell=self.tell,
            sleep=self.sleep,
        )

    # --- profiles --------------------------------------------------------------------------------

    def _profiled(self, ready: Sequence[Ready]) -> Iterator[Run]:
        """Take each measured cell apart, once; what was taken apart before is kept."""
        known = self.journal.profiles(self.suite_id)
        path = resource("device_scripts", PROFILER)
        profiler = self._patiently("pushing the profiler", lambda: self.target.install(path))
        for one in ready:
            spec = profiling_spec(self._spec(one.cell))
            if one.cell.model_dump_json() in self._given_up or any(
                run.cell == one.cell
                and run.profile is not None
                and run.target.host == self.facts.host
                and run.spec == spec
                and run.artifact is not None
                and run.artifact.sha256 == one.artifact.sha256
                for run in known
            ):
                continue
            argv = runtime.get(one.cell.runtime).profiling(
                python=one.python,
                profiler=profiler,
                agent=self._agent[0],
                model=one.remote,
                spec=spec,
                inferences=profiled_inferences(spec),
            )
            if argv is None:
                continue
            self._cool_down()
            self.tell(events.Stage(text=f"profiling {describe(one.cell)}"))
            run, report = self._process(one, spec, argv, process=1, attempt=1)
            profile = with_layers(report.profile, one.artifact) if report is not None else None
            tool = {**run.tool, "profiler_sha256": sha256_file(path)}
            changes = {"purpose": "profile", "profile": profile, "tool": tool}
            run = run.model_copy(update=changes)
            self.journal.append(run)
            yield run
            if isinstance(run.outcome, Failure) and run.outcome.kind is FailureKind.CONNECTION:
                raise ConnectError(run.outcome.message)

    # --- what is measured besides runs -----------------------------------------------------------

    def _observe(self, ready: Sequence[Ready]) -> None:
        """Sustained measurements and cross-checks of what could be measured at all."""
        able = [one for one in ready if one.cell.model_dump_json() not in self._given_up]
        place = Place(
            suite_id=self.suite_id,
            facts=self.facts,
            invoke=self._invoke,
            spec_of=self._spec,
            tell=self.tell,
        )
        known = [one for one in self.journal.observations(self.suite_id) if one.failure is None]
        for group in self._groups(able) if self.suite.sustained_secs else ():
            if not any(isinstance(one, Sustained) and self._alike(one, group) for one in known):
                self._sustain(group, place)
        program = self._program() if self.suite.benchmark_model else None
        for one in able if program else ():
            done = any(
                isinstance(other, CrossCheck)
                and (other.cell, other.artifact) == (one.cell, one.artifact.sha256)
                for other in known
            )
            if one.cell.format is Format.TFLITE and program is not None and not done:
                self._cool_down()
                self.journal.observe(cross_check(one, place, program))

    def _sustain(self, group: Sequence[Ready], place: Place) -> None:
        secs = self.suite.sustained_secs or 0.0
        path = resource("device_scripts", _SUSTAINED)
        script = self._patiently(f"pushing {path.name}", lambda: self.target.install(path))
        self._cool_down(secs)
        self.journal.observe(
            sustain(
                group,
                place,
                secs=secs,
                baseline=self.suite.baseline,
                script=script,
                agent=self._agent[0],
            )
        )

    def _groups(self, ready: Sequence[Ready]) -> list[list[Ready]]:
        groups: dict[schedule.Group, list[Ready]] = {}
        for one in ready:
            groups.setdefault(schedule.group_of(one.cell), []).append(one)
        return list(groups.values())

    def _alike(self, known: Sustained, group: Sequence[Ready]) -> bool:
        """Whether this group was measured before, with the same files and as long."""
        return (
            known.duration_secs == self.suite.sustained_secs
            and known.cells == tuple(one.cell for one in group)
            and known.artifacts == tuple(one.artifact.sha256 for one in group)
        )

    def _program(self) -> Program:
        path = Path(self.suite.benchmark_model or "")
        remote = self._patiently(f"pushing {path.name}", lambda: self.target.install(path))
        return Program(path=path, sha256=sha256_file(path), remote=remote)

    def _invoke(
        self,
        what: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        timeout_s: float,
        cpus: Sequence[int] | None = None,
    ) -> CommandResult:
        return self._patiently(
            what, lambda: self.target.invoke(argv, env=env, timeout_s=timeout_s, cpus=cpus)
        )

    # --- one process -----------------------------------------------------------------------------

    def _run_once(self, ready: Ready, process: int, attempt: int) -> Run:
        spec = self._spec(ready.cell)
        argv = runtime.get(ready.cell.runtime).command(
            python=ready.python, agent=self._agent[0], model=ready.remote, spec=spec
        )
        run, _ = self._process(ready, spec, argv, process=process, attempt=attempt)
        return run

    def _process(
        self,
        ready: Ready,
        spec: BenchmarkSpec,
        argv: tuple[str, ...],
        *,
        process: int,
        attempt: int,
    ) -> tuple[Run, Report | None]:
        """Run the agent's command line; its report is None where it gave none."""
        engine = runtime.get(ready.cell.runtime)
        environment = ready.environment
        env = {**engine.environment(spec), **ready.env}
        phone = self._phone()
        started_at = datetime.now(UTC)
        result: CommandResult | None = None
        report: Report | Failure
        try:
            result = self._patiently(
                f"measuring {describe(ready.cell)}",
                lambda: self.target.invoke(argv, env=env, timeout_s=spec.timeout_secs),
            )
            report = outcomes.read(engine, result)
        except DeployError as error:
            report = outcomes.failure_of(error, spec.timeout_secs)
        known = report if isinstance(report, Report) else None
        outcome = report if isinstance(report, Failure) else report.outcome
        run = Run(
            id=uuid.uuid4().hex,
            suite=self.suite_id,
            started_at=started_at,
            process=process,
            cell=ready.cell,
            artifact=ready.artifact,
            multiply_adds=ready.artifact.multiply_adds,
            runtime_version=known.runtime_version if known else None,
            target=self.facts,
            spec=spec,
            before=known.before if known else None,
            after=known.after if known else None,
            raw=result.text if result else "",
            outcome=outcome,
            tool={
                "version": shufflenet_deploy.__version__,
                "agent_sha256": self._agent[1] if environment else None,
                "environment": environment.how.value if environment else None,
                "payload_bytes": environment.size_bytes if environment else None,
                "phone": phone,
                "attempt": attempt,
                "stderr": outcomes.tail(result.stderr) if result else "",
            },
        )
        return run, known

    def _phone(self) -> dict[str, object] | None:
        """Battery, screen and sensors of a phone: what the agent may not read there."""
        if self.target.transport.kind != "adb":
            return None
        return self._patiently("asking for its state", self.target.state).told()

    def _failed(
        self, cell: Cell, artifact: Artifact | None, kind: FailureKind, error: DeployError
    ) -> Run:
        """The run of a cell that could not be prepared, journalled."""
        run = Run(
            id=uuid.uuid4().hex,
            suite=self.suite_id,
            started_at=datetime.now(UTC),
            process=1,
            cell=cell,
            artifact=artifact,
            multiply_adds=artifact.multiply_adds if artifact else None,
            target=self.facts,
            spec=self._spec(cell),
            outcome=Failure(kind=kind, message=str(error)),
            tool={"version": shufflenet_deploy.__version__},
        )
        self._keep(run)
        return run

    def _keep(self, run: Run) -> None:
        self.journal.append(run)
        self._done.append(run)
        self.tell(events.Finished(run=run))

    # --- patience --------------------------------------------------------------------------------

    def _patiently(self, what: str, action: Callable[[], _Value]) -> _Value:
        """Do something on the target; again, over a new connection, while errors are transient.

        A program that ran past its limit is not started again: it would run past it again.
        """
        import tenacity  # noqa: PLC0415 - asyncio comes with it

        def attempt() -> _Value:
            if self._broken:
                self._reconnect()
            try:
                return action()
            except ConnectError:
                self._broken = True
                raise

        def announce(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            wait_secs = state.next_action.sleep if state.next_action else 0.0
            if isinstance(error, Exception):
                self.tell(events.Retrying(what=what, error=error, wait_secs=float(wait_secs)))

        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.suite.retries + 1),
            wait=tenacity.wait_exponential(
                multiplier=_FIRST_WAIT_SECS, min=_FIRST_WAIT_SECS, max=_LONGEST_WAIT_SECS
            ),
            retry=tenacity.retry_if_exception(_worth_a_retry),
            before_sleep=announce,
            sleep=self.sleep,
            reraise=True,
        )
        return retrying(attempt)

    def _reconnect(self) -> None:
        # The old lock went with its connection; giving it back fails silently.
        self._hold.close()
        self.target.transport.close()
        self.target.transport.__enter__()
        self._lock()
        if self._governor is not None:
            self._set_governor()
        self._broken = False


class _NoRuntime(TargetError):
    """The runtime cannot be had on the target."""


def describe(cell: Cell) -> str:
    """A cell in one line, as progress and errors name it."""
    threads = f" {cell.threads} threads" if cell.threads > 1 else ""
    lowering = f" {cell.options['lowering']}" if "lowering" in cell.options else ""
    words = f"{cell.model} {cell.resolution} {cell.precision.value} {cell.runtime}"
    return f"{words}{lowering}{threads}"


def _protocol(spec: BenchmarkSpec) -> dict[str, object]:
    """What decides the samples of one process; how many there are and how patiently does not."""
    return spec.model_dump(exclude={"processes", "cooldown_secs", "timeout_secs"})


def _worth_a_retry(error: BaseException) -> bool:
    transient = isinstance(error, DeployError) and error.transient
    return transient and not isinstance(error, CommandTimeout)
