#!/usr/bin/env python3
"""The same network in our files and in those of others, side by side on this machine.

    .venv/bin/python benchmarks/peers.py
    .venv/bin/python benchmarks/peers.py --model shufflenet-g3-1x --peers ours-onnx,ncnn --out peers

Same weights, same pictures, one thread, one core. Every peer runs in a process of its own, in an
environment of its own below the cache folder, which is made on first use. The processes take turns
of a few inferences, so that whatever the machine does to one it does to all; the turns of a peer
are the samples of the intervals. A peer that cannot be installed, converted or run is listed as
such. What a peer answers is compared with PyTorch's scores, and a wrong one is marked.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from shufflenet_deploy import export, stats, transport, zoo
from shufflenet_deploy.errors import DeployError
from shufflenet_deploy.export.calibration import Batches, pictures
from shufflenet_deploy.export.parity import expected, sqnr_db
from shufflenet_deploy.files import write_whole
from shufflenet_deploy.records import Resolution
from shufflenet_deploy.target import Target

HERE = Path(__file__).parent
INSTALL_SECS, CONVERT_SECS, START_SECS = 1800, 900, 120

#: Below this, fp32 computes something else than PyTorch; int8 is judged by its export.
LEAST_SQNR_DB = {"fp32": 60.0, "int8": 2.0}


@dataclass(frozen=True)
class Job:
    """What is measured, where files go, and how the network is had."""

    model: str
    weights: Path | None
    resolution: Resolution
    folder: Path
    environments: Path

    def exported(self, file_format: str, precision: str, **options: Any) -> Path:
        """One of our own files."""
        artifact = export.export(
            export.ExportRequest(
                model=self.model,
                weights=self.weights,
                resolution=self.resolution,
                format=file_format,
                precision=precision,
                out=self.folder,
                **options,
            )
        )
        return artifact.path


@dataclass(frozen=True)
class Peer:
    """One way to run the network. ``packages`` are installed where ours has them not."""

    name: str
    precision: str
    engine: str
    make: Callable[[Job, Path], Path]
    packages: tuple[str, ...] = ()
    note: str = ""


@dataclass
class Measured:
    """A peer's turns in ns, and how it answers; or why there are none."""

    peer: Peer
    version: str = ""
    sqnr_db: float = 0.0
    agreement: float = 0.0
    turns: list[list[int]] = field(default_factory=list)
    problem: str = ""


# --- how each file is made -----------------------------------------------------------------------


def by_pnnx(job: Job, python: Path) -> Path:
    """Ncnn's files from a TorchScript trace."""
    target = job.folder / f"{job.model}-{job.resolution}.ncnn.param"
    script = job.folder / f"{job.model}-{job.resolution}.pt"
    if not target.exists():
        traced(job, script)
        size = f"[1,3,{job.resolution.height},{job.resolution.width}]"
        run([python.with_name("pnnx"), script, f"inputshape={size}", "fp16=0", "optlevel=2",
             f"ncnnparam={target}", f"ncnnbin={target.with_suffix('.bin')}"], cwd=job.folder)  # fmt: skip
    return target


def traced(job: Job, path: Path) -> None:
    """The module as TorchScript."""
    import torch

    loaded = zoo.load(job.model, weights=job.weights)
    example = torch.zeros(1, 3, job.resolution.height, job.resolution.width)
    torch.jit.trace(loaded.module, example).save(str(path))


def by_litert_torch(job: Job, python: Path) -> Path:
    """TFLite by Google's converter, in its environment, from the module itself."""
    target = job.folder / f"{job.model}-{job.resolution}-litert-torch.tflite"
    if not target.exists():
        program = (
            "import sys, torch, litert_torch\n"
            "from pathlib import Path\n"
            "from shufflenet_deploy import zoo\n"
            "name, weights, height, width, out = sys.argv[1:]\n"
            "net = zoo.load(name, weights=Path(weights) if weights else None).module\n"
            "picture = (torch.zeros(1, 3, int(height), int(width)),)\n"
            "litert_torch.convert(net, picture).export(out)\n"
        )
        size = (str(job.resolution.height), str(job.resolution.width))
        run([python, "-c", program, job.model, job.weights or "", *size, target])
    return target


def by_mnn(job: Job, python: Path) -> Path:
    """MNN's file from the plain ONNX file."""
    source = job.exported("onnx", "fp32", lowering="paper")
    target = source.with_suffix(".mnn")
    if not target.exists():
        run([python.with_name("mnnconvert"), "-f", "ONNX", "--modelFile", source,
             "--MNNModel", target, "--bizCode", "peers"])  # fmt: skip
    return target


def by_generator(job: Job, _python: Path) -> Path:
    """Our C, compiled for this machine."""
    from shufflenet_deploy.export import native, trace

    loaded = zoo.load(job.model, weights=job.weights)
    graph = trace.trace(loaded.module, job.resolution, job.model)
    source = native.generate(graph, native.host())
    target = job.folder / f"{job.model}-{job.resolution}-native.so"
    native.compile(source, target)
    return target


