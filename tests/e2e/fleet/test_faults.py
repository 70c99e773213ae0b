"""Faults in a fleet: nothing that was measured is lost, and nothing is left on the boards.

One suite is measured on four sshds of loopback, each behind a relay, with cores and a small disk of
its own; the journal is in PostgreSQL. In each round every board has a fault of its own, then one
strikes all of them, and the next round resumes the suite. More than by default:
``SHUFFLENET_DEPLOY_FLEET_FAULTS=100`` spreads so many over the ways, and two virtual boards join.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fake_sysfs import Cpus
from fleet_lab import Lab
from loopback_board import LoopbackBoard
from postgres_server import running_postgres

from shufflenet_deploy import board as virtual_boards
from shufflenet_deploy.journal import Journal

_ASKED = os.environ.get("SHUFFLENET_DEPLOY_FLEET_FAULTS")
FAULTS = int(_ASKED or "5")
#: They boot under emulation, which takes minutes.
VIRTUAL = ("virtual1", "virtual2") if _ASKED else ()
HOSTS = ("pi1", "pi2", "pi3", "pi4")
#: Faults of one board, those of its link first; then those of everything.
OF_THE_LINK = ("reset", "close", "stall")
OF_A_BOARD = ("full disk", "reset", "worker", "server", "changed key", "close", "stall")
OF_A_VIRTUAL_BOARD = ("worker", "power")
OF_ALL = ("database", "client", "interrupt")
BEFORE = {"full disk", "changed key"}
SUITE = (
    *("--model", "shufflenet-g3-0.25x", "--resolution", "32x32", "--baseline", "none"),
    *("--runtime", "native", "--retries", "0"),
    # Longer where the others wait for virtual boards: thousands of runs would slow every round.
    *("--min-secs", "2" if VIRTUAL else "0.1", "--min-runs", "3", "--warmup", "1"),
    *("--processes", "900"),
)
DISK_BYTES = 24 << 20
PATIENCE_SECS = 900.0
#: Processes that every board has measured at the end, once each.
LEAST = 2


def plan() -> list[dict[str, str]]:
    """The faults of each round by what they strike; "" strikes everything."""
    rounds: list[dict[str, str]] = []
    left = FAULTS
    while left > 0:
        turn = len(rounds)
        faults = {
            host: OF_A_BOARD[(turn * 3 + place) % len(OF_A_BOARD)]
            for place, host in enumerate(HOSTS)
        }
        faults |= {
            host: OF_A_VIRTUAL_BOARD[(turn + place) % 2] for place, host in enumerate(VIRTUAL)
        }
        faults[""] = OF_ALL[turn % len(OF_ALL)]
        rounds.append(dict([*faults.items()][:left]))
        left -= len(faults)
    return rounds


class Board(LoopbackBoard):
    """A board whose disk can be filled and whose key can change."""

    def __init__(self, folder: Path, sshd, cpus: Cpus) -> None:
        super().__init__(folder, sshd, cpus)
        self.root.mkdir()
        self._key = self.known_hosts.read_text()
        size = f"size={DISK_BYTES}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", self.root], check=True)

    def close(self) -> None:
        """Give the disk back."""
        self.relay.close()
        subprocess.run(["umount", "--lazy", self.root], check=True)

    def prepare(self, fault: str, other: LoopbackBoard) -> None:
        """Faults that a session meets from its beginning on."""
        if fault == "full disk":
            subprocess.run(f"rm -rf {self.root}/*", shell=True, check=True)
            with (self.root / "filler").open("wb", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(bytes(1 << 12))
            assert os.statvfs(self.root).f_bavail == 0
        elif fault == "changed key":
            key = other.sshd.known_hosts.read_text().split(" ", 1)[1]
            self.known_hosts.write_text(f"[127.0.0.1]:{self.relay.port} {key}")

    def mend(self) -> None:
        """Undo them."""
        (self.root / "filler").unlink(missing_ok=True)
        self.known_hosts.write_text(self._key)
        # A link that was to break, and over which nothing went any more, would break next time.
        self.relay.count()


@dataclass
class Bench:
    """A running bench of the fleet, and which hosts have measured in it."""

    process: subprocess.Popen[str]
    log: Path
    lines: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Read what it says until it ends; the log keeps when it said it."""
        assert self.process.stderr is not None
        with suppress(ValueError), self.log.open("w") as log:  # closed, where the test gave up
            for line in self.process.stderr:
                self.lines.append(line)
                log.write(f"{time.strftime('%X')} {line}")
                log.flush()

    @property
    def measured(self) -> Counter[str]:
        """Processes that measured, by host."""
        return Counter(line.partition(":")[0] for line in [*self.lines] if ": [" in line)

    @property
    def failed(self) -> set[str]:
        """Hosts whose session ended without all of it."""
        return {line.partition(":")[0] for line in [*self.lines] if ": failed after " in line}

    def worker(self, place: int) -> int | None:
        """The process of a target; they were started in the order of the targets."""
        pid = self.process.pid
        found = [
            int(child)
            for thread in Path(f"/proc/{pid}/task").glob("*/children")
            for child in thread.read_text().split()
        ]
        workers = [
            one
            for one in sorted(found)
            if b"shufflenet_deploy.fleet.worker" in Path(f"/proc/{one}/cmdline").read_bytes()
        ]
        return workers[place] if place < len(workers) else None


