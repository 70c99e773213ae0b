"""Grammar of hosts of a lab: ``labgrid:PLACE``, or ``labgrid:TAG=VALUE[,TAG=VALUE...]``."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydantic import Field

from shufflenet_deploy.bounded import Name
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import Record

PREFIX = "labgrid:"
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
        text = host.removeprefix(PREFIX)
        if _PLACE.fullmatch(text):
            return cls(place=text)
        matches = [_TAG.fullmatch(one) for one in text.split(",")]
        found = {match["key"]: match["value"] for match in matches if match}
        if len(found) != len(matches):
            raise UsageError(
                f"{host!r} is no place of a lab: write {PREFIX}PLACE, or tags such as "
                f"{PREFIX}core=a76,os=raspbian"
            )
        return cls(tags=found)

    @property
    def filters(self) -> dict[str, str]:
        """What a reservation asks for."""
        return {_NAME: self.place} if self.place else dict(self.tags)

    def __str__(self) -> str:
        return self.place or ",".join(f"{key}={value}" for key, value in self.tags.items())


def is_lab_host(host: str) -> bool:
    """True for hosts that a coordinator knows."""
    return host.startswith(PREFIX)


def joined(words: Iterable[str]) -> list[str]:
    """Words of a list that commas separated, with the tags of one reservation together again."""
    found: list[str] = []
    for word in words:
        if found and "=" in word and "=" in found[-1] and is_lab_host(found[-1]):
            found[-1] += f",{word}"
        else:
            found.append(word)
    return found
