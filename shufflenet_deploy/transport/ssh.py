"""A machine over SSH: one authenticated connection, one channel per program or file.

The connection is paramiko's or, where that cannot serve, OpenSSH's own client's (``openssh``).

Files travel through a program as well (``cat`` with a checksum around it), so that a server without
an sftp subsystem, as on many small boards, needs no path of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Self

from shufflenet_deploy.atomic_files import replacing, sha256_file
from shufflenet_deploy.errors import (
    CommandTimeout,
    ConnectError,
    HostKeyError,
    NegotiationError,
    TargetError,
    TransferError,
    TransportError,
    UsageError,
)
from shufflenet_deploy.transport import shell_scripts, ssh_advice
from shufflenet_deploy.transport.base import CommandResult, Progress, Transport
from shufflenet_deploy.transport.ssh_exchange import CHUNK_BYTES, Exchange, Link, OutOfTime
from shufflenet_deploy.transport.ssh_options import ssh_program
from shufflenet_deploy.transport.ssh_route import Route
from shufflenet_deploy.transport.streams import Bounded

#: Client that makes the connection; ``auto`` is paramiko where that can serve.
SshClient = Literal["auto", "paramiko", "openssh"]

#: A transfer of which nothing moves for this long is given up.
_STALL_SECS = 60.0
#: A slow board hashes and writes a file at least this fast.
_SLOWEST_BYTES_PER_SEC = 2e6
_KILL_SECS = 15.0

_LOST = "the connection to {host} was lost{where}: check the link and its power, then run again"


class SshTransport(Transport):
    """Runs programs and moves files over one SSH connection; see ``transport.connect``."""

    kind = "ssh"

    def __init__(self, host: str, route: Route, *, client: SshClient = "auto") -> None:
        self.host = host
        self.route = route
        #: Whose client connects; no longer ``auto`` once it has.
        self.client: SshClient = client
        self._link: Link | None = None

    def __enter__(self) -> Self:
        self.close()
        if self.client == "auto" and (self._only_openssh() or self._is_beyond_paramiko()):
            self.client = "openssh"
        self._link = self._open()
        if self.client == "auto":
            self.client = "paramiko"
        return self

    def _only_openssh(self) -> tuple[str, ...]:
        """The settings of the route that OpenSSH's client alone follows."""
        return tuple(name for hop in self.route.hops for name in hop.only_openssh)

    def _is_beyond_paramiko(self) -> bool:
        """Return True if the keys at hand need OpenSSH's client, and it is installed."""
        from shufflenet_deploy.transport import (  # noqa: PLC0415 - paramiko: half a second
            ssh_connection,
        )

        return ssh_program() is not None and any(map(ssh_connection.needs_openssh, self.route.hops))

    def _open(self) -> Link:
        from shufflenet_deploy.transport import openssh  # noqa: PLC0415 - for those who need it

        if self.client == "openssh":
            return openssh.open_link(self.route)
        from shufflenet_deploy.transport import (  # noqa: PLC0415 - paramiko: half a second
            ssh_connection,
            ssh_handshake,
        )

        if settings := self._only_openssh():
            raise UsageError(
                f"{', '.join(settings)} of the ssh configuration is for OpenSSH's client alone: "
                "leave out --ssh-client paramiko"
            )
        try:
            return ssh_connection.open_link(self.route)
        except ssh_handshake.BeyondParamikoError as beyond:
            if self.client == "paramiko" or ssh_program() is None:
                raise ssh_advice.beyond_paramiko(beyond.error) from beyond
            try:
                link = openssh.open_link(self.route)
            except TransportError as error:
                # Of a login that neither can make, the error of paramiko is more specific.
                is_specific = isinstance(error, NegotiationError | HostKeyError)
                raise (error if is_specific else beyond.error) from error
            self.client = "openssh"
            return link

    @property
    def compressing(self) -> bool:
        """See ``Transport.compressing``."""
        return self.route.disk is None

    def close(self) -> None:
        """See ``Transport.close``."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 60.0,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
    ) -> CommandResult:
        """See ``Transport.run``."""
        launch = shell_scripts.Launch.of(argv, env)
        stdout = Bounded(self.host)
        started = time.monotonic()
        exchange = self._exchange(launch, _chunks(stdin or b""), stdout.extend, timeout_s)
        try:
            exit_code = exchange.finish()
        except OutOfTime as error:
            killed = self._kill(exchange)
            raise CommandTimeout(
                f"{argv[0]} ran longer than {timeout_s:g} s on {self.host} and "
                + ("was killed: raise its time limit" if killed else "may still be running there")
            ) from error
        except (KeyboardInterrupt, TargetError):
            self._kill(exchange)
            raise
        if exit_code is None:
            raise ConnectError(_LOST.format(host=self.host, where=f" while {argv[0]} ran"))
        self._check_started(exchange)
        return CommandResult(
            argv=tuple(argv),
            exit_code=exit_code,
            stdout=bytes(stdout.content),
            stderr=exchange.stderr,
            duration_secs=time.monotonic() - started,
        )

    def push(
        self,
        local: Path,
        remote: str,
        *,
        executable: bool = False,
        on_progress: Progress | None = None,
    ) -> None:
        """See ``Transport.push``."""
        try:
            size_bytes, digest = local.stat().st_size, sha256_file(local)
        except OSError as error:
            raise UsageError(f"cannot read {local}: {error.strerror}") from error
        temporary = shell_scripts.temporary_name(remote)
        settling = (temporary, remote, digest, "755" if executable else "644")
        disk = self.route.disk
        with (
            disk.offering(local) if disk else contextlib.nullcontext(enter_result=False) as offered
        ):
            if disk and offered:
                script = shell_scripts.shell(
                    shell_scripts.TAKE, *settling, disk.device, str(size_bytes)
                )
            else:
                script = shell_scripts.shell(shell_scripts.RECEIVE, *settling)
            self._transfer(
                script,
                () if offered else _file_chunks(local, size_bytes, on_progress),
                lambda _: None,
                path=remote,
                size_bytes=size_bytes,
                leftover=temporary,
            )
        if offered and on_progress:
            on_progress(size_bytes, size_bytes)

    def pull(self, remote: str, local: Path) -> None:
        """See ``Transport.pull``."""
        digest = hashlib.sha256()
        with replacing(local) as temporary, temporary.open("wb") as copy:

            def keep(chunk: bytes) -> None:
                digest.update(chunk)
                copy.write(chunk)

            printed = self._transfer(
                shell_scripts.shell(shell_scripts.SEND, remote), (), keep, path=remote, size_bytes=0
            )
            if f"sha256 {digest.hexdigest()}".encode() not in printed:
                raise TransferError(
                    f"{remote} did not arrive whole from {self.host} (sha256 differs); try again"
                )

    def _transfer(
        self,
        argv: Sequence[str],
        stdin: Iterable[bytes],
        sink: Callable[[bytes], object],
        *,
        path: str,
        size_bytes: int,
        leftover: str | None = None,
    ) -> bytes:
        """Run one of the file scripts; return its standard error."""
        launch = shell_scripts.Launch.of(argv, {"LC_ALL": "C"})
        limit_secs = _STALL_SECS + size_bytes / _SLOWEST_BYTES_PER_SEC
        exchange = self._exchange(launch, stdin, sink, limit_secs, renew=True)
        try:
            exit_code = exchange.finish()
        except OutOfTime as error:
            self._kill(exchange, leftover)
            raise TransferError(
                f"nothing moved for {limit_secs:.0f} s between here and {path} on {self.host}: "
                "check the link, then run again"
            ) from error
        except BaseException:
            self._kill(exchange, leftover)
            raise
        if exit_code is None:
            raise TransferError(_LOST.format(host=self.host, where=f" in the middle of {path}"))
        self._check_started(exchange)
        if exit_code:
            complaint = exchange.stderr.decode("utf-8", "replace").strip()
            raise shell_scripts.refusal(
                exit_code, complaint, host=self.host, path=path, size_bytes=size_bytes
            )
        return exchange.stderr

    def _check_started(self, exchange: Exchange) -> None:
        if exchange.pid is None:
            raise TargetError(
                f"{self.host} logs in but runs no program ({exchange.login_complaint or 'silent'}):"
                " its login shell must be an ordinary one, without a forced command"
            )

    def _exchange(
        self,
        launch: shell_scripts.Launch,
        stdin: Iterable[bytes],
        sink: Callable[[bytes], object],
        limit_secs: float,
        *,
        renew: bool = False,
    ) -> Exchange:
        if self._link is None:
            raise ConnectError(f"{self.host} is not connected: enter the transport first")
        channel = self._link.start(launch.line, self.host)
        return Exchange(
            channel, launch, stdin, sink, limit_secs, renew=renew, broken=self._link.broken
        )

    def _kill(self, exchange: Exchange, leftover: str | None = None) -> bool:
        """End a program with all its children, and remove its unfinished file; True if done.

        A server that allows one channel at a time gets a second connection for it.
        """
        pid = exchange.pid
        exchange.abandon()
        if pid is None:
            return False
        argv = shell_scripts.shell(shell_scripts.KILL, str(pid), *([leftover] if leftover else []))
        for again in (False, True):
            with contextlib.suppress(TransportError, OutOfTime):
                if again:
                    self.__enter__()
                launch = shell_scripts.Launch.of(argv)
                # A refused session ends, too, but with a status that the script never has.
                if self._exchange(launch, (), lambda _: None, _KILL_SECS).finish() == 0:
                    return True
        return False


def _chunks(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), CHUNK_BYTES):
        yield content[start : start + CHUNK_BYTES]


def _file_chunks(local: Path, size_bytes: int, on_progress: Progress | None) -> Iterator[bytes]:
    """A file's bytes; reports a chunk when the next one is asked for, that is, when it went out."""
    sent_bytes = 0
    with local.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk
            sent_bytes += len(chunk)
            if on_progress:
                on_progress(sent_bytes, size_bytes)
