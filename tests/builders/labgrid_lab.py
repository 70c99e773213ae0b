"""A lab on loopback: labgrid's own coordinator and exporters, with servers of SSH as its boards."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import grpc
from labgrid.remote.generated import labgrid_coordinator_pb2 as messages
from labgrid.remote.generated.labgrid_coordinator_pb2_grpc import CoordinatorStub

_START_SECS = 30.0


class LoopbackLab:
    """A coordinator, an exporter for each board, and what a client needs to reach them.

    ``boards`` maps places to running servers of SSH; each place has the tag ``lab=loopback``, and
    those that ``tags`` has for it. ``relays`` is a switched power strip: what it was told.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        boards: Mapping[str, object],
        tags: Mapping[str, Mapping[str, str]],
    ) -> None:
        self.folder, self.port, self.boards, self.tags = folder, port, boards, tags
        self.address = f"127.0.0.1:{port}"
        self.relays: list[tuple[str, str]] = []
        self._strip = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._strip.serve_forever, daemon=True).start()
        self.coordinator: subprocess.Popen[str] | None = None
        self.exporters: dict[str, subprocess.Popen[str]] = {}
        self._write()

    @property
    def env(self) -> dict[str, str]:
        """For a command line under test."""
        return {
            "LG_COORDINATOR": self.address,
            "SHUFFLENET_DEPLOY_SSH_CONFIG": str(self.folder / "ssh_config"),
            "SHUFFLENET_DEPLOY_STATE": str(self.folder / "state"),
            "SHUFFLENET_DEPLOY_HOSTS": str(self.folder / "hosts.toml"),
        }

    def start(self) -> None:
        """Start, or start again, whatever does not run."""
        if self.coordinator is None or self.coordinator.poll() is not None:
            self.coordinator = self._started("coordinator", "listening", "-l", self.address)
        missing = [
            place
            for place in self.boards
            if (old := self.exporters.get(place)) is None or old.poll() is not None
        ]
        for place in missing:
            words = ("-c", self.address, "-n", f"exporter-{place}", f"{place}.yaml")
            self.exporters[place] = self._started("exporter", "Exporter ready", *words)
        if missing:
            self.await_(lambda: all(f"/{one}/" in self.client("resources") for one in missing))

    def client(self, *words: str) -> str:
        """What ``labgrid-client`` prints."""
        done = subprocess.run(
            [sys.executable, "-m", "labgrid.remote.client", "-x", self.address, *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout

    def held(self) -> list[str]:
        """The places that somebody holds, and the owners of reservations."""
        with grpc.insecure_channel(self.address) as channel:
            ask = CoordinatorStub(channel)
            places = ask.GetPlaces(messages.GetPlacesRequest(), timeout=30).places
            queue = ask.GetReservations(messages.GetReservationsRequest(), timeout=30)
        held = sorted(place.name for place in places if place.acquired)
        return [*held, *(one.owner for one in queue.reservations)]

    def await_(self, what) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + _START_SECS
        while not what():
            if time.monotonic() > deadline:
                raise AssertionError(f"waited for {_START_SECS:g} s in vain; held: {self.held()}")
            time.sleep(0.2)

    def close(self) -> None:
        """End all of it."""
        for process in [*self.exporters.values(), self.coordinator]:
            if process is not None:
                process.kill()
                process.communicate()
        self._strip.shutdown()
        self._strip.server_close()

    def _write(self) -> None:
        strip = f"http://127.0.0.1:{self._strip.server_port}/{{index}}"
        places, keys, known = [], [], []
        for index, (place, board) in enumerate(self.boards.items()):
            (self.folder / f"{place}.yaml").write_text(
                f"{place}:\n"
                f"  NetworkService:\n    address: {board.host}\n    username: {board.user}\n"
                f"    port: {board.port}\n"
                f"  NetworkPowerPort:\n    model: rest\n    host: '{strip}'\n    index: {index}\n"
            )
            places.append(
                f"{place}:\n  aliases: []\n  comment: ''\n"
                f"  tags: {json.dumps({'lab': 'loopback', **self.tags.get(place, {})})}\n"
                "  created: 1.0\n  changed: 1.0\n"
                f"  matches:\n  - {{exporter: exporter-{place}, group: {place}, cls: '*'}}\n"
            )
            keys.append(f"  IdentityFile {board.identity}\n")
            known.append(str(board.known_hosts))
        # Where the coordinator keeps what it knows of places.
        (self.folder / "places.yaml").write_text("".join(places))
        (self.folder / "ssh_config").write_text(
            f"Host 127.0.0.1\n{''.join(keys)}  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {' '.join(known)}\n"
        )
        (self.folder / "hosts.toml").write_text("")

    def _started(self, program: str, ready: str, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", f"labgrid.remote.{program}", *words],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
        assert process.stdout is not None
        for line in process.stdout:
            if ready in line:
                threading.Thread(target=process.stdout.read, daemon=True).start()
                return process
        raise AssertionError(f"labgrid's {program} did not start")

    def _handler(lab) -> type[http.server.BaseHTTPRequestHandler]:  # noqa: N805 - as seen within
        class Relay(http.server.BaseHTTPRequestHandler):
            """The switched strip, as labgrid's model ``rest`` speaks with it."""

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                lab.relays.append((self.path, body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        return Relay


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running_lab(
    folder: Path,
    boards: Mapping[str, object],
    tags: Mapping[str, Mapping[str, str]] | None = None,
) -> Iterator[LoopbackLab]:
    """A lab whose places are named after the boards."""
    folder.mkdir(parents=True, exist_ok=True)
    lab = LoopbackLab(folder, free_port(), boards, tags or {})
    try:
        lab.start()
        yield lab
    finally:
        lab.close()
