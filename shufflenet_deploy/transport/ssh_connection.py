"""SSH connections with paramiko: sockets, proxies, jumps, and the channels of programs.

``ssh_handshake`` verifies the host, ``ssh_authentication`` logs the user in. Everything that
paramiko raises is translated. This module costs half a second to import.
"""

from __future__ import annotations

import socket
import subprocess
import time
from dataclasses import dataclass
from typing import Any

import paramiko

from shufflenet_deploy.errors import ConnectError
from shufflenet_deploy.transport import ssh_keys
from shufflenet_deploy.transport.base import SIGNAL_BASE
from shufflenet_deploy.transport.ssh_authentication import authenticate
from shufflenet_deploy.transport.ssh_handshake import (
    BROKEN,
    HANDSHAKE_SECS,
    Transport,
    TrustedKeys,
    handshake,
    reason,
)
from shufflenet_deploy.transport.ssh_route import Route

_KEEPALIVE_SECS = 15
_CLOSE_SECS = 5.0
#: The kernel drops the connection when sent data stays unacknowledged for this long.
_SILENCE_MS = 60_000
#: A server with a limit on channels notices a little late that one has ended.
_FREE_CHANNEL_SECS = 2.0
_RETRY_SECS = 0.1
_KILLED = SIGNAL_BASE + 9


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
        """Wait for the end; return True if it came in time."""
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
                channel = transport.open_session(timeout=HANDSHAKE_SECS)
                channel.exec_command(line)
            except BROKEN as error:
                if not transport.is_active():
                    raise ConnectError(
                        f"the connection to {host} was lost: check the link and its power, then "
                        "run again"
                    ) from error
                if time.monotonic() > deadline:
                    raise ConnectError(
                        f"{host} refuses to run another program: {reason(error)}"
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
    trusted = TrustedKeys.of(route)
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
        transport = Transport(sock)
        handshake(transport, route)
        authenticate(transport, route)
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
            f"the jump host cannot reach {route.address}: {reason(error)}"
        ) from error


def _proxied(command: str) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """The user's ProxyCommand with a socket for its standard input and output."""
    ours, theirs = socket.socketpair()
    with theirs:
        proxy = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"], stdin=theirs.fileno(), stdout=theirs.fileno()
        )
    return ours, proxy
