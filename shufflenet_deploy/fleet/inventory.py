"""The inventory of hosts: ``hosts.toml`` of the user and of the project, their names and groups.

    [hosts.pi4]
    address = "pi@192.168.1.4"      # as after --host; the name itself by default
    tags = ["a72", "shelf"]
    cpus = "0-3"                    # defaults of this host: as the options of bench
    governor = "performance"
    cooldown = 2.0
    max-temperature = 70.0
    payload = "venv"
    folder = "/data/shufflenet-deploy"

    [groups]
    lab = ["pi3", "pi4", "@phones"]

    [labgrid]
    coordinator = "lab.example:20408"   # of hosts such as labgrid:PLACE

``@NAME`` after ``--host`` is a group, or all hosts with that tag. A name that the inventory does
not know is a host as ever. Where both files name a host or a group, the project's counts.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, ValidationError

from shufflenet_deploy.atomic_files import exists, read_toml
from shufflenet_deploy.bounded import MAX_SECS, Name
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.names import check_model_name
from shufflenet_deploy.records import Record, first_problem

#: Names the user's inventory where the usual place does not serve.
INVENTORY_VARIABLE = "SHUFFLENET_DEPLOY_HOSTS"
_FILE = "hosts.toml"
_GROUP = "@"
_LAB = "labgrid"

_HostName = Annotated[str, AfterValidator(check_model_name)]


class Host(Record):
    """One host of the inventory, and what differs there from the defaults of ``bench``."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=lambda name: name.replace("_", "-"),
        populate_by_name=True,
    )  # fmt: skip

    name: Name
    address: Name = ""
    tags: tuple[_HostName, ...] = ()
    cpus: Name | None = None
    governor: Name | None = Field(default=None, pattern=r"^[a-z_]+$")
    cooldown: float | None = Field(default=None, ge=0, le=MAX_SECS)
    max_temperature: float | None = Field(default=None, gt=0, lt=150)
    payload: Name | None = None
    folder: Name | None = Field(default=None, pattern=r"^/")

    @property
    def target(self) -> str:
        """The host as ``--host`` takes it."""
        return self.address or self.name


class Inventory(Record):
    """All hosts and groups by name; the address of labgrid's coordinator, or ""."""

    hosts: dict[str, Host] = Field(default_factory=dict)
    groups: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    coordinator: Name = ""

    def expand(self, words: Iterable[str]) -> list[Host]:
        """The hosts that words name: names, ``@groups``, ``@tags``, and hosts of no inventory.

        Each target comes once, by the name and at the place where it is first named.

        Raises:
            UsageError: there is no such group or tag, or a group holds itself.
        """
        found: dict[str, Host] = {}
        for word in words:
            for host in self._named(word, ()):
                found.setdefault(host.target, host)
        return list(found.values())

    def _named(self, word: str, within: tuple[str, ...]) -> Iterator[Host]:
        if not word.startswith(_GROUP):
            yield self.hosts.get(word) or Host(name=word)
            return
        group = word.removeprefix(_GROUP)
        if group in within:
            raise UsageError(f"the group @{group} holds itself: {' > '.join((*within, group))}")
        if group in self.groups:
            for member in self.groups[group]:
                yield from self._named(member, (*within, group))
            return
        tagged = [host for host in self.hosts.values() if group in host.tags]
        if not tagged:
            raise UsageError(
                f"no group or tag @{group} in the inventory of hosts: {self._hint(group)}"
            )
        yield from tagged

    def _hint(self, group: str) -> str:
        known = sorted({*self.groups, *(tag for one in self.hosts.values() for tag in one.tags)})
        near = difflib.get_close_matches(group, known, n=1)
        if near:
            return f"did you mean @{near[0]}?"
        if known:
            return f"known are {', '.join(f'@{name}' for name in known)}"
        return f"write it into {user_file()}"


def user_file() -> Path:
    """The user's own inventory."""
    if chosen := os.environ.get(INVENTORY_VARIABLE):
        return Path(chosen).expanduser()
    import platformdirs  # noqa: PLC0415 - only where no file is named

    return platformdirs.user_config_path("shufflenet-deploy") / _FILE


def read_inventory() -> Inventory:
    """Read the user's ``hosts.toml`` and that of the working folder; without files it is empty.

    Raises:
        UsageError: a file is damaged; the message names the file, the host and the key.
    """
    hosts: dict[str, Host] = {}
    groups: dict[str, tuple[str, ...]] = {}
    coordinator = ""
    for path in (user_file(), Path(_FILE)):
        if exists(path):
            one = _read(path)
            hosts.update(one.hosts)
            groups.update(one.groups)
            coordinator = one.coordinator or coordinator
    return Inventory(hosts=hosts, groups=groups, coordinator=coordinator)


def _read(path: Path) -> Inventory:
    fields = read_toml(path, what="the inventory of hosts")
    if unknown := sorted(fields.keys() - {"hosts", "groups", _LAB}):
        raise UsageError(f"{path}: unknown key '{unknown[0]}' (known are hosts, groups, {_LAB})")
    hosts = {name: _host(path, name, one) for name, one in _table(path, fields, "hosts").items()}
    groups = {
        _checked(path, name): _members(path, name, members)
        for name, members in _table(path, fields, "groups").items()
    }
    return Inventory(hosts=hosts, groups=groups, coordinator=_coordinator(path, fields))


def _coordinator(path: Path, fields: dict[str, Any]) -> str:
    lab = _table(path, fields, _LAB)
    address = lab.get("coordinator", "")
    if lab.keys() - {"coordinator"} or not isinstance(address, str):
        raise UsageError(f'{path}: {_LAB} has one key: coordinator = "HOST:PORT"')
    return address


def _host(path: Path, name: str, fields: object) -> Host:
    if not isinstance(fields, dict):
        raise UsageError(f"{path}: hosts.{name} is no table: write [hosts.{name}]")
    try:
        return Host.model_validate({**fields, "name": _checked(path, name)})
    except ValidationError as error:
        raise UsageError(f"{path}: hosts.{name}: {first_problem(error)}") from error


def _members(path: Path, name: str, members: object) -> tuple[str, ...]:
    if not isinstance(members, list) or not all(isinstance(one, str) for one in members):
        raise UsageError(f'{path}: groups.{name} is no list of names: write ["pi3", "pi4"]')
    return tuple(members)


def _table(path: Path, fields: dict[str, Any], key: str) -> dict[str, Any]:
    found = fields.get(key, {})
    if not isinstance(found, dict):
        raise UsageError(f"{path}: {key} is no table: write [{key}]")
    return found


def _checked(path: Path, name: str) -> str:
    try:
        return check_model_name(name)
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error
