"""Live view of several targets on standard error: a row each, or plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

import typer

from shufflenet_deploy.cli.heartbeat import duration
from shufflenet_deploy.fleet import Ended, Progress, State

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

_STYLES = {State.DONE: "green", State.FAILED: "bold red", State.WAITING: "yellow"}


@dataclass
class _Row:
    """The state of one target."""

    last: Progress = field(default_factory=lambda: Progress(state=State.STARTING))
    began_at: float = field(default_factory=time.monotonic)
    measuring_since: float | None = None
    ended_at: float | None = None

    @property
    def elapsed_secs(self) -> float:
        """Since its session began, until it ended."""
        return (self.ended_at or time.monotonic()) - self.began_at

    @property
    def left_secs(self) -> float | None:
        """Until the last process ends, at the speed so far."""
        last = self.last
        if self.measuring_since is None or not last.finished or self.ended_at is not None:
            return None
        since = time.monotonic() - self.measuring_since
        return since / last.finished * (last.visits - last.finished)


class FleetProgress:
    """Shows messages of sessions; a context manager. Quiet shows nothing but their notes."""

    def __init__(self, labels: Sequence[str], *, quiet: bool = False) -> None:
        self._rows = {label: _Row() for label in labels}
        self._quiet = quiet
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console  # noqa: PLC0415
            from rich.live import Live  # noqa: PLC0415

            self._live = Live(
                console=Console(stderr=True, markup=False),
                get_renderable=self._table,
                refresh_per_second=2,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, label: str, message: Progress | Ended) -> None:
        """Take in one message of the session with this label."""
        row = self._rows[label]
        if isinstance(message, Ended):
            self._end(label, row, message)
            return
        if message.visits and row.measuring_since is None:
            row.measuring_since = time.monotonic()
        row.last = message
        if message.note:
            self._print_note(f"{label}: {message.note}")
        if message.line and self._live is None and not self._quiet:
            typer.echo(f"{label}: {message.line}", err=True)

    def _print_note(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(text, highlight=False, soft_wrap=True)
        else:
            typer.echo(text, err=True)

    def _end(self, label: str, row: _Row, ended: Ended) -> None:
        row.ended_at = time.monotonic()
        bad = ended.error is not None or ended.failures
        text = ended.error or (f"{len(ended.failures)} cells failed" if ended.failures else "")
        row.last = row.last.model_copy(
            update={"state": State.FAILED if bad else State.DONE, "text": text}
        )
        if self._live is None and not self._quiet:
            took = duration(row.elapsed_secs)
            typer.echo(f"{label}: {row.last.state} after {took}{text and f': {text}'}", err=True)

    def _table(self) -> Table:
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table(box=None, pad_edge=False, expand=True)
        for title in ("host", "state", "process"):
            table.add_column(title, no_wrap=True)
        table.add_column("", ratio=1, no_wrap=True, overflow="ellipsis")
        for title in ("elapsed", "left", "°C"):
            table.add_column(title, no_wrap=True, justify="right")
        for label, row in self._rows.items():
            last, left = row.last, row.left_secs
            table.add_row(
                Text(label),
                Text(last.state, style=_STYLES.get(last.state, "")),
                f"{last.finished}/{last.visits}" if last.visits else "",
                Text(last.text),
                duration(row.elapsed_secs),
                "" if left is None else duration(left),
                "" if last.temperature_c is None else f"{last.temperature_c:.0f}",
            )
        return table
