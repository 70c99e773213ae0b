"""Making one SSH connection with paramiko: sockets, jumps, host keys, user keys.

Everything that paramiko raises is translated here. This module costs half a second to import.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko

from shufflenet_deploy.errors import (
    AuthenticationError,
    ConnectError,
    HostKeyError,
)
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
#: paramiko's names for the ways an RSA key signs; known_hosts knows the key itself only.
_RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")

# Without a handler, Python prints paramiko's tracebacks to the user's terminal.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


#: What paramiko raises when a connection is gone, from any of its calls.
BROKEN = (paramiko.SSHException, EOFError, OSError)


class Link:
    """An authenticated connection and the jumps it goes through."""

    broken = BROKEN

    def __init__(self, hops: list[_Hop]) -> None:
        self._hops = hops

    def start(self, line: bytes, host: str) -> Any:
        """Run a command line; the paramiko channel that carries its streams.

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
                return channel

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


def open_link(route: Route) -> Link:
    """Connect to a host through all its jumps.

    Raises:
        ConnectError: nothing answers, or not with SSH.
        HostKeyError: a host key is unknown, changed or revoked.
        AuthenticationError: no key is accepted.
        UsageError: the identity file cannot be used.
    """
    hops: list[_Hop] = []
    try:
        for step in (*_flattened(route.jumps), route):
            hops.append(_open_hop(step, hops[-1] if hops else None))
    except BaseException:
        Link(hops).close()
        raise
    return Link(hops)


def _flattened(jumps: tuple[Route, ...]) -> Iterator[Route]:
    for jump in jumps:
        yield from _flattened(jump.jumps)
        yield jump


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
        transport = paramiko.Transport(sock)
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


def _handshake(transport: paramiko.Transport, route: Route) -> None:
    """Exchange keys and check that the host is the one it was."""
    known = known_keys(route.known_hosts, route.host_key_name)
    transport.banner_timeout = _HANDSHAKE_SECS
    transport.auth_timeout = _HANDSHAKE_SECS
    transport.use_compression(route.compression)
    options = transport.get_security_options()
    # The server picks the first kind of key that we name: ask for one we can check.
    wanted = [
        name
        for key in known
        for name in (_RSA_SIGNATURES if key.kind == "ssh-rsa" else (key.kind,))
        if name in options.key_types and not key.revoked
    ]
    wanted = list(dict.fromkeys(wanted))
    options.key_types = [*wanted, *(name for name in options.key_types if name not in wanted)]
    try:
        transport.start_client(timeout=_HANDSHAKE_SECS)
        shown = transport.get_remote_server_key()
    except BROKEN as error:
        raise ConnectError(
            f"{route.address} does not complete an SSH handshake: {_reason(error)}; "
            "is that port sshd's?"
        ) from error
    _check_host_key(shown.get_name(), shown.asbytes(), known, route)


def _check_host_key(kind: str, blob: bytes, known: list[KnownKey], route: Route) -> None:
    shown = base64.b64encode(blob).decode()
    same = [key for key in known if key.key_base64 == shown]
    if any(key.revoked for key in same):
        raise HostKeyError(
            f"the {kind} key of {route.address} ({fingerprint(blob)}) is marked @revoked in "
            f"{same[0].path}: do not connect"
        )
    if same:
        return
    current = [key for key in known if not key.revoked]
    if not current:
        raise HostKeyError(
            f"the host key of {route.address} is unknown: {kind} {fingerprint(blob)}. Compare it "
            "with `ssh-keygen -lf` on the board, then accept it once with: "
            f"{shlex.join((*route.ssh_argv, 'exit'))}"
        )
    old = next((key for key in current if key.kind == kind), current[0])
    raise HostKeyError(
        f"THE HOST KEY OF {route.address} HAS CHANGED: it shows {kind} {fingerprint(blob)}, but "
        f"{old.path}:{old.line} lists another. Someone may be in between, or the board was "
        "reinstalled; if you know that it was, forget the old key with: "
        f"{shlex.join(('ssh-keygen', '-f', str(old.path), '-R', route.host_key_name))}"
    )


