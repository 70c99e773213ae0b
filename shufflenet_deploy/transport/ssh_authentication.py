"""SSH user authentication with paramiko: keys of files and of the ssh-agent, one after another.

Everything that paramiko raises is translated here. This module costs half a second to import.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import paramiko

from shufflenet_deploy.errors import ConnectError
from shufflenet_deploy.transport import ssh_advice, ssh_keys
from shufflenet_deploy.transport.ssh_handshake import (
    BROKEN,
    HANDSHAKE_SECS,
    BeyondParamikoError,
    reason,
)
from shufflenet_deploy.transport.ssh_route import Route

#: paramiko's message for a key that the server does not accept.
_PLAIN_REFUSAL = "Authentication failed."


def authenticate(transport: paramiko.Transport, route: Route) -> None:
    """Offer the user's keys one after another."""
    who = f"{route.user}@{route.address}"
    try:
        transport.auth_none(route.user)
    except paramiko.BadAuthenticationType as error:
        methods = tuple(error.allowed_types)
    except BROKEN as error:
        raise ConnectError(f"{who} broke off the login: {reason(error)}") from error
    else:
        return  # A board whose user needs no password at all.
    refused = _Refused()
    if "publickey" in methods and _offered(transport, route, refused):
        return
    refusal = ssh_advice.refused_login(route, methods, refused.tried, refused.remarks)
    if refused.beyond or set(methods) & set(route.ssh_methods):
        raise BeyondParamikoError(refusal)
    raise refusal


@dataclass
class _Refused:
    """Reasons why no key was accepted; ``beyond`` if OpenSSH could have offered more."""

    remarks: list[str] = field(default_factory=list)
    tried: int = 0
    beyond: bool = False


def _offered(transport: paramiko.Transport, route: Route, refused: _Refused) -> bool:
    """Offer the keys; return True if one is accepted."""
    with _agent(route) as agent:
        for key in _candidates(route, agent, refused):
            refused.tried += 1
            # A certificate that paramiko presents is another's to get right.
            refused.beyond |= key.public_blob is not None or _is_beyond(key.get_name())
            try:
                if not transport.auth_publickey(route.user, key):
                    return True
                refused.remarks.append("it asks for a second factor, which is not supported")
                refused.beyond = True
            except paramiko.AuthenticationException as error:
                _refuse_broken_link(transport, route, error, tried=refused.tried)
                refused.beyond |= _is_signed_anew(key, route)
                if str(error) != _PLAIN_REFUSAL:
                    refused.remarks.append(reason(error))
                    refused.beyond = True
            except BROKEN as error:
                _refuse_broken_link(transport, route, error, tried=refused.tried)
                if transport.is_active():
                    refused.remarks.append(reason(error))
                    refused.beyond = True
                    continue
                refused.remarks.append(
                    f"it hung up after {refused.tried} keys: name one with IdentityFile"
                )
                break
    return False


def _is_beyond(kind: str) -> bool:
    """Return True for a kind of key that paramiko may fail to offer correctly."""
    return "-cert-" in kind or kind.startswith("sk-")


def _is_signed_anew(key: paramiko.PKey, route: Route) -> bool:
    """Return True if OpenSSH may fall back to SHA-1 signatures, which paramiko no longer makes."""
    rsa = "ssh-rsa"
    return key.get_name() == rsa and rsa in route.algorithms.get("pubkeyacceptedalgorithms", ())


class _Agent(paramiko.agent.AgentSSH):  # type: ignore[misc]
    """The ssh-agent that listens on one socket."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connect(connection)


def _refuse_broken_link(
    transport: paramiko.Transport, route: Route, error: BaseException, *, tried: int
) -> None:
    """Raise ConnectError for a broken link, which paramiko also calls "authentication failed".

    After several keys it is more likely that the server has had enough of them.
    """
    if tried == 1 and not transport.is_active():
        who = f"{route.user}@{route.address}"
        raise ConnectError(f"{who} broke off the login: {reason(error)}") from error


@contextlib.contextmanager
def _agent(route: Route) -> Iterator[_Agent | None]:
    """The agent of a route, if there is one that answers."""
    if route.agent_socket is None:
        yield None
        return
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(HANDSHAKE_SECS)
        try:
            connection.connect(str(route.agent_socket))
            agent = _Agent(connection)
        except (paramiko.SSHException, OSError):
            agent = None
        yield agent


def remarks_on_keys(route: Route) -> list[str]:
    """Explain why identity files of a route yield no key."""
    refused = _Refused()
    with _agent(route) as agent:
        for _ in _candidates(route, agent, refused):
            pass
    return refused.remarks


def _candidates(route: Route, agent: _Agent | None, refused: _Refused) -> Iterator[paramiko.PKey]:
    """The keys to offer: identity files first, by the agent where it holds them, then the rest.

    Each comes with its certificates, then alone. Why a file gives no key is noted.
    """
    held = {key.blob: key for key in agent.get_keys()} if agent is not None else {}
    for path in route.identity_files:
        public = ssh_keys.public_blob(path)
        key: paramiko.PKey
        if public in held:
            key = held.pop(public)
        else:
            found = _read_key(path, route, refused)
            if found is None:
                continue
            key = found
        for certificate in ssh_keys.certificates(key, path, route.certificate_files):
            key.load_certificate(str(certificate))
            yield key
        key.public_blob = None
        yield key
    if not route.identities_only:
        yield from held.values()


def _read_key(path: Path, route: Route, refused: _Refused) -> paramiko.PKey | None:
    try:
        return ssh_keys.private_key(path)
    except FileNotFoundError:
        refused.remarks.append(f"there is no key at {path}")
    except ssh_keys.EncryptedKeyError:
        refused.remarks.append(ssh_advice.encrypted_key(path, route.agent_socket))
    except OSError as error:
        refused.remarks.append(f"cannot read the key {path}: {error.strerror}")
    except ssh_keys.UnusableKeyError as error:
        refused.beyond |= error.known
        refused.remarks.append(ssh_advice.unusable_key(path, known=error.known))
    return None