PEERS = (
    Peer("ours-native", "fp32", "native", by_generator, note="generated C"),
    Peer("ours-onnx", "fp32", "onnxruntime", lambda job, _: job.exported("onnx", "fp32"),
        note="as torch.onnx writes it",
    ),
    Peer("ours-tflite", "fp32", "litert", lambda job, _: job.exported("tflite", "fp32")),
    Peer(
        "onnx2tf", "fp32", "litert",
        lambda job, _: job.exported("tflite", "fp32", converter="onnx2tf"),
    ),
    Peer("litert-torch", "fp32", "litert", by_litert_torch, ("litert-torch",)),
    Peer("ncnn", "fp32", "ncnn", by_pnnx, ("ncnn", "pnnx")),
    Peer(
        "openvino", "fp32", "openvino",
        lambda job, _: job.exported("onnx", "fp32", lowering="paper"), ("openvino",),
    ),
    Peer("mnn", "fp32", "mnn", by_mnn, ("MNN",)),
    Peer("ours-onnx-int8", "int8", "onnxruntime", lambda job, _: job.exported("onnx", "int8")),
    Peer(
        "onnxruntime-qdq", "int8", "onnxruntime",
        lambda job, _: job.exported("onnx", "int8", lowering="paper"),
        note="plain torch.onnx, onnxruntime's quantiser",
    ),
    Peer("ours-tflite-int8", "int8", "litert", lambda job, _: job.exported("tflite", "int8")),
    Peer(
        "onnx2tf-int8", "int8", "litert",
        lambda job, _: job.exported("tflite", "int8", converter="onnx2tf"),
    ),
)  # fmt: skip


def run(words: Sequence[object], *, cwd: Path | None = None, secs: int = CONVERT_SECS) -> None:
    """Run a converter; its last line is the reason when it fails."""
    argv = [str(word) for word in words]
    try:
        done = subprocess.run(
            argv, cwd=cwd, capture_output=True, text=True, timeout=secs, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerError(f"{Path(argv[0]).name}: {error}") from error
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise PeerError(f"{Path(argv[0]).name}: {lines[-1] if lines else 'failed'}")


class PeerError(Exception):
    """A peer cannot be installed, converted or run."""


def environment(peer: Peer, job: Job) -> Path:
    """The Python of a peer's environment, which sees our packages behind its own."""
    if not peer.packages:
        return Path(sys.executable)
    folder = job.environments / "-".join((*peer.packages, f"py{sys.version_info.minor}"))
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        say(f"{peer.name}: installing {' '.join(peer.packages)}")
        venv.create(folder, with_pip=True, clear=True)
        ours = [path for path in sys.path if path.endswith("site-packages")]
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "ours.pth").write_text("\n".join((*ours, str(HERE.parent))))
        same = f"torch=={metadata.version('torch').partition('+')[0]}"
        run([python, "-m", "pip", "install", "-q", *peer.packages, same], secs=INSTALL_SECS)
        (folder / "complete").touch()
    return python


# --- measuring -----------------------------------------------------------------------------------


