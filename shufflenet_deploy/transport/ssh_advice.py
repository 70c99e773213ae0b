"""Error messages for refused SSH connections, with commands that work as they stand."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from shufflenet_deploy.errors import (
    AuthenticationError,
    DeployError,
    HostKeyError,
    NegotiationError,
)
from shufflenet_deploy.transport.ssh_options import ssh_program
from shufflenet_deploy.transport.ssh_route import Route

#: Keywords of ssh_config for the algorithms that are negotiated.
_KEYWORDS = {
    "key exchange": "KexAlgorithms",
    "host key": "HostKeyAlgorithms",
    "cipher": "Ciphers",
    "MAC": "MACs",
}


def unknown_host_key(
    route: Route, kind: str, key_base64: str | None, fingerprint: str
) -> HostKeyError:
    """The error for a key that ``known_hosts`` does not list; the key itself if it is at hand."""
    shown = f": {kind} {fingerprint}" if fingerprint else ""
    key = f"{kind} {key_base64}" if key_base64 else None
    return HostKeyError(
        f"the host key of {route.address} is unknown{shown}. Compare it with "
        f"`ssh-keygen -lf` on the board, then {_accepting(route, key)}"
    )


def certificate_needed(route: Route) -> HostKeyError:
    """The error for a host that only an authority of ``known_hosts`` vouches for."""
    remedy = (
        "leave out --ssh-client paramiko"
        if ssh_program() is not None
        else "install it (apt-get install openssh-client)"
    )
    return HostKeyError(
        f"only a @cert-authority of known_hosts vouches for the host key of {route.address}, and "
        f"certificates are for OpenSSH's client: {remedy}"
    )


def changed_host_key(route: Route, shown: str, path: Path, line: int) -> HostKeyError:
    """The error for a key that is not the one ``known_hosts`` lists at that line."""
    return HostKeyError(
        f"THE HOST KEY OF {route.address} HAS CHANGED: it shows {shown}, but {path}:{line} lists "
        "another. Someone may be in between, or the board was reinstalled; if you know that it "
        f"was, forget the old key with: {_forgetting(route, path, line)}"
    )


def nothing_in_common(
    route: Route, what: str, theirs: Sequence[str], ours: Sequence[str] | None
) -> NegotiationError:
    """The error for a server that allows nothing this client has.

    ``ours`` is what paramiko has; None stands for OpenSSH with what its configuration allows.
    """
    keyword = _KEYWORDS.get(what, what)
    if ours is None:
        ours = route.algorithms.get(keyword.lower(), ())
        remedy = f"if you must, allow one in ~/.ssh/config: {keyword} +{theirs[0]}"
    elif ssh_program() is None:
        remedy = "OpenSSH's client may have one: apt-get install openssh-client"
    else:
        remedy = "OpenSSH's client may have one: --ssh-client openssh"
    lacks = f"this client has {', '.join(ours)}; " if ours else ""
    return NegotiationError(
        f"{route.address} allows no {what} algorithm that this client has: it allows "
        f"{', '.join(theirs)}; {lacks}{remedy}"
    )


def refused_login(
    route: Route, methods: Sequence[str], tried: int, remarks: Sequence[str]
) -> AuthenticationError:
    """The error for a login that failed; ``methods`` are those that the server allows."""
    who = f"{route.user}@{route.address}"
    if methods and "publickey" not in methods:
        return AuthenticationError(
            f"{who} accepts no keys, only {', '.join(methods)}: enable PubkeyAuthentication in "
            "its sshd_config"
        )
    explained = "".join(f"; {remark}" for remark in remarks)
    if not tried and remarks:
        return AuthenticationError(f"no key could be offered to {who}{explained}")
    if "ssh-add" in explained:
        return AuthenticationError(f"{who} accepts none of the other keys{explained}")
    offered = f"none of the {tried} keys offered" if tried != 1 else "not the key offered"
    return AuthenticationError(f"{who} accepts {offered}{explained}; {_copying(route, methods)}")


def beyond_paramiko(error: DeployError) -> DeployError:
    """The error where OpenSSH's client is not used, and may log in."""
    if not isinstance(error, AuthenticationError) or "OpenSSH" in str(error):
        return error
    ways = "--ssh-client openssh" if ssh_program() else "apt-get install openssh-client"
    return AuthenticationError(f"{error}; OpenSSH's client may be let in: {ways}")


def unusable_key(path: Path, *, known: bool) -> str:
    """Explain why a file yields no key; ``known`` if OpenSSH can use it (a security key)."""
    if not known:
        return f"{path} is not a private key"
    return f"{path} is not a private key that paramiko can use"


def encrypted_key(path: Path, agent: Path | None) -> str:
    """Advise on a key that has a passphrase."""
    add = shlex.join(("ssh-add", str(path)))
    if agent is None or not agent.is_socket():
        add = f'eval "$(ssh-agent)" && {add}'
    elif str(agent) != os.environ.get("SSH_AUTH_SOCK"):
        add = f"SSH_AUTH_SOCK={shlex.quote(str(agent))} {add}"
    return f"the key {path} is encrypted: load it with `{add}`"


def _accepting(route: Route, key: str | None) -> str:
    """Return the command that adds a host key to ``known_hosts``."""
    if key is None or ssh_program() is not None:
        return f"accept it once with: {shlex.join(route.accept_argv)}"
    file = route.known_hosts[0]
    line = shlex.quote(f"{route.host_key_name} {key}")
    return f"accept it with: echo {line} >>{shlex.quote(str(file))}"


def _forgetting(route: Route, path: Path, line: int) -> str:
    """Return the command that deletes a line of ``known_hosts``, wildcards included."""
    names = ""
    with contextlib.suppress(OSError, IndexError):
        names = path.read_text(encoding="utf-8", errors="replace").splitlines()[line - 1].split()[0]
    argv = ["ssh-keygen", "-f", str(path), "-R", route.host_key_name]
    if re.search(r"[*?!]", names):
        argv = ["sed", "-i", f"{line}d", str(path)]
    if not os.access(path, os.W_OK):
        argv.insert(0, "sudo")
    return shlex.join(argv)


def _copying(route: Route, methods: Sequence[str]) -> str:
    """Return the command that installs a key on the host."""
    key = next((path for path in route.identity_files if path.is_file()), None)
    if key is None:
        return "make a key with `ssh-keygen -t ed25519`, then copy it there with ssh-copy-id"
    public = key if key.suffix == ".pub" else key.with_name(f"{key.name}.pub")
    if not {"password", "keyboard-interactive"} & set(methods):
        return (
            f"it takes no password either: append {public} to ~/.ssh/authorized_keys there, or to "
            f"the AuthorizedKeysFile of its sshd_config"
        )
    options: list[str] = []
    words = iter(route.accept_argv[1:-1])
    for word in words:
        if word == "-J":
            options += ("-o", f"ProxyJump={next(words)}")
        elif word == "-i":
            next(words)
        else:
            options.append(word)
    argv = ("ssh-copy-id", "-i", str(public), *options)
    return f"copy one there with: {shlex.join(argv)}"
