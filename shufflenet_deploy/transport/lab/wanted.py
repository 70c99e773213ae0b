"""Grammar of hosts of a lab: ``labgrid:PLACE``, or ``labgrid:TAG=VALUE[,TAG=VALUE...]``."""

from __future__ import annotations

import re

from pydantic import Field

from shufflenet_deploy.bounded import Name
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.host_names import LAB_PREFIX
from shufflenet_deploy.records import Record

_PLACE = re.compile(r"[^\s,=/]+")
_TAG = re.compile(r"(?P<key>[a-z][a-z0-9_]+)=(?P<value>[\w.+-]+)")
#: By which labgrid's scheduler knows a place.
_NAME = "name"


class Wanted(Record):
    """A place by its name, or tags that it must have: one of the two."""

    place: Name = ""
    tags: dict[Name, Name] = Field(default_factory=dict)

    @classmethod
    def parse(cls, host: str) -> Wanted:
        """Read what follows ``--host``.

        Raises:
            UsageError: it names no place and no tags.
        """
        text = host.removeprefix(LAB_PREFIX)
        if _PLACE.fullmatch(text):
            return cls(place=text)
        matches = [_TAG.fullmatch(one) for one in text.split(",")]
        found = {match["key"]: match["value"] for match in matches if match}
        if len(found) != len(matches):
            raise UsageError(
                f"{host!r} is no place of a lab: write {LAB_PREFIX}PLACE, or tags such as "
                f"{LAB_PREFIX}core=a76,os=raspbian"
            )
        return cls(tags=found)

    @property
    def filters(self) -> dict[str, str]:
        """What a reservation asks for."""
        return {_NAME: self.place} if self.place else dict(self.tags)

    def __str__(self) -> str:
        return self.place or ",".join(f"{key}={value}" for key, value in self.tags.items())