class Worker:
    """A peer's process on one core."""

    def __init__(self, peer: Peer, python: Path, file: Path, given: Path, cpu: int) -> None:
        pools = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        self._process = subprocess.Popen(
            [str(python), str(HERE / "peers_worker.py"), peer.engine, str(file), str(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **pools},
            preexec_fn=lambda: os.sched_setaffinity(0, {cpu}),  # noqa: PLW1509 - no threads here
        )
        self.told = self._answer()

    def turn(self, count: int) -> list[int]:
        """Time so many inferences, in ns."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        samples: list[int] = self._answer()
        return samples

    def end(self) -> None:
        """Let the process go."""
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            _, errors = self._process.communicate(timeout=START_SECS)
            lines = [text for text in errors.splitlines() if text.strip()]
            raise PeerError(lines[-1] if lines else f"exit {self._process.returncode}")
        return json.loads(line)


def measure(
    peers: Sequence[Peer], job: Job, *, rounds: int, count: int, cpu: int
) -> list[Measured]:
    """All peers in turns, in a new order every round."""
    found = [Measured(peer) for peer in peers]
    loaded = zoo.load(job.model, weights=job.weights)
    judges = Batches(pictures(None).judges(job.resolution), loaded.preprocessing, job.resolution)
    given = job.folder / "pictures.npy"
    np.save(given, np.concatenate(list(judges)))
    wanted = [one.ravel() for one in expected(loaded.module, list(judges))]
    workers: dict[str, Worker] = {}
    for one in found:
        say(f"{one.peer.name}: preparing")
        try:
            python = environment(one.peer, job)
            file = one.peer.make(job, python)
            worker = Worker(one.peer, python, file, given, cpu)
            judge(one, worker.told, wanted)
            worker.turn(count)  # Warm up.
            workers[one.peer.name] = worker
        except (PeerError, DeployError, OSError, ImportError) as error:
            one.problem = str(error).splitlines()[0]
    order = [one for one in found if one.peer.name in workers]
    generator = random.Random(0)
    for index in range(rounds):
        say(f"round {index + 1} of {rounds}")
        generator.shuffle(order)
        for one in order:
            one.turns.append(workers[one.peer.name].turn(count))
    for worker in workers.values():
        worker.end()
    return found


def judge(one: Measured, told: Any, wanted: Sequence[np.ndarray]) -> None:
    """Compare what a peer answers with PyTorch's scores."""
    got = [np.array(scores) for scores in told["scores"]]
    one.version = told["version"]
    if any(a.size != b.size for a, b in zip(wanted, got, strict=True)):
        raise PeerError(f"{got[0].size} scores where PyTorch has {wanted[0].size}")
    one.sqnr_db = min(sqnr_db(a, b) for a, b in zip(wanted, got, strict=True))
    one.agreement = float(
        np.mean([a.argmax() == b.argmax() for a, b in zip(wanted, got, strict=True)])
    )


# --- the table -----------------------------------------------------------------------------------


def table(found: Sequence[Measured], job: Job, cpu: int) -> str:
    """Markdown: fastest first within a precision, with ratios to plain files of the same turns."""
    with transport.connect("local") as link, Target(link) as target:
        facts = target.facts()
    lines = [
        f"{job.model}, {job.resolution}, one thread on core {cpu} of {facts.cpu}"
        f" ({', '.join(facts.features)}), {facts.os}, Python {platform.python_version()},"
        f" {datetime.now(UTC):%Y-%m-%d}. Median of the turns' medians, interval of 95 %.",
        "",
        "| | | runtime | ms | fastest turn | of the fastest | SQNR | top-1 |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    measured = [one for one in found if one.turns]
    measured.sort(key=lambda one: (one.peer.precision, stats.center(one.turns)))
    first: dict[str, Measured] = {}
    for one in measured:
        interval = stats.interval(one.turns)
        ratio = stats.ratio_interval(first.setdefault(one.peer.precision, one).turns, one.turns)
        wrong = one.sqnr_db < LEAST_SQNR_DB[one.peer.precision]
        runtime = f"{one.peer.engine} {one.version}".strip()
        note = f" ({one.peer.note})" if one.peer.note else ""
        least = min(stats.median(turn) for turn in one.turns)
        lines.append(
            f"| {one.peer.name}{note}{' **wrong**' if wrong else ''} | {one.peer.precision} |"
            f" {runtime} | {interval.estimate / 1e6:.2f} ({interval.low / 1e6:.2f} to"
            f" {interval.high / 1e6:.2f}) | {least / 1e6:.2f} |"
            f" {ratio.estimate:.2f} ({ratio.low:.2f} to {ratio.high:.2f}) | {one.sqnr_db:.0f} dB |"
            f" {one.agreement:.0%} |"
        )
    lines += [f"| {one.peer.name} | {one.peer.precision} | {one.peer.engine} | not measured:"
              f" {one.problem} | | | | |" for one in found if not one.turns]  # fmt: skip
    return "\n".join(lines) + "\n"


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Measure, print the table, keep the turns."""
    names = ",".join(peer.name for peer in PEERS)
    parser = argparse.ArgumentParser(description="Our files and those of others, side by side.")
    parser.add_argument("--model", default="shufflenet-g3-0.5x")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--resolution", type=Resolution.parse, default="224x224")
    parser.add_argument("--peers", default=names, help=f"default: {names}")
    parser.add_argument("--rounds", type=int, default=30, help="turns of each peer")
    parser.add_argument("--count", type=int, default=10, help="inferences of a turn")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=Path("artifacts/peers"))
    given = parser.parse_args()
    unknown = set(given.peers.split(",")) - {peer.name for peer in PEERS}
    if unknown:
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {names}")
    job = Job(
        model=given.model,
        weights=given.weights,
        resolution=given.resolution,
        folder=given.out.absolute(),
        environments=Path(platformdirs.user_cache_dir("shufflenet-deploy")) / "peers",
    )
    job.folder.mkdir(parents=True, exist_ok=True)
    peers = [peer for peer in PEERS if peer.name in given.peers.split(",")]
    found = measure(peers, job, rounds=given.rounds, count=given.count, cpu=given.cpu)
    text = table(found, job, given.cpu)
    write_whole(job.folder / "peers.md", text)
    turns = {one.peer.name: one.turns for one in found}
    write_whole(job.folder / "peers.json", json.dumps(turns))
    print(text, end="")
    return 0 if all(one.turns for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
