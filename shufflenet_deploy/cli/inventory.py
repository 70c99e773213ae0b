"""Hosts as the user names them on the command line: names, addresses and ``@groups``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from shufflenet_deploy.cli.bench_suite import cores, kind_of_cores
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.host_names import joined

if TYPE_CHECKING:
    from shufflenet_deploy.bench import Suite
    from shufflenet_deploy.fleet import Host

_LOCAL = "local"


def hosts_of(words: Sequence[str]) -> list[Host]:
    """The hosts that words name, each once, groups expanded; none where there are no words.

    Raises:
        UsageError: there is no such group, or an inventory is damaged.
    """
    from shufflenet_deploy.fleet import read_inventory  # noqa: PLC0415

    return read_inventory().expand(joined(words)) if words else []


def coordinator_of_inventory() -> str:
    """The coordinator of a lab that an inventory names, where the environment names none; or "".

    Raises:
        UsageError: an inventory is damaged.
    """
    from shufflenet_deploy.fleet import read_inventory  # noqa: PLC0415
    from shufflenet_deploy.transport.lab.link import COORDINATOR_VARIABLE  # noqa: PLC0415

    return "" if os.environ.get(COORDINATOR_VARIABLE) else read_inventory().coordinator


def names_of(hosts: Sequence[Host]) -> str | None:
    """Hosts as the journal names them; None for none."""
    return ",".join(host.name for host in hosts) or None


def local_host() -> Host:
    """This machine."""
    (host,) = hosts_of([_LOCAL])
    return host


def with_defaults(suite: Suite, host: Host) -> Suite:
    """The suite with the host's own defaults, where it has none but the general ones.

    Raises:
        UsageError: the inventory names cores or a source of runtimes that cannot be.
    """
    from shufflenet_deploy.bench import Suite as SuiteType  # noqa: PLC0415

    general = SuiteType(models=suite.models, resolutions=suite.resolutions)
    fields, spec = suite.model_dump(mode="json"), suite.spec.model_dump(mode="json")
    wanted: dict[str, Any] = {
        "governor": host.governor,
        "max_temperature_c": host.max_temperature,
        "payload": host.payload,
    }
    if suite.spec.cpus is None:
        wanted["cores"] = kind_of_cores(host.cpus)
    for name, value in wanted.items():
        if value is not None and getattr(suite, name) == getattr(general, name):
            fields[name] = value
    if host.cooldown is not None and suite.spec.cooldown_secs == general.spec.cooldown_secs:
        spec["cooldown_secs"] = host.cooldown
    if suite.cores == general.cores and suite.spec.cpus is None and host.cpus is not None:
        try:
            spec["cpus"] = cores(host.cpus)
        except UsageError as error:
            raise UsageError(f"hosts.{host.name} of the inventory: {error}") from error
    return SuiteType.of({**fields, "spec": spec}, source=f"hosts.{host.name} of the inventory")
