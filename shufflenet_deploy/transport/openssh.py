"""SSH connections made by OpenSSH's own client: one control connection, one session per program.

For what paramiko lacks: ciphers, key exchanges, host certificates, GSSAPI, security keys, smart
cards. ``ssh -M`` holds the connection; every program and file gets a session of it. Nothing is ever
asked for, and host keys are checked in spite of the configuration.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO

from shufflenet_deploy.errors import (
    ConnectError,
    UsageError,
)
from shufflenet_deploy.transport.openssh_errors import translated
from shufflenet_deploy.transport.ssh_options import ssh_program
from shufflenet_deploy.transport.ssh_route import Route

#: Beyond the time to connect: a slow board's key exchange, a touch of a security key.
_LOGIN_SECS = 60.0
_POLL_SECS = 0.02
_ASK_SECS = 10.0
_CLOSE_SECS = 5.0
_SESSION_SECS = 60.0
#: A server with a limit on sessions notices a little late that one has ended.
_FREE_SESSION_SECS = 2.0
_RETRY_SECS = 0.1
_SHORT = "/tmp"  # noqa: S108 - a folder of our own is made there
#: Exit status of ``ssh`` when it fails itself, and when a program on the target does so.
_FAILED = 255
#: First words of ``ssh`` when it gets no session over the control connection.
_OWN_COMPLAINTS = (b"mux_client", b"Control socket", b"ControlSocket", b"muxclient", b"kex_exch")

#: Holds for every hop, whatever the configuration asks for.
_ALWAYS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "NoHostAuthenticationForLocalhost": "no",
    "ControlPersist": "no",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "PermitLocalCommand": "no",
    "RemoteCommand": "none",
    "RequestTTY": "no",
    "Tunnel": "no",
    "UpdateHostKeys": "no",
    "ServerAliveInterval": "15",
    "ServerAliveCountMax": "4",
}
#: Prints the key that the host shows and the keys that it was offered.
_DIAGNOSTICS = "DEBUG1"

# Holds the connection for as long as our process has this script's standard input open, so that it
# ends with us, whatever ends us.
_HOLD = """\
exec 3<&0
"$@" 3<&- </dev/null &
connection=$!
{ read -r _ <&3; kill "$connection"; } 2>/dev/null &
watch=$!
exec 3<&-
wait "$connection"
code=$?
kill "$watch" 2>/dev/null
exit "$code"
"""


class Channel:
    """One session: the ``ssh`` process that carries its streams."""

    def __init__(self, link: Link, process: subprocess.Popen[bytes], early: bytes) -> None:
        self._link = link
        self._process = process
        self._early = early

    def recv(self, size: int) -> bytes:
        """Read what the program wrote to standard output; empty at its end."""
        return _read(self._process.stdout, size)

    def recv_stderr(self, size: int) -> bytes:
        """Read what the program wrote to standard error; empty at its end."""
        if self._early:
            early, self._early = self._early, b""
            return early
        return _read(self._process.stderr, size)

    def sendall(self, content: bytes) -> None:
        """Write to the program's standard input."""
        if self._process.stdin is None or self._process.stdin.closed:
            raise BrokenPipeError
        view = memoryview(content)
        while view:
            view = view[os.write(self._process.stdin.fileno(), view) :]

    def shutdown_write(self) -> None:
        """End the program's standard input."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def wait(self, timeout_secs: float) -> bool:
        """Wait for the end; return True if it came in time."""
        try:
            self._process.wait(timeout_secs)
        except subprocess.TimeoutExpired:
            return False
        return True

    def exit_code(self) -> int | None:
        """The exit status after the end; None when the connection was lost before it."""
        code = self._process.returncode
        return None if code < 0 or (code == _FAILED and not self._link.is_alive()) else code

    def close(self) -> None:
        """End the session; its program's streams are closed."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        # Standard input alone: threads may still be reading the others.
        self.shutdown_write()


