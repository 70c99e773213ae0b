"""Links to machines: this one, boards over SSH or lent by a lab, Android devices over adb."""

from __future__ import annotations

from collections.abc import Callable

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.host_names import is_lab_host
from shufflenet_deploy.transport.adb import AdbTransport, devices
from shufflenet_deploy.transport.adb_devices import AndroidDevice
from shufflenet_deploy.transport.base import CommandResult, Progress, Transport
from shufflenet_deploy.transport.lab import Lab, LabTransport
from shufflenet_deploy.transport.local import LocalTransport
from shufflenet_deploy.transport.shared_disk import SharedDisk
from shufflenet_deploy.transport.ssh import SshClient, SshTransport
from shufflenet_deploy.transport.ssh_config import aliases, resolve, route_of
from shufflenet_deploy.transport.ssh_route import SshSettings

__all__ = [
    "AdbTransport",
    "AndroidDevice",
    "CommandResult",
    "Lab",
    "LabTransport",
    "LocalTransport",
    "Progress",
    "SharedDisk",
    "SshClient",
    "SshSettings",
    "SshTransport",
    "Transport",
    "aliases",
    "connect",
    "devices",
    "is_lab_host",
]


def connect(
    host: str | SshSettings,
    *,
    name: str | None = None,
    ssh_client: SshClient = "auto",
    lab: Lab | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> Transport:
    """The transport to a machine, not yet connected: enter it to connect.

    ``host`` is ``local``, ``adb[:SERIAL]``, ``[user@]host[:port]``, an alias of
    ``~/.ssh/config``, ``labgrid:PLACE``, ``labgrid:TAG=VALUE,...``, or the settings of a
    connection that a program made up; ``name`` is what messages then call it. ``ssh_client``
    insists on whose client makes an SSH connection. ``lab`` says how a place of a lab is leased;
    ``on_stage`` is told what is waited for.

    Raises:
        UsageError: it is none of these, or the ssh configuration cannot be read.
    """
    if isinstance(host, SshSettings):
        route = route_of(host)
        return SshTransport(name or f"{route.user}@{route.address}", route, client=ssh_client)
    if host == "local":
        return LocalTransport()
    if is_lab_host(host):
        return LabTransport(
            host,
            name=name,
            lab=lab or Lab(),
            connect=lambda address, known_as: SshTransport(
                known_as, resolve(address), client=ssh_client
            ),
            on_stage=on_stage or (lambda _: None),
        )
    if host == "adb" or host.startswith("adb:"):
        return AdbTransport(host.partition(":")[2] or None)
    if not host.strip():
        raise UsageError("the host is empty: write local, user@host[:port] or an ssh alias")
    return SshTransport(name or host, resolve(host), client=ssh_client)
