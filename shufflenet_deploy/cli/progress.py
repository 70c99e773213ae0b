"""Live progress of a bench on standard error: one live line, or plain lines in a log."""

from __future__ import annotations

import math
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

import typer

import shufflenet_deploy.bench as benches
from shufflenet_deploy.bench.events import describe
from shufflenet_deploy.cli.heartbeat import Heartbeat
from shufflenet_deploy.records import Measurement, Run
from shufflenet_deploy.report.run_figure import figure_of

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_LOG_SECS = 60.0


class BenchProgress:
    """Prints events; a context manager. Quiet prints only problems."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._stage = ""
        self._total = 0
        self._index = 0
        self._began = time.monotonic()
        #: Waiting time for the target when it was last printed.
        self._away_secs = math.inf
        self._heartbeat = Heartbeat(quiet=quiet)

    def __enter__(self) -> Self:
        self._heartbeat.__enter__()
        if not self._quiet and sys.stderr.isatty():
            from rich import progress  # noqa: PLC0415
            from rich.console import Console  # noqa: PLC0415
            from rich.table import Column  # noqa: PLC0415

            # In a narrow terminal the description gives way, the times stay whole.
            flexible = Column(ratio=1, no_wrap=True, overflow="ellipsis")
            whole = Column(no_wrap=True, min_width=7)
            self._bar = progress.Progress(
                progress.SpinnerColumn(),
                progress.TextColumn("{task.description}", markup=False, table_column=flexible),
                progress.BarColumn(bar_width=12),
                progress.MofNCompleteColumn(table_column=Column(no_wrap=True)),
                progress.TimeElapsedColumn(table_column=whole),
                progress.TextColumn("left", table_column=Column(no_wrap=True)),
                progress.TimeRemainingColumn(elapsed_when_finished=True, table_column=whole),
                expand=True,
                console=Console(stderr=True, markup=False),
                transient=True,
            )
            self._task = self._bar.add_task("preparing", total=None)
            self._bar.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._heartbeat.__exit__(exc_type, exc, traceback)
        if self._bar is not None:
            self._bar.stop()

    def show(self, event: benches.Event) -> None:
        """Print one event."""
        match event:
            case benches.Stage(text=text):
                self.stage(text)
            case benches.Planned(visits=visits, skipped=skipped):
                self._planned(visits, skipped)
            case benches.Started(index=index):
                self._index = index
                self._move(event.text, completed=index - 1)
            case benches.Finished(run=run):
                self._finished(run)
            case benches.Cooling(secs=secs):
                self._move(f"cooling down for {secs:g} s")
            case benches.Hot() | benches.Away():
                self._waiting(event)
            case benches.Sustaining(cells=cells, secs=secs):
                until = time.strftime("%H:%M:%S", time.localtime(time.time() + secs))
                names = ", ".join(cell.model for cell in cells)
                self.stage(f"{names} take turns for {secs:g} s, until {until}")
            case benches.Retrying():
                self._line(event.text, always=True)
            case benches.Tainted():
                self._line(event.text)

    def stage(self, text: str) -> None:
        """Print a step of the preparation; repetitions of a step are printed once."""
        if text != self._stage:
            self._stage = text
            self._move(text)
            if self._bar is None:
                self._line(text)

    def _planned(self, visits: int, skipped: int) -> None:
        if self._total == 0:
            self._began = time.monotonic()
            if skipped:
                self._line(f"{skipped} processes were measured before and are kept")
        self._total = visits
        if self._bar is not None and self._task is not None:
            self._bar.reset(self._task, total=visits, completed=self._index)

    def _finished(self, run: Run) -> None:
        failed = not isinstance(run.outcome, Measurement)
        text = f"{describe(run.cell)}, process {run.process}: {figure_of(run)}"
        if self._bar is None and self._total:
            text = f"[{self._index}/{self._total}] {text}{self._left()}"
        if failed or self._bar is None:
            self._line(text, always=failed)
        self._move(f"{describe(run.cell)}: {figure_of(run)}", completed=self._index)

    def _waiting(self, event: benches.Hot | benches.Away) -> None:
        if isinstance(event, benches.Hot):
            self._hot(event)
        else:
            self._away(event)

    def _hot(self, event: benches.Hot) -> None:
        text = (
            f"{event.now_c:.1f} °C, waiting for {event.limit_c:g} °C "
            f"({event.waited_secs:.0f} s, at most {event.longest_secs:.0f} s)"
        )
        self._move(text)
        # A log gets a line a minute, so that nobody takes the wait for a hang.
        if self._bar is None and event.waited_secs % _LOG_SECS == 0:
            self._line(text)

    def _away(self, event: benches.Away) -> None:
        text = (
            f"waiting for {event.host} to come back "
            f"({event.waited_secs:.0f} s, at most {event.longest_secs:.0f} s): {event.error}"
        )
        self._move(text)
        # In a log a line when it begins, then one a minute.
        again = event.waited_secs < self._away_secs
        if self._bar is None and (
            again or self._away_secs // _LOG_SECS != event.waited_secs // _LOG_SECS
        ):
            self._line(text, always=True)
        self._away_secs = event.waited_secs

    def _left(self) -> str:
        elapsed = time.monotonic() - self._began
        left = elapsed / max(self._index, 1) * (self._total - self._index)
        return (
            f"  ({elapsed:.0f} s, about {left:.0f} s left)" if left > 0 else f"  ({elapsed:.0f} s)"
        )

    def _move(self, text: str, *, completed: int | None = None) -> None:
        self._heartbeat.doing(text)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=text, completed=completed)

    def _line(self, text: str, *, always: bool = False) -> None:
        if self._quiet and not always:
            return
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            typer.echo(text, err=True)
            self._heartbeat.spoke()
