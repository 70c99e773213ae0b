"""The process of one target: a job on standard input, messages on standard output.

    python -m shufflenet_deploy.fleet.worker

It ends like ``bench`` when it is interrupted (SIGINT, SIGTERM), and does so by itself when standard
input closes: then the process that started it is gone. On every way out the target's lock and
governor are given back.
"""

from __future__ import annotations

import _thread
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import shufflenet_deploy.bench as benches
from shufflenet_deploy.bench.cell_export import cell_exporter
from shufflenet_deploy.bench.events import describe
from shufflenet_deploy.bench.lacking import failed_runs, is_excused
from shufflenet_deploy.board.host_transport import transport_to
from shufflenet_deploy.errors import DeployError, UsageError
from shufflenet_deploy.export import NOTE
from shufflenet_deploy.fleet.messages import Ended, Progress, State
from shufflenet_deploy.fleet.quiet import MeasuringHere, exporting
from shufflenet_deploy.fleet.session_job import SessionJob
from shufflenet_deploy.interruption import Interruption
from shufflenet_deploy.journal import Journal
from shufflenet_deploy.records import Artifact, Cell, Failure, Metric, Run
from shufflenet_deploy.report.run_figure import figure_of
from shufflenet_deploy.target import Target
from shufflenet_deploy.transport import Lab

_LOCAL = "local"


def main() -> int:
    """Run the job; the exit status is 0 where the session went through all cells."""
    # Whoever was started in the background of a script ignores SIGINT, and so would this process:
    # nothing could end the session in order, the loss of its parent included. Its way out gives
    # lock and governor back and is not interrupted.
    interruption = Interruption([signal.SIGINT, signal.SIGTERM], once=True)
    reporter = _Reporter(_send)
    try:
        job = SessionJob.model_validate_json(sys.stdin.readline())
        threading.Thread(target=_end_with_parent, daemon=True).start()
        ended = _ended(job, reporter)
        interruption.ignore()
    except KeyboardInterrupt:
        # Raised once at most, and nowhere but within this block.
        ended = Ended(error="interrupted", interrupted=True)
    _send(ended)
    return 0 if ended.error is None else 1


def _ended(job: SessionJob, reporter: _Reporter) -> Ended:
    try:
        return _measure(job, reporter)
    except UsageError as error:
        return Ended(error=str(error), usage=True)
    except DeployError as error:
        return Ended(error=str(error))


def _measure(job: SessionJob, reporter: _Reporter) -> Ended:
    suite = benches.Suite.of(job.suite, source=f"the suite of {job.label}")
    link = transport_to(
        job.host,
        name=job.label,
        on_stage=reporter.stage,
        start_board=True,
        deterministic=suite.spec.metric is Metric.INSTRUCTIONS,
        ssh_client=job.ssh_client,
        lab=Lab(coordinator=job.coordinator, power_cycle=job.power_cycle),
    )
    locks = Path(job.locks)
    here = MeasuringHere(locks) if job.host == _LOCAL else None
    with Journal(job.journal) as journal, link, Target(link, root=job.folder) as target:
        export = cell_exporter(suite, target, Path(job.artifacts), reporter.exporting)

        def artifact_of(cell: Cell) -> Artifact:
            with exporting(locks):
                return export(cell)

        def on_event(event: benches.Event) -> None:
            if here is not None:
                here.begin() if isinstance(event, benches.Started) else here.end()
            reporter.show(event)

        note = benches.SuiteLabel(host=job.noted_host, definition=job.definition)
        runs = benches.run(
            suite, target, journal, artifact_of, on_event, suite_id=job.suite_id, label=note
        )
        profiles = [run for run in runs if run.kind == "profile"]
        host = target.facts().host
        measured = [
            run for run in journal.runs(job.suite_id, every=True) if run.target.host == host
        ]
        failed = [
            *failed_runs(suite, measured),
            *(run for run in profiles
              if isinstance(run.outcome, Failure) and not is_excused(suite, run.outcome)),
        ]  # fmt: skip
        return Ended(
            failures=tuple(_failure(run) for run in {run.cell: run for run in failed}.values()),
            files_pushed=target.traffic.files_pushed,
            bytes_pushed=target.traffic.bytes_pushed,
            files_present=target.traffic.files_present,
        )


def _failure(run: Run) -> str:
    assert isinstance(run.outcome, Failure)
    return f"{describe(run.cell)}: {run.outcome.message}"


class _Reporter:
    """Turns the events of a session into messages."""

    def __init__(self, send: Callable[[Progress], None]) -> None:
        self._send = send
        self._visits = 0
        self._finished = 0
        self._temperature_c: float | None = None
        self._step = ""

    def stage(self, text: str) -> None:
        """A step of the preparation; a wait that tells its seconds is one line of a log."""
        step = re.sub(r"[0-9]+ s\b", "", text)
        self._say(State.PREPARING, text, line=text if step != self._step else None)
        self._step = step

    def exporting(self, stage: str) -> None:
        """A step of an export: its notes are the user's, the rest is shown while it lasts."""
        note = stage if stage.startswith(NOTE) else None
        self._say(State.PREPARING, stage, note=note)

    def show(self, event: benches.Event) -> None:
        match event:
            case benches.Stage(text=text):
                self.stage(text)
            case benches.Planned(visits=visits):
                self._visits = visits
                self._say(State.PREPARING, "ready")
            case benches.Started():
                self._say(State.MEASURING, event.text)
            case benches.Finished(run=run):
                self._finish(run)
            case benches.Tainted():
                self._say(State.MEASURING, event.text, line=event.text)
            case benches.Sustaining(cells=cells, secs=secs):
                names = ", ".join(cell.model for cell in cells)
                text = f"{names} take turns for {secs:g} s"
                self._say(State.MEASURING, text, line=text)
            case _:
                self._wait(event)

    def _wait(self, event: benches.Event) -> None:
        match event:
            case benches.Cooling(secs=secs):
                self._say(State.COOLING, f"for {secs:g} s")
            case benches.Hot(now_c=now_c, limit_c=limit_c):
                self._say(State.COOLING, f"{now_c:.1f} °C, waiting for {limit_c:g} °C")
            case benches.Away(error=error, waited_secs=waited_secs):
                text = f"for it to come back, since {waited_secs:.0f} s: {error}"
                self._say(State.WAITING, text, line=None if waited_secs else f"waiting {text}")
            case benches.Retrying():
                self._say(State.WAITING, event.text, line=event.text)

    def _finish(self, run: Run) -> None:
        if self._visits:
            self._finished = min(self._finished + 1, self._visits)
        seen = [*(run.after.temperature_c.values() if run.after else ())]
        self._temperature_c = max(seen, default=None)
        place = f"[{self._finished}/{self._visits}] " if self._visits else ""
        text = f"{describe(run.cell)}, process {run.process}: {figure_of(run)}"
        self._say(State.MEASURING, text, line=place + text)

    def _say(
        self, state: State, text: str, line: str | None = None, note: str | None = None
    ) -> None:
        self._send(
            Progress(
                state=state,
                text=text,
                line=line,
                note=note,
                visits=self._visits,
                finished=self._finished,
                temperature_c=self._temperature_c,
            )
        )


def _send(message: Progress | Ended) -> None:
    try:
        sys.stdout.write(f"{message.model_dump_json()}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Nobody listens any more; what is measured is in the journal. The interpreter must not
        # fail once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end_with_parent() -> None:
    """Interrupt the session when standard input closes."""
    while sys.stdin.read(1):
        pass
    _thread.interrupt_main()


if __name__ == "__main__":
    sys.exit(main())
