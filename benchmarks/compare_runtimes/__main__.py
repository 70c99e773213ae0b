#!/usr/bin/env python3
"""The same network in our files and in those of others, side by side on this machine or a board.

    PYTHONPATH=benchmarks .venv/bin/python -m compare_runtimes                       # times here, ShuffleNet 0.5x, 224x224
    PYTHONPATH=benchmarks .venv/bin/python -m compare_runtimes --model shufflenet-g3-1x,alexnet --resolution 224x224,480x640
    PYTHONPATH=benchmarks .venv/bin/python -m compare_runtimes --board a76,a72       # instructions on virtual cores
    PYTHONPATH=benchmarks .venv/bin/python -m compare_runtimes --page docs/performance.md

Same weights, same pictures, one thread, one core. Every peer runs in a process of its own, in an
environment of its own below the cache folder, which is made on first use. The processes take turns
of a few inferences, so that whatever the machine does to one it does to all; the turns of a peer
are the samples of the intervals, and a turn in which something else had the core is taken again.
One more process does nothing but multiply-adds and says what the core could do meanwhile. A peer
that cannot be installed, converted or run is listed as such. What a peer answers is compared with
PyTorch's scores, and a wrong one is marked.

Every result is kept in ``--out``; ``--page`` measures nothing and puts the tables of all that are
there into a page.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import platformdirs

from compare_runtimes import local, markdown, virtual_board
from compare_runtimes.converters import PEERS, Job, Peer
from compare_runtimes.results import HERE, Outcome, Result, keep, kept
from shufflenet_deploy import codegen, transport, zoo
from shufflenet_deploy.errors import DeployError, UsageError
from shufflenet_deploy.records import Resolution
from shufflenet_deploy.target import Target


def main() -> int:
    """Measure or count, print the tables and keep them; or write a page."""
    given = _parser().parse_args()
    try:
        if given.page:
            markdown.write(given.page, kept(given.out))
            return 0
        _check(given)
        peers = _chosen(given.peers)
        results = [
            _result(job, machine, peers, given)
            for job in _jobs(given)
            for machine in _machines(given.board)
        ]
    except DeployError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    # That a peer cannot be had is a finding about it; that one of ours cannot is a failure.
    ours = [one for result in results for one in result.outcomes if one.name.startswith("ours-")]
    return 0 if all(one.turns for one in ours) else 1


def _parser() -> argparse.ArgumentParser:
    names = ",".join(peer.name for peer in PEERS)
    parser = argparse.ArgumentParser(
        description="Our files and those of others, side by side.", allow_abbrev=False
    )
    add = parser.add_argument
    add("--model", type=_words, default="shufflenet-g3-0.5x", help="one or several, with commas")
    add("--weights", type=Path)
    add("--resolution", type=_words, default="224x224", help="one or several, with commas")
    add("--peers", type=_words, default=names, help=f"default: {names}")
    add("--board", type=_words, help="count on these virtual cores instead: a53, a72, a76, max")
    add("--rounds", type=int, default=20, help="turns of each peer")
    add("--turn-ms", type=float, default=50.0, help="about how long a turn is")
    add("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="the core to measure on")
    add("--out", type=Path, default=Path("artifacts/peers"))
    add("--page", type=Path, help="only put the tables of what is in --out into this page")
    return parser


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _check(given: argparse.Namespace) -> None:
    """Refuse what cannot be measured.

    Raises:
        UsageError: there is no such core, or nothing to time.
    """
    cores = sorted(os.sched_getaffinity(0))
    if given.cpu not in cores:
        raise UsageError(f"--cpu {given.cpu}: this process may use {', '.join(map(str, cores))}")
    if given.rounds < 1 or given.turn_ms <= 0:
        raise UsageError("--rounds and --turn-ms must be above 0")


def _chosen(names: Sequence[str]) -> list[Peer]:
    known = {peer.name: peer for peer in PEERS}
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"no such peer: {', '.join(unknown)}; there are {', '.join(known)}")
    return [peer for name, peer in known.items() if name in names]


def _machines(cpus: Sequence[str] | None) -> list[str]:
    return [HERE] if cpus is None else [virtual_board.full_name(cpu) for cpu in cpus]


def _jobs(given: argparse.Namespace) -> list[Job]:
    folder = given.out.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}; choose --out") from error
    return [
        Job(
            model=zoo.architecture(model).name,
            weights=given.weights,
            resolution=Resolution.parse(resolution),
            folder=folder,
            environments=Path(platformdirs.user_cache_dir("shufflenet-deploy")) / "peers",
        )
        for model in given.model
        for resolution in given.resolution
    ]


def _result(job: Job, machine: str, peers: Sequence[Peer], given: argparse.Namespace) -> Result:
    """One network on one machine: measured, printed and kept."""
    loads = [os.getloadavg()[0]]
    outcomes: list[Outcome]
    if machine == HERE:
        place = _here(given.cpu)
        outcomes = local.measure(
            peers, job, rounds=given.rounds, turn_secs=given.turn_ms / 1e3, cpu=given.cpu
        )
        loads.append(os.getloadavg()[0])
    else:
        place, outcomes = virtual_board.count(peers, job, machine)
    loaded = job.loaded()
    result = Result(
        model=job.model,
        title=loaded.architecture.title,
        resolution=job.resolution,
        machine=machine,
        platform=place,
        at=datetime.now(UTC),
        multiply_adds=zoo.complexity(loaded.module, job.resolution).multiply_adds,
        load_1min=(loads[0], loads[1]) if machine == HERE else None,
        outcomes=tuple(outcomes),
    )
    keep(given.out, result)
    print(markdown.times(result) if machine == HERE else markdown.counts(result), flush=True)
    return result


def _here(cpu: int) -> str:
    with transport.connect("local") as link, Target(link) as target:
        facts = target.facts()
    core = f"core {cpu} of {facts.cpu} ({codegen.host().name})"
    return f"One thread on {core}, {facts.os}, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())
