"""Outputs computed on the board: exported files, every runtime, over real SSH.

Answers are compared with this host's, which runs the very same agent and runtimes. The converters
of ExecuTorch and OpenVINO are installed where they are missing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from shufflenet_deploy import board, runtime, transport
from shufflenet_deploy.records import Artifact, BenchmarkSpec, Measurement
from shufflenet_deploy.runtime.agent_file import install_agent
from shufflenet_deploy.target import Target

pytestmark = [pytest.mark.board, pytest.mark.timeout(900)]

DELEGATES = Path(__file__).parents[2] / "data" / "delegates"
SHUFFLENET, ALEXNET = "shufflenet-g3-0.5x", "alexnet"
SMALL, FULL = "64x64", "224x224"
RUNTIMES = ("onnxruntime", "litert")
#: PyPI's wheels are built without its provider.
ABSENT = "onnxruntime-xnnpack"
#: Computed once on the board, at a small size.
MORE_RUNTIMES = ("ncnn", "mnn")
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
    """A board whose clock tells the time."""
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
    # AlexNet in fp32 is 244 MB, half a minute of emulated ssh for layers that ShuffleNet has too.
    if (model, precision) != (ALEXNET, "fp32")
] + [Case(name, SHUFFLENET, "fp32", SMALL) for name in MORE_RUNTIMES]


def logits(target: Target, case: Case, artifact: Artifact, picture: Path, into: Path):
    """The logits of a machine for an image, through the agent that also measures."""
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


def test_every_runtime_is_in_one_table_which_says_that_the_board_is_emulated(
    plain, artifacts, cli, tmp_path, show
):
    journal = ("--journal", str(tmp_path / "runs.sqlite"))
    # Of a file that most runtimes got above.
    network = ("--model", SHUFFLENET, "--baseline", "none", "--resolution", SMALL)
    quick = ("--processes", "1", "--warmup", "1", "--min-runs", "3", "--min-secs", "0")
    places = ("--artifacts", str(artifacts), *journal)
    words = ("bench", "--host", "board:plain", *network, "--runtime", "all", *quick, *places)
    timed = cli(*words, timeout=900)
    show(f"{timed.out}\n{timed.err}")
    assert timed.status == 0, timed.err
    assert "emulated" in timed.out
    assert "1 not to be had" in timed.err
    beside = " ".join(timed.out[timed.out.index("Side by side") :].split())
    assert f"in {ABSENT}, fp32: runtime-missing:" in beside
    told = json.loads(cli("runs", "show", "last", "--json", *journal).out)
    measured = {one["cell"]["runtime"] for one in told["cells"] if one["processes"]}
    assert measured == {*runtime.names()} - {ABSENT}


def test_time_is_never_taken_for_instructions(plain, cli, tmp_path):
    journal = ("--journal", str(tmp_path / "runs.sqlite"))
    done = cli("bench", "--host", "board:plain", "--metric", "instructions", *journal)
    assert done.status == 2
    assert "counts time, not instructions" in done.err


@pytest.mark.parametrize("name", ["executorch", "openvino"])
def test_runtimes_with_files_of_their_own_compute_there_what_they_compute_here(
    name, on_host, on_board, picture, tmp_path
):
    ending = "pte" if name == "executorch" else name
    file = SimpleNamespace(path=DELEGATES / f"tiny.{ending}")
    case = Case(name, "tiny", "fp32", "16x16")
    given = picture((1, 3, 16, 16))
    here, version_here = logits(on_host, case, file, given, tmp_path / "host.npy")
    there, version_there = logits(on_board, case, file, given, tmp_path / "board.npy")
    assert version_here == version_there
    assert here.std() > 0
    assert np.abs(here - there).max() <= FP32_TOLERANCE * np.abs(here).max()
