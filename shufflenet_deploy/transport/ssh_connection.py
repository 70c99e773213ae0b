"""Making one SSH connection with paramiko: sockets, jumps, host keys, user keys.

Everything that paramiko raises is translated here. This module costs half a second to import.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from shufflenet_deploy.errors import (
    ConnectError,
    DeployError,
    HostKeyError,
    NegotiationError,
)
from shufflenet_deploy.transport import ssh_advice, ssh_keys
from shufflenet_deploy.transport.base import SIGNAL_BASE
from shufflenet_deploy.transport.known_hosts import KnownKey, fingerprint, known_keys
from shufflenet_deploy.transport.ssh_config import Route

# An emulated board needs seconds for a key exchange.
_HANDSHAKE_SECS = 60.0
_KEEPALIVE_SECS = 15
_CLOSE_SECS = 5.0
#: The kernel drops the connection when sent data stays unacknowledged for this long.
_SILENCE_MS = 60_000
#: A server with a limit on channels notices a little late that one has ended.
_FREE_CHANNEL_SECS = 2.0
_RETRY_SECS = 0.1
#: What paramiko says of a key that the server does not accept.
_PLAIN_REFUSAL = "Authentication failed."
_KILLED = SIGNAL_BASE + 9
#: paramiko's names for the ways an RSA key signs; known_hosts knows the key itself only.
_RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")

# Without a handler, Python prints paramiko's tracebacks to the user's terminal.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


#: What paramiko raises when a connection is gone, from any of its calls.
BROKEN = (paramiko.SSHException, EOFError, OSError)


class BeyondParamikoError(Exception):
    """OpenSSH's client may do what this one cannot; ``error`` is for where it is not used."""

    def __init__(self, error: DeployError) -> None:
        super().__init__(str(error))
        self.error = error


class Channel:
    """One running program: paramiko's channel, and how it ended."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self.recv = channel.recv
        self.recv_stderr = channel.recv_stderr
        self.sendall = channel.sendall
        self.shutdown_write = channel.shutdown_write
        self.close = channel.close

    def wait(self, timeout_secs: float) -> bool:
        """Wait for the end; whether it came."""
        return bool(self._channel.status_event.wait(timeout_secs))

    def exit_code(self) -> int | None:
        """The exit status after the end; None when the connection was lost before it."""
        code: int = self._channel.exit_status
        if code >= 0:
            return code
        # No status on a live connection: a signal ended even the shell around the program.
        return _KILLED if self._channel.transport.is_active() else None


class Link:
    """An authenticated connection and the jumps it goes through."""

    broken: tuple[type[Exception], ...] = BROKEN

    def __init__(self, hops: list[_Hop]) -> None:
        self._hops = hops

    def start(self, line: bytes, host: str) -> Channel:
        """Run a command line; the channel that carries its streams.

        Raises:
            ConnectError: the connection is gone, or the server refuses another channel.
        """
        transport = self._hops[-1].transport
        deadline = time.monotonic() + _FREE_CHANNEL_SECS
        while True:
            try:
                channel = transport.open_session(timeout=_HANDSHAKE_SECS)
                channel.exec_command(line)
            except BROKEN as error:
                if not transport.is_active():
                    raise ConnectError(
                        f"the connection to {host} was lost: check the link and its power, then "
                        "run again"
                    ) from error
                if time.monotonic() > deadline:
                    raise ConnectError(
                        f"{host} refuses to run another program: {_reason(error)}"
                    ) from error
                time.sleep(_RETRY_SECS)
            else:
                return Channel(channel)

    def close(self) -> None:
        """Drop the connection, then its jumps."""
        for hop in reversed(self._hops):
            hop.close()


@dataclass
class _Hop:
    """One SSH connection and the local program that may carry its bytes."""

    transport: paramiko.Transport
    proxy: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        _drop(self.transport)
        if self.proxy is not None:
            self.proxy.terminate()
            self.proxy.wait()


def needs_openssh(route: Route) -> bool:
    """Return True if only OpenSSH's client can connect: host certificates, keys on a token."""
    trusted = _Trusted.of(route)
    by_authority = trusted.by_authority and not any(not key.revoked for key in trusted.keys)
    return by_authority or any(map(ssh_keys.is_token_key, route.identity_files))


def open_link(route: Route) -> Link:
    """Connect to a host through all its jumps.

    Raises:
        ConnectError: nothing answers, or not with SSH.
        HostKeyError: a host key is unknown, changed or revoked.
        AuthenticationError: no key is accepted.
        BeyondParamikoError: one of these, and OpenSSH's client may have more luck.
    """
    hops: list[_Hop] = []
    try:
        for step in route.hops:
            hops.append(_open_hop(step, hops[-1] if hops else None))
    except BaseException:
        Link(hops).close()
        raise
    return Link(hops)


def _open_hop(route: Route, through: _Hop | None) -> _Hop:
    proxy = None
    if through is not None:
        sock: Any = _forwarded(route, through)
    elif route.proxy_command:
        sock, proxy = _proxied(route.proxy_command)
    else:
        sock = _socket(route)
    transport = None
    try:
        transport = _Transport(sock)
        _handshake(transport, route)
        _authenticate(transport, route)
        if route.keepalive:
            transport.set_keepalive(_KEEPALIVE_SECS)
        return _Hop(transport, proxy)
    except BaseException:
        if transport is not None:
            _drop(transport)
        sock.close()
        if proxy is not None:
            proxy.terminate()
            proxy.wait()
        raise


