"""Messages of a target's process to the one that started it: JSON lines on standard output."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from shufflenet_deploy.bounded import Count, Size, Text
from shufflenet_deploy.records import Record


class State(StrEnum):
    """The present work of a target."""

    STARTING = "starting"
    PREPARING = "preparing"
    MEASURING = "measuring"
    COOLING = "cooling"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


class Progress(Record):
    """The progress of a session. ``line`` is for a log: an event worth a line of its own.

    ``note`` is for the user, whatever else is shown: a file that is overwritten, weights that are
    left out. ``visits`` is the number of processes that will be started, ``finished`` of those
    that ended.
    """

    kind: Literal["progress"] = "progress"
    state: State
    text: Text = ""
    line: Text | None = None
    note: Text | None = None
    visits: Count = 0
    finished: Count = 0
    temperature_c: float | None = None


class Ended(Record):
    """The last line of a session.

    Attributes:
        error: why it could not go on; None where it went through all cells.
        usage: the error is the user's to mend.
        failures: cells that failed, each in one line.
        files_pushed: how many files went to the target.
        bytes_pushed: their size.
        files_present: how many files were there already.
    """

    kind: Literal["ended"] = "ended"
    error: Text | None = None
    usage: bool = False
    interrupted: bool = False
    failures: tuple[Text, ...] = ()
    files_pushed: Size = 0
    bytes_pushed: Size = 0
    files_present: Size = 0


Message = Annotated[Progress | Ended, Field(discriminator="kind")]
MESSAGE: TypeAdapter[Progress | Ended] = TypeAdapter(Message)
