"""From what the user typed to where a connection goes: ``user@host:port``, or an alias.

``~/.ssh/config`` and ``/etc/ssh/ssh_config`` are read with paramiko's parser, to which ``Include``
is added here. ``SHUFFLENET_DEPLOY_SSH_CONFIG`` names another file, as ``ssh -F`` does.
"""

from __future__ import annotations

import getpass
import glob
import os
import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.transport.known_hosts import SSH_PORT, host_key_name
from shufflenet_deploy.transport.shared_disk import SharedDisk

CONFIG_VARIABLE = "SHUFFLENET_DEPLOY_SSH_CONFIG"
_CONNECT_TIMEOUT_SECS = 10.0
_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
_MOST_JUMPS = 8
_MOST_INCLUDES = 16


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

    ``host_key_name`` is what the host is called in ``known_hosts``; ``ssh_argv`` what a user types
    to reach it with OpenSSH; ``use_agent`` offers the keys of a running ssh-agent.
    """

    hostname: str
    port: int
    user: str
    identity_files: tuple[Path, ...]
    identities_only: bool
    use_agent: bool
    known_hosts: tuple[Path, ...]
    host_key_name: str
    jumps: tuple[Route, ...] = ()
    proxy_command: str | None = None
    connect_timeout_secs: float = _CONNECT_TIMEOUT_SECS
    compression: bool = False
    ssh_argv: tuple[str, ...] = ()
    disk: SharedDisk | None = None
    keepalive: bool = True

    @property
    def address(self) -> str:
        """``host:port`` for messages."""
        name = f"[{self.hostname}]" if ":" in self.hostname else self.hostname
        return f"{name}:{self.port}"


@dataclass(frozen=True)
class Destination:
    """What was typed: ``[ssh://][user@]host[:port]``."""

    host: str
    user: str | None
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Destination:
        """Read ``user@host:port``, ``[v6]:port``, a bare IPv6 address or an alias.

        Raises:
            UsageError: it is none of these.
        """
        user, at, rest = text.strip().removeprefix("ssh://").rstrip("/").rpartition("@")
        if ":" in user:
            raise UsageError(
                f"'{user.split(':', 1)[0]}:...@{rest}' carries a password: passwords are not taken "
                "on the command line; copy your key there with ssh-copy-id"
            )
        if rest.count(":") > 1 and not rest.startswith("["):
            match = re.fullmatch(r"(?P<v6>[0-9A-Fa-f:.]+(?:%\w+)?)(?P<host>)(?P<port>)", rest)
        else:
            match = re.fullmatch(
                r"(?:\[(?P<v6>[^\]\s]+)\]|(?P<host>[^-:\[\]\s/][^:\[\]\s/]*))(?::(?P<port>\d{1,5}))?",
                rest,
            )
        bad_user = bool(at) and (not user or user.startswith("-") or any(map(str.isspace, user)))
        if match is None or bad_user:
            raise UsageError(
                f"'{text}' is not a host: write local, user@host, user@host:port, [IPv6]:port, "
                "or an alias from ~/.ssh/config"
            )
        port = int(match["port"]) if match["port"] else None
        if port is not None and not 0 < port < 1 << 16:
            raise UsageError(f"'{text}' has no valid port: write one from 1 to 65535")
        return cls(match["v6"] or match["host"], user or None, port)


def route_of(settings: SshSettings) -> Route:
    """The route of a connection that a program described."""
    user = settings.user or getpass.getuser()
    options: tuple[str, ...] = ("-p", str(settings.port))
    if settings.identity_file:
        options += ("-i", str(settings.identity_file))
    if settings.known_hosts:
        options += ("-o", f"UserKnownHostsFile={settings.known_hosts}")
    return Route(
        hostname=settings.hostname,
        port=settings.port,
        user=user,
        identity_files=(settings.identity_file,) if settings.identity_file else _default_keys(),
        identities_only=settings.identity_file is not None,
        use_agent=settings.identity_file is None,
        known_hosts=(settings.known_hosts,) if settings.known_hosts else _user_known_hosts(),
        host_key_name=host_key_name(settings.hostname, settings.port),
        ssh_argv=("ssh", *options, f"{user}@{settings.hostname}"),
        disk=settings.disk,
        keepalive=settings.keepalive,
    )


def resolve(host: str, config: Path | None = None) -> Route:
    """Look a host up the way ``ssh`` does.

    Raises:
        UsageError: it is not a host, or the configuration cannot be read.
    """
    return _Resolver(config).route(Destination.parse(host), seen=())


def aliases(config: Path | None = None) -> tuple[str, ...]:
    """The hosts that the user's configuration names, patterns left out, sorted.

    Raises:
        UsageError: the configuration cannot be read.
    """
    return _Resolver(config).aliases()


class _Resolver:
    """One reading of the configuration, asked about a host and each of its jumps."""

    def __init__(self, config: Path | None) -> None:
        from paramiko.config import SSHConfig  # noqa: PLC0415 - half a second
        from paramiko.ssh_exception import ConfigParseError  # noqa: PLC0415

        chosen = config or (Path(v) if (v := os.environ.get(CONFIG_VARIABLE)) else None)
        if chosen is not None:
            self._options: tuple[str, ...] = ("-F", str(chosen))
            if not chosen.is_file():
                raise UsageError(f"there is no ssh configuration at {chosen}")
            text = _expanded(chosen, chosen.parent)
        else:
            self._options = ()
            home, system = Path.home() / ".ssh", Path("/etc/ssh")
            text = "\nHost *\n".join(
                _expanded(path, path.parent) for path in (home / "config", system / "ssh_config")
            )
        try:
            self._config = SSHConfig.from_text(text)
        except ConfigParseError as error:
            where = chosen or "~/.ssh/config"
            raise UsageError(f"cannot understand {where}: {error}") from error

    def route(self, typed: Destination, *, seen: tuple[str, ...], jump: bool = True) -> Route:
        if typed.host in seen or len(seen) > _MOST_JUMPS:
            raise UsageError(
                f"ProxyJump goes in circles: {' -> '.join((*seen, typed.host))}; "
                "correct ~/.ssh/config"
            )
        found = self._lookup(typed.host)
        hostname = found["hostname"]
        port = typed.port or _number(found, "port", SSH_PORT)
        identities = tuple(
            Path(name).expanduser() for name in found.get("identityfile", ()) if name != "none"
        )
        alias = found.get("hostkeyalias")
        route = Route(
            hostname=hostname,
            port=port,
            user=typed.user or found.get("user") or getpass.getuser(),
            identity_files=identities or _default_keys(),
            identities_only=found.get("identitiesonly", "no").lower() == "yes",
            use_agent=found.get("identityagent", "").lower() != "none",
            known_hosts=_known_hosts_files(found),
            host_key_name=alias or host_key_name(hostname, port),
            proxy_command=found.get("proxycommand") if jump else None,
            connect_timeout_secs=float(_number(found, "connecttimeout", 0))
            or _CONNECT_TIMEOUT_SECS,
            compression=found.get("compression", "no").lower() == "yes",
            ssh_argv=self._ssh_argv(typed),
        )
        hops = found.get("proxyjump", "none")
        if not jump or hops.lower() == "none":
            return route
        # As with `ssh -J a,b`: the first hop follows its own configuration, the rest is spelt out.
        jumps = tuple(
            self.route(Destination.parse(hop.strip()), seen=(*seen, typed.host), jump=index == 0)
            for index, hop in enumerate(hops.split(","))
        )
        return replace(route, jumps=jumps, proxy_command=None)

    def aliases(self) -> tuple[str, ...]:
        names = self._config.get_hostnames()
        return tuple(sorted(name for name in names if not re.search(r"[*?!]", name)))

    def _lookup(self, host: str) -> dict[str, str]:
        try:
            found: dict[str, str] = self._config.lookup(host)
        except ImportError as error:
            raise UsageError(
                "~/.ssh/config uses `Match exec`, which needs: pip install invoke"
            ) from error
        return found

    def _ssh_argv(self, typed: Destination) -> tuple[str, ...]:
        port = ("-p", str(typed.port)) if typed.port else ()
        name = f"{typed.user}@{typed.host}" if typed.user else typed.host
        return ("ssh", *self._options, *port, name)


def _expanded(path: Path, folder: Path, depth: int = 0) -> str:
    """The text of a configuration with its ``Include`` lines replaced by what they name.

    After an included file, the block that the line stood in is opened again.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    if depth > _MOST_INCLUDES:
        raise UsageError(f"{path} includes itself: correct its Include lines")
    lines, block = [], "Host *"
    for line in text.splitlines():
        keyword, _, value = re.sub(r"\s*=\s*|\s+", " ", line.strip(), count=1).partition(" ")
        if keyword.lower() in {"host", "match"}:
            block = line
        if keyword.lower() != "include":
            lines.append(line)
            continue
        for pattern in shlex.split(value):
            for name in sorted(glob.glob(str(folder / Path(pattern).expanduser()))):  # noqa: PTH207
                lines += [_expanded(Path(name), folder, depth + 1), block]
    return "\n".join(lines)


def _known_hosts_files(found: dict[str, str]) -> tuple[Path, ...]:
    user = found.get("userknownhostsfile")
    system = found.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2")
    files = _user_known_hosts() if user is None else _paths(user)
    return (*files, *_paths(system))


def _paths(text: str) -> tuple[Path, ...]:
    home = str(Path.home())
    return tuple(
        Path(name.replace("%d", home)).expanduser()
        for name in shlex.split(text)
        if name.lower() != "none"
    )


def _user_known_hosts() -> tuple[Path, ...]:
    return tuple(Path.home() / ".ssh" / name for name in ("known_hosts", "known_hosts2"))


def _default_keys() -> tuple[Path, ...]:
    return tuple(path for name in _DEFAULT_KEYS if (path := Path.home() / ".ssh" / name).is_file())


def _number(found: dict[str, str], key: str, default: int) -> int:
    text = found.get(key, str(default))
    if text.lower() == "none":
        return default
    if not text.isdigit():
        raise UsageError(f"~/.ssh/config says {key} {text}, which is not a number")
    return int(text)
