"""What a keeper is told, and what it says: JSON lines on its standard input and output."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from shufflenet_deploy.bounded import Name, Text
from shufflenet_deploy.records import Record
from shufflenet_deploy.transport.lab.wanted import Wanted


class LeaseJob(Record):
    """What to lease.

    Attributes:
        coordinator: ``HOST[:PORT]``.
        wanted: the place.
        wait: wait for a turn; otherwise a place in use is refused.
        power_cycle: switch it off and on before, and off afterwards.
        leases: folder of the notes on leases that somebody may have to give back.
    """

    coordinator: Name
    wanted: Wanted
    wait: bool = True
    power_cycle: bool = False
    leases: Text


class Stage(Record):
    """What is waited for, or something worth a line."""

    kind: Literal["stage"] = "stage"
    text: Text


class Granted(Record):
    """The place is ours; how its board is reached.

    ``proxy`` is the machine through which alone it is reached, where there is one.
    """

    kind: Literal["granted"] = "granted"
    place: Name
    address: Annotated[Name, Field(pattern=r"^[A-Za-z0-9][\w.:%-]*$")]
    user: Annotated[Name, Field(pattern=r"^[A-Za-z0-9_][\w.-]*$")]
    port: Annotated[int, Field(gt=0, lt=1 << 16)]
    proxy: Name = ""

    @property
    def destination(self) -> str:
        """As typed after ``ssh``."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.user}@{address}:{self.port}"


class Refused(Record):
    """There is no lease, or no longer one. ``usage``: the user asked for what cannot be."""

    kind: Literal["refused"] = "refused"
    text: Text
    usage: bool = False


Message = Annotated[Stage | Granted | Refused, Field(discriminator="kind")]
MESSAGE: TypeAdapter[Stage | Granted | Refused] = TypeAdapter(Message)
