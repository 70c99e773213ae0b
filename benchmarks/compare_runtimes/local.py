"""Timing peers on this machine: a process each, on one core, in turns."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compare_runtimes.converters import HERE, Job, Peer, environment, say
from compare_runtimes.results import PEAK, Outcome, PeerError, judged
from shufflenet_deploy.errors import DeployError
from shufflenet_deploy.export.parity import expected
from shufflenet_deploy.runtime.agent_file import write_agent

_START_SECS = 120
#: A turn in which the process had less of its core than this is taken again.
_LEAST_SHARE = 0.98
_ATTEMPTS = 4
#: Inferences of a turn, however long or short one is.
_FEWEST, _MOST = 3, 1000


class Worker:
    """A peer's process on one core."""

    def __init__(self, argv: Sequence[object], settings: Mapping[str, object], cpu: int) -> None:
        """Start ``worker.py`` by its words, have it load its file and answer the pictures.

        Raises:
            PeerError: it cannot.
        """
        pools = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        self._process = subprocess.Popen(
            [*map(str, argv), json.dumps(dict(settings))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **pools},
            preexec_fn=lambda: os.sched_setaffinity(0, {cpu}),  # noqa: PLW1509 - no threads here
        )
        self.told = self._answer()
        self.count, self.repeated = _FEWEST, 0

    def settle(self, turn_secs: float) -> None:
        """Warm up, and choose how many inferences fill a turn."""
        self._turn(_FEWEST)
        typical = statistics.median(self._turn(_FEWEST)["samples"])
        self.count = max(_FEWEST, min(_MOST, round(turn_secs * 1e9 / typical)))

    def turn(self) -> tuple[int, ...]:
        """Time a turn's inferences, in ns; again when something else had the core.

        Of those that were all disturbed, the one with the most of the core counts.
        """
        best: tuple[float, tuple[int, ...]] = (0.0, ())
        for attempt in range(_ATTEMPTS):
            told = self._turn(self.count)
            share = told["had"] / sum(told["samples"])
            best = max(best, (share, tuple(told["samples"])))
            if share >= _LEAST_SHARE:
                break
            self.repeated += attempt < _ATTEMPTS - 1
        return best[1]

    def end(self) -> None:
        """Let the process go."""
        self._process.kill()
        self._process.communicate()

    def _turn(self, count: int) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            _, errors = self._process.communicate(timeout=_START_SECS)
            lines = [text for text in errors.splitlines() if text.strip()]
            raise PeerError(lines[-1] if lines else f"exit {self._process.returncode}")
        return json.loads(line)


def measure(
    peers: Sequence[Peer], job: Job, *, rounds: int, turn_secs: float, cpu: int
) -> list[Outcome]:
    """All peers in turns, in a new order every round."""
    judges = job.judges()
    given = job.path("-pictures.npy")
    np.save(given, np.concatenate(judges))
    agent = write_agent(job.folder)
    wanted = [one.ravel() for one in expected(job.loaded().module, judges)]
    found: dict[str, Outcome] = {}
    workers: dict[str, Worker] = {}
    for peer in peers:
        say(f"{job.model} {job.resolution} {peer.name}: preparing")
        found[peer.name] = peer.outcome()
        try:
            python = environment(peer, job)
            words = (agent, peer.engine.name, peer.make(job, python), given)
            worker = Worker((python, HERE / "worker.py", *words), peer.settings, cpu)
            workers[peer.name] = worker
            found[peer.name] = _answered(found[peer.name], worker, wanted)
            worker.settle(turn_secs)
        except (PeerError, DeployError, OSError, ImportError) as error:
            found[peer.name] = found[peer.name].failed(error)
            if failed := workers.pop(peer.name, None):
                failed.end()
    turns = _in_turns(workers, rounds)
    for name, worker in workers.items():
        worker.end()
        update = {"turns": tuple(turns[name]), "turns_repeated": worker.repeated}
        found[name] = found[name].model_copy(update=update)
    return list(found.values())


def _answered(outcome: Outcome, worker: Worker, wanted: Sequence[np.ndarray]) -> Outcome:
    if outcome.precision == PEAK:
        return outcome.model_copy(update={"version": worker.told["version"]})
    got = [np.array(scores) for scores in worker.told["scores"]]
    return judged(outcome, worker.told["version"], wanted, got)


def _in_turns(workers: dict[str, Worker], rounds: int) -> dict[str, list[tuple[int, ...]]]:
    turns: dict[str, list[tuple[int, ...]]] = {name: [] for name in workers}
    order = list(workers)
    generator = random.Random(0)
    for index in range(rounds):
        say(f"round {index + 1} of {rounds}")
        generator.shuffle(order)
        for name in order:
            turns[name].append(workers[name].turn())
    return turns
