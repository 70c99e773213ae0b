"""SSH handshake with paramiko: negotiation of algorithms, verification of the host key.

Everything that paramiko raises is translated here. This module costs half a second to import.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from shufflenet_deploy.errors import ConnectError, DeployError, HostKeyError, NegotiationError
from shufflenet_deploy.transport import ssh_advice
from shufflenet_deploy.transport.known_hosts import KnownKey, fingerprint, known_keys
from shufflenet_deploy.transport.ssh_route import Route

#: An emulated board needs seconds for a key exchange.
HANDSHAKE_SECS = 60.0
#: paramiko's names for the ways an RSA key signs; known_hosts knows the key itself only.
_RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")

# Without a handler, Python prints paramiko's tracebacks to the user's terminal.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

#: Exceptions of paramiko when a connection is gone, from any of its calls.
BROKEN = (paramiko.SSHException, EOFError, OSError)


class BeyondParamikoError(Exception):
    """OpenSSH's client may do what this one cannot; ``error`` is for where it is not used."""

    def __init__(self, error: DeployError) -> None:
        super().__init__(str(error))
        self.error = error


class Transport(paramiko.Transport):  # type: ignore[misc]
    """Remembers what the server offers, which paramiko drops when nothing of it fits."""

    offered: Mapping[str, Sequence[str]] = {}

    def _really_parse_kex_init(self, m: Any, ignore_first_byte: bool = False) -> Any:  # noqa: FBT001, FBT002
        parsed = super()._really_parse_kex_init(m, ignore_first_byte)
        self.offered = parsed
        return parsed


@dataclass(frozen=True)
class TrustedKeys:
    """Entries of ``known_hosts`` for a host: at its port, and for every port."""

    named: list[KnownKey]
    plain: list[KnownKey] = field(default_factory=list)

    @classmethod
    def of(cls, route: Route) -> TrustedKeys:
        named = known_keys(route.known_hosts, route.host_key_name)
        plain = route.plain_key_name
        if plain is None or plain == route.host_key_name:
            return cls(named)
        return cls(named, known_keys(route.known_hosts, plain))

    @property
    def keys(self) -> list[KnownKey]:
        """Keys of the host itself, in the order that they count."""
        return [key for key in (*self.named, *self.plain) if not key.authority]

    @property
    def by_authority(self) -> bool:
        """True if host certificates are to be trusted, which OpenSSH alone checks."""
        return any(key.authority and not key.revoked for key in (*self.named, *self.plain))


def handshake(transport: Transport, route: Route) -> None:
    """Exchange keys and check that the host is the one it was."""
    trusted = TrustedKeys.of(route)
    transport.banner_timeout = HANDSHAKE_SECS
    transport.auth_timeout = HANDSHAKE_SECS
    transport.use_compression(route.compression)
    _limit_algorithms(transport, route, trusted)
    try:
        transport.start_client(timeout=HANDSHAKE_SECS)
        shown = transport.get_remote_server_key()
    except IncompatiblePeer as error:
        raise BeyondParamikoError(_nothing_in_common(transport, route)) from error
    except BROKEN as error:
        raise ConnectError(
            f"{route.address} does not complete an SSH handshake: {reason(error)}; "
            "is that port sshd's?"
        ) from error
    try:
        _check_host_key(shown.get_name(), shown.asbytes(), trusted, route)
    except HostKeyError as error:
        if trusted.by_authority:
            raise BeyondParamikoError(ssh_advice.certificate_needed(route)) from error
        raise


#: For messages and for ``ssh -G``: what is negotiated, and paramiko's name of what a server offers.
_NEGOTIATED = {
    "key exchange": ("kexalgorithms", "kex", "kex_algo_list"),
    "host key": ("hostkeyalgorithms", "key_types", "server_key_algo_list"),
    "cipher": ("ciphers", "ciphers", "server_encrypt_algo_list"),
    "MAC": ("macs", "digests", "server_mac_algo_list"),
}


def _limit_algorithms(transport: paramiko.Transport, route: Route, trusted: TrustedKeys) -> None:
    """Propose what the configuration allows, and first the kinds of keys that can be checked."""
    options = transport.get_security_options()
    for what, (keyword, name, _) in _NEGOTIATED.items():
        ours = getattr(options, name)
        allowed = route.algorithms.get(keyword, ours)
        common = [one for one in ours if one in allowed]
        if keyword == "hostkeyalgorithms":
            # The server picks the first kind of key that we name: ask for one we can check.
            wanted = [
                signature
                for key in trusted.keys
                for signature in (_RSA_SIGNATURES if key.kind == "ssh-rsa" else (key.kind,))
                if not key.revoked
            ]
            # Then as OpenSSH prefers, so that it shows the same key when it is asked to accept one.
            common.sort(key=list(allowed).index)
            common.sort(key=lambda one: wanted.index(one) if one in wanted else len(wanted))
        if not common:
            raise BeyondParamikoError(
                NegotiationError(
                    f"~/.ssh/config allows {route.address} no {what} algorithm that paramiko has: "
                    f"it allows {', '.join(allowed)}; paramiko has {', '.join(ours)}"
                )
            )
        setattr(options, name, common)


def _nothing_in_common(transport: Transport, route: Route) -> NegotiationError:
    """List the algorithms that the server allows and this client lacks."""
    options = transport.get_security_options()
    for what, (_, name, offered) in _NEGOTIATED.items():
        theirs, ours = transport.offered.get(offered, ()), getattr(options, name)
        if theirs and not set(theirs) & set(ours):
            return ssh_advice.nothing_in_common(route, what, theirs, ours)
    return NegotiationError(f"{route.address} and this client have no algorithm in common")


def _check_host_key(kind: str, blob: bytes, trusted: TrustedKeys, route: Route) -> None:
    shown = base64.b64encode(blob).decode()
    same = [key for key in trusted.keys if key.key_base64 == shown]
    revoked = next((key for key in same if key.revoked), None)
    if revoked is not None:
        raise HostKeyError(
            f"the {kind} key of {route.address} ({fingerprint(blob)}) is marked @revoked in "
            f"{revoked.path}: do not connect"
        )
    if same:
        return
    current = [key for key in trusted.named if not key.revoked and not key.authority]
    if not current:
        raise ssh_advice.unknown_host_key(route, kind, shown, fingerprint(blob))
    old = next((key for key in current if key.kind == kind), current[0])
    raise ssh_advice.changed_host_key(route, f"{kind} {fingerprint(blob)}", old.path, old.line)


def reason(error: BaseException) -> str:
    """Return an exception's message in one line."""
    return " ".join(str(error).split()) or type(error).__name__
