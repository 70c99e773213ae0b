"""Every kind of transport, connected to this very machine, for one contract suite."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shufflenet_deploy import transport
from shufflenet_deploy.target import Target
from shufflenet_deploy.transport import AdbTransport, Transport

KINDS = ("local", "ssh", "openssh", "adb", "adb-old")
ADBD = Path(__file__).parents[1] / "fakes" / "adbd.py"


@pytest.fixture(params=KINDS)
def link(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Transport]:
    """A connected transport of each kind."""
    if request.param == "local":
        connection = transport.connect("local")
    elif request.param in {"ssh", "openssh"}:
        connection = transport.connect(
            request.getfixturevalue("sshd").settings,
            ssh_client="openssh" if request.param == "openssh" else "paramiko",
        )
    else:
        fault = "no-shell-v2" if request.param == "adb-old" else "none"
        serial = request.getfixturevalue("phone")(fault)
        connection = AdbTransport(serial, scratch=str(tmp_path))
    with connection:
        yield connection


@pytest.fixture
def phone(adb_server: None) -> Iterator[Callable[..., str]]:
    """Starts device-side peers: ``phone(fault="none", *options) -> serial``, known to adb."""
    del adb_server
    started: list[tuple[str, subprocess.Popen[str]]] = []

    def start(fault: str = "none", *options: str) -> str:
        peer = subprocess.Popen(
            [sys.executable, str(ADBD), "--fault", fault, *options],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert peer.stdout is not None
        serial = f"127.0.0.1:{peer.stdout.readline().strip()}"
        started.append((serial, peer))
        subprocess.run(["adb", "connect", serial], check=False, capture_output=True, timeout=30)
        return serial

    yield start
    for serial, peer in started:
        subprocess.run(["adb", "disconnect", serial], check=False, capture_output=True)
        peer.kill()
        peer.communicate()


@pytest.fixture
def target(link: Transport, tmp_path: Path) -> Iterator[Target]:
    """This machine as a target over each kind of transport."""
    with Target(link, root=str(tmp_path / "target")) as machine:
        yield machine


@pytest.fixture
def ended() -> Callable[[int], bool]:
    """True if a process ends within a few seconds; a zombie has ended."""

    def check(pid: int) -> bool:
        for _ in range(100):
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
            except (FileNotFoundError, ProcessLookupError):
                return True
            if state == "Z":
                return True
            time.sleep(0.05)
        return False

    return check


def _cut(ends: tuple[socket.socket, ...]) -> None:
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


class Relay:
    """A TCP relay that cuts a connection on both sides after ``limit_bytes`` from its client."""

    def __init__(self, port: int, limit_bytes: float) -> None:
        self._goal = port
        self.limit_bytes = limit_bytes
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def hang_up(self) -> None:
        """Cut every connection that there is now."""
        _cut(tuple(self._sockets))

    def close(self) -> None:
        """Cut everything and stop listening."""
        self.hang_up()
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._server.close()
        for end in self._sockets:
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._server.accept()[0]
                self._sockets.append(client)
                try:
                    server = socket.create_connection(("127.0.0.1", self._goal))
                except OSError:
                    client.close()
                    continue
                self._sockets.append(server)
                for source, sink, counted in ((client, server, True), (server, client, False)):
                    threading.Thread(
                        target=self._copy,
                        args=(source, sink),
                        kwargs={"counted": counted},
                        daemon=True,
                    ).start()

    def _copy(self, source: socket.socket, sink: socket.socket, *, counted: bool) -> None:
        passed_bytes = 0
        with contextlib.suppress(OSError):
            while chunk := source.recv(16384):
                sink.sendall(chunk)
                passed_bytes += len(chunk)
                if counted and passed_bytes > self.limit_bytes:
                    # Only this one: the client may already be connecting again.
                    _cut((source, sink))
                    return
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def relay() -> Iterator[Callable[..., Relay]]:
    """Starts relays: ``relay(port, limit_bytes=...)``."""
    started: list[Relay] = []

    def start(port: int, *, limit_bytes: float = float("inf")) -> Relay:
        started.append(Relay(port, limit_bytes))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def tools(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder for PATH with links to some programs, and scripts in place of others."""

    def make(*names: str, **scripts: str) -> Path:
        folder = tmp_path / f"tools-{os.urandom(3).hex()}"
        folder.mkdir()
        for name in names:
            found = next(
                (
                    Path(place) / name
                    for place in ("/usr/bin", "/bin", "/usr/sbin", "/sbin")
                    if (Path(place) / name).exists()
                ),
                None,
            )
            assert found is not None, f"{name} is not on this machine"
            (folder / name).symlink_to(found)
        for name, script in scripts.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)
        return folder

    return make


@pytest.fixture
def full_disk(
    tmp_path: Path, sshd: Any, sshd_with: Callable[..., Any], tools: Callable[..., Path]
) -> Iterator[tuple[Any, Path]]:
    """An sshd and a folder of its machine with no room left for a megabyte."""
    folder = tmp_path / "full"
    folder.mkdir()
    if os.geteuid() == 0:
        mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
        if subprocess.run(mount, check=False, capture_output=True).returncode == 0:
            try:
                yield sshd, folder
            finally:
                subprocess.run(["umount", str(folder)], check=True)
            return
    # Without the right to mount: a real ENOSPC, from the device that always is full.
    shim = tools(cat="exec /bin/cat >/dev/full")
    yield sshd_with(f"SetEnv PATH={shim}:/usr/bin:/bin"), folder