def _authenticate(transport: paramiko.Transport, route: Route) -> None:
    """Offer the user's keys one after another."""
    who = f"{route.user}@{route.address}"
    try:
        transport.auth_none(route.user)
    except paramiko.BadAuthenticationType as error:
        if "publickey" not in error.allowed_types:
            raise AuthenticationError(
                f"{who} accepts no keys, only {', '.join(error.allowed_types)}: enable "
                "PubkeyAuthentication in its sshd_config"
            ) from error
    except BROKEN as error:
        raise ConnectError(f"{who} broke off the login: {_reason(error)}") from error
    else:
        return  # A board whose user needs no password at all.
    remarks: list[str] = []
    tried = 0
    with _agent() as agent:
        for key in _candidates(route, agent, remarks):
            tried += 1
            try:
                if not transport.auth_publickey(route.user, key):
                    return
                remarks.append("it asks for a second factor, which is not supported")
            except BROKEN as error:
                _refuse_broken_link(transport, who, error, tried=tried)
                if isinstance(error, paramiko.AuthenticationException):
                    continue
                if transport.is_active():
                    remarks.append(_reason(error))
                    continue
                remarks.append(f"it hung up after {tried} keys: name one with IdentityFile")
                break
    hint = f"copy one there with: {shlex.join(('ssh-copy-id', *route.ssh_argv[1:]))}"
    offered = f"none of the {tried} keys offered" if tried != 1 else "not the key offered"
    raise AuthenticationError(
        f"{who} accepts {offered}" + "".join(f"; {remark}" for remark in remarks) + f"; {hint}"
    )


def _refuse_broken_link(
    transport: paramiko.Transport, who: str, error: BaseException, *, tried: int
) -> None:
    """Raise what a broken link is; paramiko says "authentication failed" of it, too.

    After several keys it is more likely that the server has had enough of them.
    """
    if tried == 1 and not transport.is_active():
        raise ConnectError(f"{who} broke off the login: {_reason(error)}") from error


@contextlib.contextmanager
def _agent() -> Iterator[paramiko.Agent | None]:
    """The running ssh-agent, if there is one that answers."""
    path = os.environ.get("SSH_AUTH_SOCK")
    try:
        if path:
            # paramiko forgets to close its socket when the path leads nowhere.
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(path)
        agent = paramiko.Agent()
    except (paramiko.SSHException, OSError):
        yield None
        return
    try:
        yield agent
    finally:
        agent.close()


def _candidates(
    route: Route, agent: paramiko.Agent | None, remarks: list[str]
) -> Iterator[paramiko.PKey]:
    """The keys to offer: identity files first, by the agent where it holds them, then the rest.

    Why a file gives no key is appended to ``remarks``.
    """
    held = {key.blob: key for key in agent.get_keys()} if agent is not None else {}
    for path in route.identity_files:
        public = _public_blob(path)
        if public in held:
            yield held.pop(public)
            continue
        try:
            yield paramiko.PKey.from_path(path)
        except FileNotFoundError:
            remarks.append(f"there is no key at {path}")
        except (TypeError, paramiko.PasswordRequiredException):
            remarks.append(f"the key {path} is encrypted: load it with `ssh-add {path}`")
        except OSError as error:
            remarks.append(f"cannot read the key {path}: {error.strerror}")
        except (ValueError, paramiko.SSHException, paramiko.pkey.UnknownKeyType):
            remarks.append(f"{path} is not a private key that can be read")
    if route.use_agent and not route.identities_only:
        yield from held.values()


def _public_blob(path: Path) -> bytes | None:
    """The public half that stands beside an identity file."""
    public = path if path.suffix == ".pub" else path.with_name(f"{path.name}.pub")
    with contextlib.suppress(OSError, ValueError, IndexError):
        return base64.b64decode(public.read_text(encoding="utf-8").split()[1])
    return None


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
