"""Route of an SSH connection: one record per hop, fully resolved; no file is read here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shufflenet_deploy.transport.known_hosts import SSH_PORT
from shufflenet_deploy.transport.shared_disk import SharedDisk

CONNECT_TIMEOUT_SECS = 10.0


@dataclass(frozen=True, kw_only=True)
class SshSettings:
    """A connection given by a program; no configuration file, agent or default key is consulted.

    ``known_hosts`` None means the user's own files, ``user`` None the name of the local user.
    Large files go by ``disk`` where the target is a virtual machine that has one. Without
    ``keepalive`` a silent connection stays silent: what arrives there costs the target work.
    """

    hostname: str
    port: int = SSH_PORT
    user: str | None = None
    identity_file: Path | None = None
    known_hosts: Path | None = None
    disk: SharedDisk | None = None
    keepalive: bool = True


@dataclass(frozen=True, kw_only=True)
class Route:
    """One hop, fully resolved. ``jumps`` are passed through in order before it is reached.

    ``host_key_name`` is what the host is called in ``known_hosts``, ``plain_key_name`` what it is
    called there by entries for every port. ``agent_socket`` is that of the ssh-agent whose keys are
    offered. ``algorithms`` limits what may be negotiated. ``only_openssh`` names settings that
    OpenSSH's client alone follows, ``ssh_methods`` ways of logging in that it alone has.

    ``ssh_argv`` is what a user types to reach the host with OpenSSH, ``ssh_options`` and
    ``ssh_host`` how a program does, and ``accept_argv`` what a user types to accept its key.
    """

    hostname: str
    port: int
    user: str
    identity_files: tuple[Path, ...]
    identities_only: bool
    agent_socket: Path | None
    known_hosts: tuple[Path, ...]
    host_key_name: str
    plain_key_name: str | None = None
    certificate_files: tuple[Path, ...] = ()
    jumps: tuple[Route, ...] = ()
    proxy_command: str | None = None
    connect_timeout_secs: float = CONNECT_TIMEOUT_SECS
    compression: bool = False
    algorithms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    only_openssh: tuple[str, ...] = ()
    ssh_methods: tuple[str, ...] = ()
    ssh_argv: tuple[str, ...] = ()
    ssh_options: tuple[str, ...] = ()
    ssh_host: str = ""
    accept_argv: tuple[str, ...] = ()
    disk: SharedDisk | None = None
    keepalive: bool = True

    @property
    def hops(self) -> tuple[Route, ...]:
        """Every hop in the order that they are connected to, this one last."""
        return (*(hop for jump in self.jumps for hop in jump.hops), self)

    @property
    def address(self) -> str:
        """``host:port`` for messages."""
        name = f"[{self.hostname}]" if ":" in self.hostname else self.hostname
        return f"{name}:{self.port}"
