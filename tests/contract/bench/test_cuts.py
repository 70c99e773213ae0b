"""A bench over a real sshd, cut or killed at numbered places: nothing is lost or left behind.

Each trial breaks one session at one byte of its traffic in one way, then resumes it. More than by
default: ``SHUFFLENET_DEPLOY_CUTS=100`` spreads so many over the ways and the places.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import bench_client
import pytest
from cutting import Relay
from fake_sysfs import Cpus

from shufflenet_deploy.journal import Journal
from shufflenet_deploy.records import Cell, Precision, Resolution

_TRIALS = int(os.environ.get("SHUFFLENET_DEPLOY_CUTS", "6"))
#: Prime: the places are taken in an order of which any beginning is spread over the session.
_STRIDE = 37
_PROCESSES = 3
_CLIENT = Path(bench_client.__file__)
#: Fault injections: the link, the client's process, the server's process.
_WAYS = ("reset", "kill", "close", "interrupt", "stall", "server")
_OF_THE_LINK = {"reset", "close", "stall"}
#: A server that lost its client notices within that, even when the machine is busy.
_PATIENCE_SECS = 20.0


class Board:
    """A machine behind a relay, with cores of its own; what it would not have without us."""

    def __init__(self, folder: Path, sshd, cpus: Cpus, artifact) -> None:
        self.folder, self.sshd, self.cpus = folder, sshd, cpus
        self.root = folder / "target"
        self.relay = Relay(sshd.port)
        key = sshd.known_hosts.read_text().split(" ", 1)[1]
        known_hosts = folder / "known_hosts"
        known_hosts.write_text(f"[127.0.0.1]:{self.relay.port} {key}[127.0.0.1]:{sshd.port} {key}")
        self.session = {
            "artifact": artifact.model_dump(mode="json"),
            "user": sshd.user,
            "identity": str(sshd.identity),
            "known_hosts": str(known_hosts),
            "root": str(self.root),
        }

    def session_of(self, journal: Path, *, retries: int) -> dict[str, object]:
        """All that ``bench_client`` needs."""
        spec = {"warmup_runs": 1, "warmup_secs": 0.0, "min_runs": 5, "min_secs": 0.0}
        suite = {
            "models": ["tiny"],
            "resolutions": ["32x32"],
            "baseline": None,
            "governor": "performance",
            "spec": {**spec, "processes": _PROCESSES},
            "retries": retries,
        }
        return {**self.session, "journal": str(journal), "suite": suite}

    def kill_servers(self) -> None:
        """Kill what serves each connection, as a board that loses its power does."""
        pid = self.sshd.process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)

    def left_behind(self) -> list[str]:
        """Processes of ours, and governors that are not the board's own."""
        found = []
        for place in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = place.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if str(self.root) in words:
                found.append(f"process {place.parent.name}: {words[:60]}...{words[-100:]}")
        if set(self.cpus.governors) != {"ondemand"}:
            found.append(f"governors {self.cpus.governors}")
        return found

    def await_clean(self) -> str:
        """Wait for what ends when its connection does, else when its lease does.

        Says which it was. The lease takes minutes: it is written over, as if they had passed.
        """
        if not self._await(_PATIENCE_SECS):
            return "with the connection"
        for lease in self.root.glob("*.lease"):
            lease.write_text("0\n")
        left = self._await(_PATIENCE_SECS)
        assert not left
        return "with the lease"

    def _await(self, secs: float) -> list[str]:
        deadline = time.monotonic() + secs
        while (left := self.left_behind()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return left


@pytest.fixture(scope="module")
def board(tmp_path_factory, running, tiny_onnx, record_of):
    folder = tmp_path_factory.mktemp("cuts")
    cpus = Cpus.make(folder / "cpu", 1_800_000, 1_800_000)
    cell = Cell(
        model="tiny",
        runtime="onnxruntime",
        format="onnx",
        precision=Precision.FP32,
        resolution=Resolution.parse("32x32"),
    )
    # Our own Python has the runtime already.
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    with running(folder / "sshd", f"SetEnv PATH={path} SHLVL=5", inside=cpus.inside()) as sshd:
        board = Board(folder, sshd, cpus, record_of(tiny_onnx, cell))
        yield board
        board.relay.close()


@pytest.fixture(scope="module")
def traffic_bytes(board):
    """The bytes of a whole session where everything is installed."""
    for name in ("first", "second"):
        board.relay.count()
        session = board.session_of(board.folder / f"{name}.sqlite", retries=0)
        bench_client.run(session, board.relay.port)
    return board.relay.passed_bytes


def measured(journal: Path) -> dict[str, tuple[int, str]]:
    """By the id of each run that measured: its process, and all of the run."""
    with Journal(journal) as book:
        runs = book.runs(every=True)
    return {
        run.id: (run.process, run.model_dump_json()) for run in runs if run.kind == "measurement"
    }


@pytest.mark.parametrize("trial", range(_TRIALS))
def test_a_broken_session_loses_nothing_and_leaves_nothing(board, traffic_bytes, trial, show):
    way = _WAYS[trial % len(_WAYS)]
    place = round(traffic_bytes * (trial * _STRIDE % _TRIALS + 0.5) / _TRIALS)
    session = board.session_of(
        board.folder / f"journal{trial}.sqlite", retries=trial // len(_WAYS) % 2
    )
    journal, file = Path(str(session["journal"])), board.folder / f"session{trial}.json"
    file.write_text(json.dumps(session))
    clients: list[subprocess.Popen[str]] = []
    actions = {
        "kill": lambda: clients[0].send_signal(signal.SIGKILL),
        "interrupt": lambda: clients[0].send_signal(signal.SIGINT),
        "server": board.kill_servers,
    }
    board.relay.break_at(place, cut=way if way in _OF_THE_LINK else "", broke=actions.get(way))
    with subprocess.Popen(
        [sys.executable, str(_CLIENT), str(file), str(board.relay.port)],
        stderr=subprocess.PIPE,
        text=True,
    ) as client:
        clients.append(client)
        _, complaint = client.communicate(timeout=240)
    assert "Traceback" not in complaint
    assert client.returncode in {0, 1, 130, -signal.SIGKILL}
    assert board.relay.has_broken or client.returncode == 0
    ended = board.await_clean()
    before = measured(journal)
    bench_client.run(session, board.sshd.port)
    after = measured(journal)
    assert {one: after.get(one) for one in before} == before
    assert {process for process, _ in after.values()} == set(range(1, _PROCESSES + 1))
    again = {process for one, (process, _) in after.items() if one not in before}
    assert not again & {process for process, _ in before.values()}
    board.await_clean()
    assert not (board.root / "lock").is_symlink()
    assert not list(board.root.glob("governors*"))
    show(
        f"{way} at byte {place} of {traffic_bytes}: status {client.returncode}, "
        f"{len(before)} of {_PROCESSES} processes were kept, the rest ended {ended}"
    )