class Link:
    """An authenticated connection that an ``ssh`` process holds."""

    #: What using a connection that is gone raises.
    broken: tuple[type[Exception], ...] = (OSError, ValueError)

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._socket = folder / "control"
        self._holder: subprocess.Popen[bytes] | None = None

    def open(self, route: Route) -> None:
        """Connect.

        Raises:
            TransportError: of the kind that fits the output of ``ssh``.
        """
        log = self._folder / "log"
        argv = _connecting(self._program, route, self._socket)
        with log.open("wb") as stream:
            self._holder = subprocess.Popen(
                ["/bin/sh", "-c", _HOLD, "sh", *argv],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=stream,
                start_new_session=True,  # Ctrl-C is ours: the link ends what runs there
                # A chain of hops is quoted for a POSIX shell.
                env={**os.environ, **({"SHELL": "/bin/sh"} if route.jumps else {})},
            )
        limit_secs = sum(hop.connect_timeout_secs + _LOGIN_SECS for hop in route.hops)
        deadline = time.monotonic() + limit_secs
        while not self._socket.exists():
            if self._holder.poll() is not None:
                raise translated(route, log.read_text(encoding="utf-8", errors="replace"))
            if time.monotonic() > deadline:
                raise ConnectError(
                    f"{route.address} did not complete the login within {limit_secs:.0f} s: try "
                    f"`{shlex.join((*route.ssh_argv, 'true'))}`"
                )
            time.sleep(_POLL_SECS)

    def start(self, line: bytes, host: str) -> Channel:
        """Run a command line; the channel that carries its streams.

        Raises:
            ConnectError: the connection is gone, or the server refuses another session.
        """
        deadline = time.monotonic() + _FREE_SESSION_SECS
        while True:
            process = self._session(line)
            early, refused = _beginning(process)
            if not refused:
                return Channel(self, process, early)
            if not self.is_alive():
                raise ConnectError(
                    f"the connection to {host} was lost: check the link and its power, then run "
                    "again"
                )
            if time.monotonic() > deadline:
                raise ConnectError(f"{host} refuses to run another program: {_last_line(early)}")
            time.sleep(_RETRY_SECS)

    def is_alive(self) -> bool:
        """Return True while the connection is open."""
        if self._holder is None or self._holder.poll() is not None:
            return False
        try:
            asked = subprocess.run(
                [*self._client(), "-O", "check", "target"],
                check=False,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=_ASK_SECS,
            )
        except subprocess.TimeoutExpired:
            return False
        return asked.returncode == 0

    def close(self) -> None:
        """Drop the connection."""
        holder, self._holder = self._holder, None
        if holder is not None:
            if holder.stdin is not None:
                holder.stdin.close()
            try:
                holder.wait(_CLOSE_SECS)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(holder.pid, signal.SIGKILL)
                holder.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _client(self) -> tuple[str, ...]:
        # Over the control connection or not at all: alone, `ssh` would make a new one.
        path = str(self._socket).replace("%", "%%")
        only = ("-o", "ProxyCommand=false", "-o", "LogLevel=ERROR")
        return (self._program, "-F", "none", "-S", path, "-T", *only)

    def _session(self, line: bytes) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*map(os.fsencode, self._client()), b"--", b"target", line],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )


def open_link(route: Route) -> Link:
    """Connect to a host with OpenSSH's client.

    Raises:
        UsageError: it is not installed.
        ConnectError: nothing answers, or not with SSH.
        NegotiationError: the server allows nothing that this client has.
        HostKeyError: a host key is unknown, changed or revoked.
        AuthenticationError: the login was refused.
    """
    program = ssh_program()
    if program is None:
        raise UsageError("there is no ssh program: install it (apt-get install openssh-client)")
    # The path of a socket may have 107 bytes, which the usual folder for these can exceed.
    short = _SHORT if os.access(_SHORT, os.W_OK) else None
    try:
        link = Link(program, Path(tempfile.mkdtemp(prefix="sd-ssh-", dir=short)))
    except OSError as error:
        raise UsageError(f"no folder for a control socket: {error}; set TMPDIR") from error
    try:
        link.open(route)
    except BaseException:
        link.close()
        raise
    return link


def _connecting(program: str, route: Route, control: Path) -> list[str]:
    """The argv that makes the control connection, through every hop under the same rules."""
    proxy: str | None = None
    quiet = ("-o", "LogLevel=INFO", "-S", "none")
    for hop in route.hops:
        options = {**_ALWAYS, "ConnectTimeout": str(max(1, round(hop.connect_timeout_secs)))}
        if not hop.keepalive:
            options["ServerAliveInterval"] = "0"
        if proxy is not None:
            options["ProxyCommand"] = proxy
        argv = [program, *hop.ssh_options]
        for keyword, value in options.items():
            argv += ("-o", f"{keyword}={value}")
        if hop is route:
            break
        words = [shlex.quote(word.replace("%", "%%")) for word in (*argv, *quiet)]
        proxy = " ".join((*words, "-W", "'[%h]:%p'", "--", shlex.quote(hop.ssh_host)))
    own = ("-o", f"LogLevel={_DIAGNOSTICS}", "-o", "ClearAllForwardings=yes", "-M", "-N", "-T")
    path = str(control).replace("%", "%%")
    return [*argv, *own, "-S", path, "--", route.ssh_host]


def _read(stream: IO[bytes] | None, size: int) -> bytes:
    """Read what there is; at the end the stream is closed."""
    if stream is None or stream.closed:
        return b""
    chunk = os.read(stream.fileno(), size)
    if not chunk:
        stream.close()
    return chunk


def _beginning(process: subprocess.Popen[bytes]) -> tuple[bytes, bool]:
    """Wait until a session begins; return its first standard error, and True if refused."""
    if process.stdout is None or process.stderr is None:
        return b"", False
    waiting = select.poll()
    for stream in (process.stdout, process.stderr):
        waiting.register(stream, select.POLLIN)
    ready = {number for number, _ in waiting.poll(_SESSION_SECS * 1e3)}
    if ready != {process.stderr.fileno()}:
        return b"", False
    early = _read(process.stderr, 4096)
    if early and not early.startswith(_OWN_COMPLAINTS):
        return early, False
    while chunk := _read(process.stderr, 4096):
        early += chunk
    while _read(process.stdout, 4096):
        pass
    process.wait()
    if process.stdin is not None:
        process.stdin.close()
    return early, True


def _last_line(output: bytes) -> str:
    lines = output.decode("utf-8", "replace").strip().splitlines()
    return lines[-1].strip() if lines else "no reason given"