def _drop(transport: paramiko.Transport) -> None:
    """Close a connection and see its thread end."""
    transport.close()
    if transport.is_alive():
        transport.join(_CLOSE_SECS)


def _socket(route: Route) -> socket.socket:
    try:
        sock = socket.create_connection(
            (route.hostname, route.port), timeout=route.connect_timeout_secs
        )
    except socket.gaierror as error:
        raise ConnectError(
            f"{route.hostname} is not a known host name: check its spelling, or use its IP address"
        ) from error
    except TimeoutError as error:
        raise ConnectError(
            f"{route.address} did not answer within {route.connect_timeout_secs:g} s: is it on, "
            "and on this network?"
        ) from error
    except ConnectionRefusedError as error:
        raise ConnectError(
            f"{route.address} refused the connection: is sshd running there, on that port?"
        ) from error
    except OSError as error:
        raise ConnectError(f"cannot reach {route.address}: {error.strerror or error}") from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENCE_MS)
    return sock


def _forwarded(route: Route, through: _Hop) -> Any:
    """A connection that the jump host makes for us."""
    try:
        return through.transport.open_channel(
            "direct-tcpip",
            (route.hostname, route.port),
            ("127.0.0.1", 0),
            timeout=route.connect_timeout_secs,
        )
    except BROKEN as error:
        raise ConnectError(
            f"the jump host cannot reach {route.address}: {_reason(error)}"
        ) from error


def _proxied(command: str) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """The user's ProxyCommand with a socket for its standard input and output."""
    ours, theirs = socket.socketpair()
    with theirs:
        proxy = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"], stdin=theirs.fileno(), stdout=theirs.fileno()
        )
    return ours, proxy


class _Transport(paramiko.Transport):  # type: ignore[misc]
    """Remembers what the server offers, which paramiko drops when nothing of it fits."""

    offered: Mapping[str, Sequence[str]] = {}

    def _really_parse_kex_init(self, m: Any, ignore_first_byte: bool = False) -> Any:  # noqa: FBT001, FBT002
        parsed = super()._really_parse_kex_init(m, ignore_first_byte)
        self.offered = parsed
        return parsed


@dataclass(frozen=True)
class _Trusted:
    """Entries of ``known_hosts`` for a host: at its port, and for every port."""

    named: list[KnownKey]
    plain: list[KnownKey] = field(default_factory=list)

    @classmethod
    def of(cls, route: Route) -> _Trusted:
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


def _handshake(transport: _Transport, route: Route) -> None:
    """Exchange keys and check that the host is the one it was."""
    trusted = _Trusted.of(route)
    transport.banner_timeout = _HANDSHAKE_SECS
    transport.auth_timeout = _HANDSHAKE_SECS
    transport.use_compression(route.compression)
    _limit_algorithms(transport, route, trusted)
    try:
        transport.start_client(timeout=_HANDSHAKE_SECS)
        shown = transport.get_remote_server_key()
    except IncompatiblePeer as error:
        raise BeyondParamikoError(_nothing_in_common(transport, route)) from error
    except BROKEN as error:
        raise ConnectError(
            f"{route.address} does not complete an SSH handshake: {_reason(error)}; "
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


def _limit_algorithms(transport: paramiko.Transport, route: Route, trusted: _Trusted) -> None:
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


def _nothing_in_common(transport: _Transport, route: Route) -> NegotiationError:
    """List the algorithms that the server allows and this client lacks."""
    options = transport.get_security_options()
    for what, (_, name, offered) in _NEGOTIATED.items():
        theirs, ours = transport.offered.get(offered, ()), getattr(options, name)
        if theirs and not set(theirs) & set(ours):
            return ssh_advice.nothing_in_common(route, what, theirs, ours)
    return NegotiationError(f"{route.address} and this client have no algorithm in common")


def _check_host_key(kind: str, blob: bytes, trusted: _Trusted, route: Route) -> None:
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


def _authenticate(transport: paramiko.Transport, route: Route) -> None:
    """Offer the user's keys one after another."""
    who = f"{route.user}@{route.address}"
    try:
        transport.auth_none(route.user)
    except paramiko.BadAuthenticationType as error:
        methods = tuple(error.allowed_types)
    except BROKEN as error:
        raise ConnectError(f"{who} broke off the login: {_reason(error)}") from error
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
    """Offer the keys; whether one is accepted."""
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
                    refused.remarks.append(_reason(error))
                    refused.beyond = True
            except BROKEN as error:
                _refuse_broken_link(transport, route, error, tried=refused.tried)
                if transport.is_active():
                    refused.remarks.append(_reason(error))
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
    """Raise what a broken link is; paramiko says "authentication failed" of it, too.

    After several keys it is more likely that the server has had enough of them.
    """
    if tried == 1 and not transport.is_active():
        who = f"{route.user}@{route.address}"
        raise ConnectError(f"{who} broke off the login: {_reason(error)}") from error


@contextlib.contextmanager
def _agent(route: Route) -> Iterator[_Agent | None]:
    """The agent of a route, if there is one that answers."""
    if route.agent_socket is None:
        yield None
        return
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_HANDSHAKE_SECS)
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


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
