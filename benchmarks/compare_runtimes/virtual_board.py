"""Counting peers on the virtual board: AArch64 instructions per inference, by the board's clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np

from compare_runtimes.converters import HERE, NATIVE, Job, Peer, environment, run, say
from compare_runtimes.results import HALVES, Outcome, PeerError, judged
from shufflenet_deploy import board, runtime, transport
from shufflenet_deploy.cost.protocol import MOST_SPREAD, SPEC, agreement
from shufflenet_deploy.errors import DeployError
from shufflenet_deploy.export.parity import expected
from shufflenet_deploy.records import BenchmarkSpec, Failure, TargetFacts
from shufflenet_deploy.runtime.agent_file import install_agent
from shufflenet_deploy.runtime.base import Payload
from shufflenet_deploy.target import Target
from shufflenet_deploy.target.environment import name_of

T = TypeVar("T")

#: Should this process be killed, its boards still end.
_LIFETIME_SECS = 7200
#: Memory is the board's disk, and AlexNet's weights come in a file for each peer.
_MEMORY_MB = 8192
_PROBE_SECS = 60
_ATTEMPTS = 3


@dataclass(frozen=True)
class Bench:
    """A running board, and what its peers are asked: pictures, and PyTorch's scores for them."""

    target: Target
    cpu: str
    pictures: Path
    wanted: list[np.ndarray]


def full_name(cpu: str) -> str:
    """``cortex-a76`` of ``a76``.

    Raises:
        UsageError: there is no such core.
    """
    return _settings(cpu).cpu


def count(peers: Sequence[Peer], job: Job, cpu: str) -> tuple[str, list[Outcome]]:
    """The board's name, and all peers that can run there, counted."""
    judges = job.judges()
    pictures = job.path("-pictures.npy")
    np.save(pictures, np.concatenate(judges))
    wanted = [one.ravel() for one in expected(job.loaded().module, judges)]
    running = board.up(_settings(cpu), on_stage=say)
    try:
        with (
            transport.connect(running.ssh_settings(), name=f"board:{running.name}") as link,
            Target(link) as target,
        ):
            bench = Bench(target, running.settings.cpu, pictures, wanted)
            found = [_outcome(peer, job, bench) for peer in peers if peer.engine.board]
            facts = target.facts()
            return f"{running.settings.title}, {facts.libc}, Python {facts.python}", found
    finally:
        board.down(running.name)


def _settings(cpu: str) -> board.BoardSettings:
    return board.BoardSettings.choose(
        name=f"peers-{cpu.removeprefix('cortex-')}",
        cpu=cpu,
        memory_mb=_MEMORY_MB,
        deterministic=True,
        lifetime_secs=_LIFETIME_SECS,
    )


def _outcome(peer: Peer, job: Job, bench: Bench) -> Outcome:
    say(f"{job.model} {job.resolution} on {bench.cpu}: {peer.name}")
    outcome = peer.outcome()
    try:
        counted = _native if peer.engine is NATIVE else _in_python
        version, scores, samples = counted(peer, job, bench)
        outcome = judged(outcome, version, bench.wanted, scores)
        return outcome.model_copy(update={"turns": (samples,)})
    except (PeerError, DeployError, OSError) as error:
        return outcome.failed(error)


def _in_python(peer: Peer, job: Job, bench: Bench) -> tuple[str, list[np.ndarray], tuple[int, ...]]:
    """Version, scores, and instructions of inferences that agree, by the worker on the board."""
    python = environment(peer, job)
    file = peer.make(job, python)
    there = bench.target.environment(lambda facts: _payload(peer, python, facts), on_stage=say)
    worker = bench.target.install(HERE / "worker.py")
    agent = install_agent(bench.target.install)
    given = [bench.target.install(path) for path in (file, bench.pictures)]
    settings = json.dumps(dict(peer.settings))
    argv = (*there.python, worker, agent, peer.engine.name, *given, settings)
    pools = {"OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    turns = f"{SPEC.warmup_runs}\n{SPEC.min_runs}\n".encode()

    def process() -> tuple[dict[str, Any], Sequence[int]]:
        result = bench.target.invoke(
            argv, env={**there.env, **pools}, timeout_s=SPEC.timeout_secs, stdin=turns
        )
        if result.exit_code:
            raise PeerError(result.complaint)
        told, _, taken = [json.loads(line) for line in result.text.splitlines()]
        return told, taken["samples"]

    told, samples = _agreeing(process)
    return told["version"], [np.array(one) for one in told["scores"]], samples


def _native(peer: Peer, job: Job, bench: Bench) -> tuple[str, list[np.ndarray], tuple[int, ...]]:
    """The same of our program, which answers one picture at a time."""
    precision = "fp16" if peer.precision == HALVES else peer.precision
    program = bench.target.install(job.exported("native", precision, machine=bench.cpu))
    native = runtime.get("native")
    answer = f"{bench.target.root}/peers-scores.npy"

    def answered(picture: str, spec: BenchmarkSpec) -> tuple[np.ndarray, Sequence[int]]:
        argv = native.command(
            python=(), agent="", model=program, spec=spec, input=picture, output=answer
        )
        outcome = native.parse(bench.target.invoke(argv, timeout_s=spec.timeout_secs).text).outcome
        if isinstance(outcome, Failure):
            raise PeerError(outcome.message)
        with TemporaryDirectory() as folder:
            bench.target.transport.pull(answer, Path(folder, "scores.npy"))
            return np.load(Path(folder, "scores.npy")).ravel(), outcome.samples

    pictures = _one_by_one(bench)
    once = SPEC.model_copy(update={"warmup_runs": 0, "min_runs": 1})
    scores = [answered(picture, once)[0] for picture in pictures]
    _, samples = _agreeing(lambda: answered(pictures[0], SPEC))
    return "", scores, samples


def _one_by_one(bench: Bench) -> list[str]:
    """The pictures on the board, each in a file of its own."""
    found = []
    with TemporaryDirectory() as folder:
        for index, picture in enumerate(np.load(bench.pictures, allow_pickle=False)):
            path = Path(folder, f"{index}.npy")
            np.save(path, picture[None])
            found.append(bench.target.install(path))
    return found


def _agreeing(process: Callable[[], tuple[T, Sequence[int]]]) -> tuple[T, tuple[int, ...]]:
    """The output of a process whose counts are one figure, by the rule of ``shufflenet-deploy cost``.

    Raises:
        PeerError: those of several processes were not.
    """
    for _ in range(_ATTEMPTS):
        told, samples = process()
        spread = agreement(samples)[1]
        if spread <= MOST_SPREAD:
            return told, tuple(samples)
    raise PeerError(f"inferences differ by {spread:.2%}: something else runs on the board")


def _payload(peer: Peer, python: Path, facts: TargetFacts) -> Payload:
    """The requirements of the board: the release that is installed here, and numpy."""
    if not peer.engine.packages:
        return runtime.get(peer.engine.name).payload(facts)
    (distribution,) = peer.engine.packages
    like = runtime.get("litert").payload(facts)
    (numpy,) = [text for text in like.requirements if name_of(text) == "numpy"]
    return Payload(
        name=distribution,
        requirements=(f"{distribution}=={_release(python, distribution)}", numpy),
        imports=(peer.engine.module, "numpy"),
    )


def _release(python: Path, distribution: str) -> str:
    """The release of a distribution in a peer's environment."""
    program = "import sys\nfrom importlib.metadata import version\nprint(version(sys.argv[1]))"
    return run([python, "-c", program, distribution], secs=_PROBE_SECS)