class Fleet:
    """The lab with its boards."""

    def __init__(self, lab: Lab, boards: dict[str, Board], server) -> None:
        self.lab, self.boards, self.server = lab, boards, server
        self.targets = [*boards, *VIRTUAL]
        lab.write(**{name: board.sshd for name, board in boards.items()})
        for name, board in boards.items():
            config = (lab.folder / f"{name}.conf").read_text()
            config = config.replace(f"Port {board.sshd.port}", f"Port {board.relay.port}")
            config = config.replace(str(board.sshd.known_hosts), str(board.known_hosts))
            (lab.folder / f"{name}.conf").write_text(config)
        inventory = (lab.folder / "hosts.toml").read_text()
        for name, board in boards.items():
            # A habit of theirs: virtual boards have no governor.
            inventory = inventory.replace(
                f'folder = "{lab.folder / name}"',
                f'folder = "{board.root}"\ngovernor = "performance"',
            )
        for name in VIRTUAL:
            inventory += f'[hosts.{name}]\naddress = "board:{name}"\ntags = ["lab"]\n'
        (lab.folder / "hosts.toml").write_text(inventory)

    def runs(self) -> dict[str, str]:
        """Every run that measured, by its id."""
        with Journal(self.lab.journal) as book:
            runs = book.runs(every=True)
        return {run.id: run.model_dump_json() for run in runs if run.kind == "measurement"}

    def round(self, faults: dict[str, str], words: tuple[str, ...]) -> str:
        """One session with its faults; what it said."""
        boards = [*self.boards.values()]
        for place, (name, board) in enumerate(self.boards.items()):
            board.prepare(faults.get(name, ""), boards[place - 1])
        with subprocess.Popen(
            self.lab.argv(*words),
            cwd=self.lab.folder,
            env=self.lab.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            bench = Bench(process, self.lab.folder / f"round-{time.strftime('%H%M%S')}.log")
            listener = threading.Thread(target=bench.listen)
            listener.start()
            try:
                self._strike(bench, faults)
                process.wait(timeout=PATIENCE_SECS)
            finally:
                process.kill()
            listener.join()
        for board in boards:
            board.mend()
        return "".join(bench.lines)

    def _strike(self, bench: Bench, faults: dict[str, str]) -> None:
        """Inject the faults when every board measures, and the one of all when the spared go on."""
        well = {name for name in self.targets if faults.get(name) not in BEFORE}
        self._await(bench, lambda: well <= bench.measured.keys() or bool(bench.failed & well))
        assert not bench.failed & well, bench.lines[-20:]
        workers = {name: bench.worker(place) for place, name in enumerate(self.targets)}
        for name in self.targets:
            self._break(name, faults.get(name, ""), workers[name])
        spared = {name for name in well if name not in faults}
        before = bench.measured
        self._await(bench, lambda: all(bench.measured[name] > before[name] for name in spared))
        self._break_all(faults.get("", "interrupt"), bench.process)

    def _break(self, name: str, fault: str, worker: int | None) -> None:
        if fault in OF_THE_LINK:
            self.boards[name].relay.break_at(1, cut=fault)
        elif fault == "server":
            self.boards[name].kill_servers()
        elif fault == "worker" and worker is not None:
            os.kill(worker, signal.SIGKILL)
        elif fault == "power":
            found = virtual_boards.find(name)
            assert found is not None
            os.kill(found.process.pid, signal.SIGKILL)

    def _break_all(self, fault: str, process: subprocess.Popen[str]) -> None:
        if fault == "database":
            self.server.restart()
            time.sleep(1.0)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL if fault == "client" else signal.SIGINT)

    def _await(self, bench: Bench, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECS
        while not done() and bench.process.poll() is None:
            assert time.monotonic() < deadline, bench.lines[-20:]
            time.sleep(0.05)


@pytest.fixture
def fleet(tmp_path, sshd_with, monkeypatch):
    boards: dict[str, Board] = {}
    with running_postgres() as server:
        lab = Lab(tmp_path, tmp_path / "artifacts", server.location())
        monkeypatch.setenv("SHUFFLENET_DEPLOY_STATE", str(tmp_path / "state"))
        try:
            for name in HOSTS:
                (tmp_path / name).mkdir()
                cpus = Cpus.make(tmp_path / name / "cpu", 1_800_000, 1_800_000)
                boards[name] = Board(tmp_path / name, sshd_with(inside=cpus.inside()), cpus)
            yield Fleet(lab, boards, server)
        finally:
            for board in boards.values():
                board.close()
            for name in VIRTUAL:
                virtual_boards.down(name)


@pytest.mark.timeout(PATIENCE_SECS + 120 * FAULTS)
def test_faults_lose_nothing_and_leave_nothing(fleet, show, capsys):
    kept: dict[str, str] = {}
    count: Counter[str] = Counter()
    for number, faults in enumerate(plan()):
        words = ("--resume",) if number else ("--host", "@lab", *SUITE)
        said = fleet.round(faults, words)
        assert "Traceback" not in said, said
        count.update(faults.values())
        for board in fleet.boards.values():
            board.await_clean()
        now = fleet.runs()
        assert {one: now.get(one) for one in kept} == kept
        kept = now
        with capsys.disabled():
            told = f"{count.total()} of {FAULTS} faults, {len(kept)} finished processes"
            sys.stdout.write(f"\n{told}")

    last = fleet.lab.run("--resume", "--processes", str(LEAST))
    assert last.returncode == 0, last.stderr
    now = fleet.runs()
    assert {one: now.get(one) for one in kept} == kept
    runs = [json.loads(record) for record in now.values()]
    made = Counter((run["target"]["host"], run["process"]) for run in runs)
    assert {host for host, _ in made} == set(fleet.targets)
    # What is measured is not measured again, whatever happened in between.
    assert set(made.values()) == {1}
    assert all(made[host, process] for host in fleet.targets for process in range(1, LEAST + 1))
    for board in fleet.boards.values():
        board.await_clean()
        assert not (board.root / "lock").is_symlink()
        assert not [*board.root.glob("governors*")]
    told = ", ".join(f"{number} {name}" for name, number in sorted(count.items()))
    show(
        f"{count.total()} faults over {len(fleet.targets)} boards ({told}): {len(kept)} finished "
        "processes kept, 0 lost; no lock, governor or process left behind"
    )
