"""An Android device through the ``adb`` program, always named by its serial.

Files travel over adb's own sync service to a temporary name and are checked and renamed on the
device. A program's end is marked by a line of our own: adb reports a lost device and a program's
exit status 255 alike, and devices before Android 7 report no exit status at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from shufflenet_deploy.atomic_files import replacing, sha256_file
from shufflenet_deploy.errors import (
    CommandTimeout,
    ConnectError,
    TransferError,
    TransportError,
    UsageError,
)
from shufflenet_deploy.transport import shell_scripts
from shufflenet_deploy.transport.adb_devices import (
    SERIAL_VARIABLE,
    AndroidDevice,
    choose,
    read_listing,
    unusable,
)
from shufflenet_deploy.transport.base import CommandResult, Progress, Transport
from shufflenet_deploy.transport.streams import TooMuchOutput, communicate

_QUERY_SECS = 20.0
_KILL_SECS = 15.0
#: USB 2 moves ten times as much; a transfer slower than this has stalled.
_SLOWEST_BYTES_PER_SEC = 1e6
_STALL_SECS = 60.0

#: The first words of adb's own complaints, as opposed to a program's.
_LINK_LOST = re.compile(
    r"(device '[^']*' not found|no devices/emulators found|device offline|device unauthorized|"
    r"error: closed|protocol fault|connection reset|connect failed|cannot connect to daemon|"
    r"device still (authorizing|connecting))"
)


class AdbTransport(Transport):
    """Runs programs and moves files on one device; see ``transport.connect``."""

    kind = "adb"
    compressing = True

    def __init__(self, serial: str | None = None, *, scratch: str = "/data/local/tmp") -> None:
        """``scratch`` is a folder that the shell user may write, as this one on every Android."""
        self._wanted = serial
        self._scratch = scratch
        self.host = f"adb:{serial}" if serial else "adb"
        self._serial: str | None = None
        self._separate_streams = True

    def __enter__(self) -> Self:
        device = choose(devices(), self._wanted, default=os.environ.get(SERIAL_VARIABLE))
        self._serial = device.serial
        self.host = f"adb:{device.serial}"
        self._separate_streams = "shell_v2" in self._adb("features").stdout.decode().split()
        return self

    def close(self) -> None:
        """See ``Transport.close``; the adb server keeps the link for the next user."""
        self._serial = None

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
        started = time.monotonic()
        try:
            if self._separate_streams:
                code, stdout, stderr = self._run_apart(launch, stdin or b"", timeout_s)
            else:
                code, stdout, stderr = self._run_merged(launch, stdin or b"", timeout_s)
        except _OutOfTime as error:
            killed = self._kill(error.pid)
            raise CommandTimeout(
                f"{argv[0]} ran longer than {timeout_s:g} s on {self.host} and "
                + ("was killed: raise its time limit" if killed else "may still be running there")
            ) from error
        return CommandResult(
            argv=tuple(argv),
            exit_code=code,
            stdout=stdout,
            stderr=stderr,
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
        # Asked first, because adb would create the missing folder or write into the existing one.
        self._script(shell_scripts.ADMIT, remote, path=remote, size_bytes=size_bytes)
        temporary = shell_scripts.temporary_name(remote)
        try:
            self._sync("push", str(local), temporary, path=remote, size_bytes=size_bytes)
            mode = "755" if executable else "644"
            self._script(
                shell_scripts.SETTLE,
                temporary,
                remote,
                digest,
                mode,
                path=remote,
                size_bytes=size_bytes,
            )
        except BaseException:
            with contextlib.suppress(TransportError):
                self.run(["rm", "-f", temporary], timeout_s=_KILL_SECS)
            raise
        if on_progress:
            on_progress(size_bytes, size_bytes)

    def pull(self, remote: str, local: Path) -> None:
        """See ``Transport.pull``."""
        printed = self._script(shell_scripts.DIGEST, remote, path=remote, size_bytes=0)
        with replacing(local) as temporary:
            self._sync("pull", remote, str(temporary), path=remote, size_bytes=0)
            digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
            if f"sha256 {digest}" not in printed:
                raise TransferError(
                    f"{remote} did not arrive whole from {self.host} (sha256 differs); try again"
                )

    def _script(self, script: str, *arguments: str, path: str, size_bytes: int) -> str:
        """Run one of the file scripts on the device; return its standard error."""
        limit_secs = _STALL_SECS + size_bytes / _SLOWEST_BYTES_PER_SEC
        result = self.run(shell_scripts.shell(script, *arguments), timeout_s=limit_secs)
        complaint = result.stderr.decode("utf-8", "replace").strip()
        if result.exit_code:
            raise shell_scripts.refusal(
                result.exit_code, complaint, host=self.host, path=path, size_bytes=size_bytes
            )
        return complaint

    def _sync(self, verb: str, source: str, target: str, *, path: str, size_bytes: int) -> None:
        """``adb push`` or ``adb pull`` of one file."""
        limit_secs = _STALL_SECS + size_bytes / _SLOWEST_BYTES_PER_SEC
        try:
            done = self._adb(verb, source, target, timeout_s=limit_secs)
        except _OutOfTime as error:
            raise TransferError(
                f"{path} did not move in {limit_secs:.0f} s over adb to {self.host}: "
                "check the cable, then run again"
            ) from error
        except ConnectError as error:
            raise TransferError(f"{error} (in the middle of {path})") from error
        if done.returncode:
            printed = (done.stderr + done.stdout).decode("utf-8", "replace")
            match = re.search(r"^adb: error: (.*)$", printed, re.MULTILINE)
            last = match[1] if match else f"status {done.returncode}"
            if refused := re.search(r"': remote (.*)", last):
                raise shell_scripts.denied(
                    refused[1], host=self.host, path=path, size_bytes=size_bytes
                )
            raise TransferError(f"{path} did not travel over adb to {self.host}: {last}; try again")

    def _run_apart(
        self, launch: shell_scripts.Launch, stdin: bytes, timeout_s: float
    ) -> tuple[int, bytes, bytes]:
        """Android 7 and later: both streams apart, our end mark on stderr."""
        mark = _mark()
        line = (
            f"( {_own_session(launch)} ); code=$?; "
            f"printf '\\n%s %s\\n' {mark} $code >&2; exit $code"
        )
        try:
            done = self._adb("shell", "-T", line, stdin=stdin, timeout_s=timeout_s)
        except _OutOfTime as error:
            error.pid = _announced(launch, error.stderr)[0]
            raise
        except TooMuchOutput as error:
            self._kill(_announced(launch, error.stderr)[0])
            raise
        code, stderr = self._ended(mark, done.stderr)
        return code, _announced(launch, done.stdout)[1], _announced(launch, stderr)[1]

    def _run_merged(
        self, launch: shell_scripts.Launch, stdin: bytes, timeout_s: float
    ) -> tuple[int, bytes, bytes]:
        """Older devices: ``exec-out`` gives one raw stream, so stderr follows stdout behind a mark.

        Standard input travels as a file, for these devices never signal its end to a program.
        """
        mark = _mark()
        scratch = f"{self._scratch}/.{mark}"
        source = "/dev/null"
        try:
            if stdin:
                source = f"{scratch}.in"
                self._push_bytes(stdin, source)
            script = (
                f"( {_own_session(launch)} ) <{source} 2>{scratch}.err; code=$?; "
                f"printf '\\n%s %s\\n' {mark} $code; cat {scratch}.err; "
                f"rm -f {scratch}.err {scratch}.in"
            )
            done = self._adb("exec-out", script, timeout_s=timeout_s)
        except _OutOfTime as error:
            error.pid = _announced(launch, self._adb("exec-out", f"cat {scratch}.err").stdout)[0]
            raise
        except TooMuchOutput:
            self._kill(_announced(launch, self._adb("exec-out", f"cat {scratch}.err").stdout)[0])
            raise
        match = re.search(rb"\n" + mark.encode() + rb" (\d{1,3})\n", done.stdout)
        if match is None:
            raise self._lost()
        stdout, stderr = done.stdout[: match.start()], done.stdout[match.end() :]
        return int(match[1]), _announced(launch, stdout)[1], _announced(launch, stderr)[1]

    def _push_bytes(self, content: bytes, remote: str) -> None:
        import tempfile  # noqa: PLC0415 - rare: old devices only

        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            self._sync("push", file.name, remote, path=remote, size_bytes=len(content))

    def _ended(self, mark: str, stderr: bytes) -> tuple[int, bytes]:
        """The exit status behind our mark, and stderr without it."""
        match = re.search(rb"\n" + mark.encode() + rb" (\d{1,3})\n", stderr)
        if match is None:
            raise self._lost()
        return int(match[1]), stderr[: match.start()] + stderr[match.end() :]

    def _lost(self) -> ConnectError:
        return ConnectError(
            f"{self.host} vanished while a program ran: check the cable and "
            "`adb devices`, then run again"
        )

    def _kill(self, pid: int | None) -> bool:
        """End a program with all its children; True if the device took the command."""
        if pid is None:
            return False
        with contextlib.suppress(TransportError, _OutOfTime):
            self.run(shell_scripts.shell(shell_scripts.KILL, str(pid)), timeout_s=_KILL_SECS)
            return True
        return False

    def _adb(
        self, *arguments: str, stdin: bytes = b"", timeout_s: float = _QUERY_SECS
    ) -> subprocess.CompletedProcess[bytes]:
        if self._serial is None:
            raise ConnectError(f"{self.host} is not connected: enter the transport first")
        done = _adb("-s", self._serial, *arguments, stdin=stdin, timeout_s=timeout_s)
        complaint = done.stderr.decode("utf-8", "replace").strip().splitlines()
        if done.returncode and complaint and _LINK_LOST.search(complaint[-1]):
            raise unusable(self._serial, complaint[-1])
        return done


class _OutOfTime(Exception):
    """The limit passed before adb ended; ``stderr`` is what it had written by then."""

    def __init__(self, stderr: bytes) -> None:
        super().__init__()
        self.stderr = stderr
        self.pid: int | None = None


def devices() -> list[AndroidDevice]:
    """Every device that the adb server knows, usable or not.

    Raises:
        UsageError: there is no adb program.
        ConnectError: the adb server does not answer.
    """
    try:
        listing = _adb("devices", "-l", timeout_s=_QUERY_SECS)
    except _OutOfTime as error:
        raise ConnectError("the adb server does not answer: run `adb kill-server`") from error
    if listing.returncode:
        complaint = listing.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise ConnectError(f"adb devices failed: {' '.join(complaint)}; run `adb kill-server`")
    return read_listing(listing.stdout.decode("utf-8", "replace"))


def _adb(
    *arguments: str, stdin: bytes = b"", timeout_s: float
) -> subprocess.CompletedProcess[bytes]:
    """Run the adb program to its end, whatever its exit status."""
    program = shutil.which("adb")
    if program is None:
        raise UsageError("there is no adb program: install it (apt-get install adb)")
    pipe = subprocess.PIPE
    with subprocess.Popen([program, *arguments], stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            stdout, stderr = communicate(process, stdin, timeout_s, host="adb")
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise _OutOfTime(error.stderr or b"") from error
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


def _own_session(launch: shell_scripts.Launch) -> str:
    """The command line in a session of its own.

    A device hangs up on the group of a command whose client has gone; what escapes that in a group
    of its own could no longer be found.
    """
    line = launch.line.decode("utf-8", "surrogateescape").removeprefix("exec ")
    return f"$(command -v setsid) {line}"


def _announced(launch: shell_scripts.Launch, stream: bytes) -> tuple[int | None, bytes]:
    """The process id at the front of a whole stream, if it came, and what the program wrote."""
    written = bytearray()
    reader = shell_scripts.Announced(launch, written.extend)
    reader.feed(stream)
    return reader.pid, bytes(written)


def _mark() -> str:
    return f"end-{secrets.token_hex(8)}"
