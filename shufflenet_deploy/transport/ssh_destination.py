"""Grammar of SSH destinations: ``[ssh://][user@]host[:port]``, ``[IPv6]:port``, or an alias."""

from __future__ import annotations

import re
from dataclasses import dataclass

from shufflenet_deploy.errors import UsageError

#: Characters that OpenSSH 9.6 refuses in names, for they reach the shell of a ProxyCommand.
HOST_METACHARACTERS = frozenset("'`\"$\\;&<>|(){}")
_USER_METACHARACTERS = frozenset("'`\";&<>|(){}")


@dataclass(frozen=True)
class Destination:
    """Destination as typed: ``[ssh://][user@]host[:port]``."""

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
                f"'{user.split(':', 1)[0]}:...@{rest}' carries a password, which is not taken "
                "on the command line; copy your key there with ssh-copy-id"
            )
        if rest.count(":") > 1 and not rest.startswith("["):
            match = re.fullmatch(r"(?P<v6>[0-9A-Fa-f:.]+(?:%\w+)?)(?P<host>)(?P<port>)", rest)
        else:
            match = re.fullmatch(
                r"(?:\[(?P<v6>[^\]\s]+)\]|(?P<host>[^-:\[\]\s/][^:\[\]\s/]*))"
                r"(?::(?P<port>[0-9]{1,5}))?",
                rest,
            )
        if match is None or (at and not _is_user(user)):
            raise UsageError(
                f"{text!r} is not a host: write local, user@host, user@host:port, [IPv6]:port, "
                "or an alias from ~/.ssh/config"
            )
        host = match["v6"] or match["host"]
        refused = sorted(
            HOST_METACHARACTERS.intersection(host) | _USER_METACHARACTERS.intersection(user)
        )
        if refused or host.startswith("-") or not (host + user).isprintable():
            raise UsageError(
                f"{text!r} is not a host: {' '.join(refused) or 'such characters'} could reach a "
                "shell through ProxyCommand; names have letters, digits, dots and dashes"
            )
        port = int(match["port"]) if match["port"] else None
        if port is not None and not 0 < port < 1 << 16:
            raise UsageError(f"{text!r} has no valid port: write one from 1 to 65535")
        return cls(host, user or None, port)


def _is_user(name: str) -> bool:
    return bool(name) and not (
        name.startswith("-") or name.endswith("\\") or any(map(str.isspace, name))
    )


def is_host(name: str) -> bool:
    """Return True for a name that can be typed as a destination."""
    try:
        Destination.parse(name)
    except UsageError:
        return False
    return True
