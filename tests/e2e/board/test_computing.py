"""What the board computes: exported files, both runtimes, over real SSH.

Answers are compared with this host's, which runs the very same agent and runtimes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from shufflenet_deploy import board, runtime, transport
from shufflenet_deploy.records import Artifact, BenchmarkSpec, Measurement
from shufflenet_deploy.runtime.agent_file import install_agent
from shufflenet_deploy.target import Target

pytestmark = [pytest.mark.board, pytest.mark.timeout(900)]

SHUFFLENET, ALEXNET = "shufflenet-g3-0.5x", "alexnet"
SMALL, FULL = "64x64", "224x224"
RUNTIMES = ("onnxruntime", "litert")
ONCE = BenchmarkSpec(
    warmup_runs=0, warmup_secs=0, min_runs=1, min_secs=0, max_secs=60, processes=1, timeout_secs=600
)

#: Largest difference of fp32 logits, relative to the largest logit.
FP32_TOLERANCE = 1e-4
#: Largest difference of int8 logits, in steps of the output's scale.
INT8_STEPS = 1
#: A board whose test was killed switches itself off after this time.
LIFETIME_SECS = 1500


@pytest.fixture(scope="module")
def on_host(tmp_path_factory):
    root = tmp_path_factory.mktemp("host")
    with transport.connect("local") as link, Target(link, root=str(root)) as target:
        yield target


@pytest.fixture(scope="module")
def plain(state):
    """A board whose clock tells the time: AlexNet's 244 MB travel to this one only, once."""
    yield board.up(board.BoardSettings.choose(name="plain", cpu="a72", lifetime_secs=LIFETIME_SECS))
    board.down("plain")


@pytest.fixture(scope="module")
def on_board(plain):
    with transport.connect(plain.ssh_settings()) as link, Target(link) as target:
        yield target


@dataclass(frozen=True)
class Case:
    """One file that both machines run."""

    runtime: str
    model: str
    precision: str
    resolution: str

    def __str__(self) -> str:
        return f"{self.model}-{self.precision}-{self.runtime}-{self.resolution}"


CASES = [
    Case(name, model, precision, resolution)
    for name in RUNTIMES
    for model, resolution in ((SHUFFLENET, SMALL), (SHUFFLENET, FULL), (ALEXNET, SMALL))
    for precision in ("fp32", "int8")
    # 244 MB, half a minute of emulated ssh: once is enough. onnxruntime computes ShuffleNet in fp32
    # and AlexNet in int8 here, LiteRT both in both.
    if (name, model, precision) != ("onnxruntime", ALEXNET, "fp32")
]


def logits(target: Target, case: Case, artifact: Artifact, picture: Path, into: Path):
    """What a machine computes for a picture, through the agent that also measures."""
    chosen = runtime.get(case.runtime)
    environment = target.environment(chosen.payload(target.facts()))
    remote = target.install(picture)
    output = f"{remote}.{into.name}"
    argv = chosen.command(
        python=environment.python,
        agent=install_agent(target.install),
        model=target.install(artifact.path),
        spec=ONCE,
        input=remote,
        output=output,
    )
    done = target.invoke(
        argv, env={**environment.env, **chosen.environment(ONCE)}, timeout_s=ONCE.timeout_secs
    )
    report = chosen.parse(done.text)
    assert isinstance(report.outcome, Measurement), report.outcome
    target.transport.pull(output, into)
    return np.load(into).astype(np.float64), report.runtime_version


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """Files with one fixed input per shape, as smooth as a photograph and as wide in range."""
    folder = tmp_path_factory.mktemp("pictures")

    def of(shape):
        path = folder / f"{'x'.join(map(str, shape))}.npy"
        if not path.exists():
            generator = np.random.default_rng(7)
            grids = np.meshgrid(*[np.linspace(0, 3, size) for size in shape], indexing="ij")
            smooth = sum(np.sin(grid * (axis + 2)) for axis, grid in enumerate(grids))
            noise = generator.normal(0, 0.3, shape)
            np.save(path, np.clip(smooth / 2 + noise, -2, 2).astype(np.float32))
        return path

    return of


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_board_computes_what_this_host_computes(
    case, exported, on_host, on_board, picture, tmp_path, show
):
    artifact = exported(case.runtime, case.model, case.precision, case.resolution)
    assert artifact.parity.passed, artifact.parity
    given = picture(artifact.inputs[0].shape)
    here, version_here = logits(on_host, case, artifact, given, tmp_path / "host.npy")
    there, version_there = logits(on_board, case, artifact, given, tmp_path / "board.npy")
    assert version_here == version_there
    assert here.shape == there.shape == artifact.outputs[0].shape
    assert here.std() > 0, "constant logits would prove nothing"
    difference = np.abs(here - there).max()
    if case.precision == "fp32":
        assert difference <= FP32_TOLERANCE * np.abs(here).max()
        return
    raw = artifact.outputs[0].dtype == "int8"
    step = 1.0 if raw else np.diff(np.unique(np.concatenate([here, there]))).min()
    show(f"{case}: {difference / step:.1f} steps")
    assert difference <= (INT8_STEPS + 1e-3) * step


def test_the_table_of_an_emulated_board_says_so(plain, artifacts, cli, tmp_path, show):
    files = ("--artifacts", str(artifacts), "--journal", str(tmp_path / "runs.sqlite"))
    # In LiteRT, whose files have been pushed above.
    words = ("bench", "--host", "board:plain", "--suite", "smoke", "--runtime", "litert")
    timed = cli(*words, *files, timeout=600)
    show(f"{timed.out}\n{timed.err}")
    assert timed.status == 0
    assert "emulated" in timed.out


def test_time_is_never_taken_for_instructions(plain, cli, tmp_path):
    journal = ("--journal", str(tmp_path / "runs.sqlite"))
    done = cli("bench", "--host", "board:plain", "--metric", "instructions", *journal)
    assert done.status == 2
    assert "counts time, not instructions" in done.err
