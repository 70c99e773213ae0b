"""What the board computes and what it costs: exported files, both runtimes, over real SSH.

The figures of merit are compared with this host, which runs the very same agent and runtimes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from shufflenet_deploy import board, export, runtime, transport
from shufflenet_deploy.cost import Lock
from shufflenet_deploy.cost import counting as cost_counting
from shufflenet_deploy.export import ExportRequest
from shufflenet_deploy.files import resource
from shufflenet_deploy.records import Artifact, BenchmarkSpec, Measurement
from shufflenet_deploy.target import Target

pytestmark = [pytest.mark.board, pytest.mark.timeout(900)]

SHUFFLENET, ALEXNET = "shufflenet-g3-0.5x", "alexnet"
SMALL, FULL = "64x64", "224x224"
FORMATS = {"onnxruntime": "onnx", "litert": "tflite"}
ONCE = BenchmarkSpec(
    warmup_runs=0, warmup_secs=0, min_runs=1, min_secs=0, max_secs=60, processes=1, timeout_secs=600
)

#: Largest difference of fp32 logits, relative to the largest logit.
FP32_TOLERANCE = 1e-4
#: Largest difference of int8 logits, in steps of the output's scale.
INT8_STEPS = 1
#: A board whose test was killed switches itself off after this time.
LIFETIME_SECS = 1500

#: The most that two counts of the same thing may differ: other boot, other load.
REPEATABILITY = 0.001


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory):
    """The folder of exported files."""
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture(scope="module")
def on_host(tmp_path_factory):
    root = tmp_path_factory.mktemp("host")
    with transport.connect("local") as link, Target(link, root=str(root)) as target:
        yield target


@pytest.fixture(scope="module")
def plain(state):
    """A board whose clock tells the time: AlexNet's 244 MB travel to this one only."""
    return board.up(
        board.BoardSettings.choose(name="plain", cpu="a72", lifetime_secs=LIFETIME_SECS)
    )


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
    for name in FORMATS
    for model, resolution in ((SHUFFLENET, SMALL), (SHUFFLENET, FULL), (ALEXNET, SMALL))
    for precision in ("fp32", "int8")
]


def exported(case: Case, folder: Path) -> Artifact:
    return export.export(
        ExportRequest(
            model=case.model,
            format=FORMATS[case.runtime],
            precision=case.precision,
            resolution=case.resolution,
            out=folder,
        )
    )


def logits(target: Target, case: Case, artifact: Artifact, picture: Path, into: Path):
    """What a machine computes for a picture, through the agent that also measures."""
    chosen = runtime.get(case.runtime)
    environment = target.environment(chosen.payload(target.facts()))
    remote = target.install(picture)
    output = f"{remote}.{into.name}"
    argv = chosen.command(
        python=environment.python,
        agent=target.install(resource("device_scripts", "agent.py")),
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
    case, artifacts, on_host, on_board, picture, tmp_path, show
):
    artifact = exported(case, artifacts)
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


# --- what it costs -------------------------------------------------------------------------------


def counted(name: str, artifacts: Path) -> int:
    """Instructions of ShuffleNet at a small resolution on the board of this name."""
    machine = board.find(name)
    artifact = exported(Case("onnxruntime", SHUFFLENET, "fp32", SMALL), artifacts)
    with transport.connect(machine.ssh_settings()) as link, Target(link) as target:
        return cost_counting.count_one("cortex-a72", "onnxruntime", artifact, target).instructions


def test_a_count_is_the_same_under_load_and_after_another_boot(counting, artifacts, show):
    first = counted("counting", artifacts)
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        loaded = counted("counting", artifacts)
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    # The next tests find it running.
    board.up(counting.settings.model_copy(update={"name": "cost-cortex-a72"}))
    rebooted = counted("cost-cortex-a72", artifacts)
    show(f"idle {first}, loaded host {loaded}, other boot {rebooted}")
    assert abs(loaded / first - 1) <= REPEATABILITY
    assert abs(rebooted / first - 1) <= REPEATABILITY


def test_a_count_is_plausible(counting, artifacts):
    """Between the fewest possible multiply-adds of four lanes and twenty times as many."""
    artifact = exported(Case("onnxruntime", SHUFFLENET, "fp32", SMALL), artifacts)
    floor = artifact.multiply_adds / 4
    assert floor < counted("counting", artifacts) < 20 * floor


def test_time_and_instructions_are_never_taken_for_each_other(counting, plain, cli, tmp_path):
    journal = ("--journal", str(tmp_path / "runs.sqlite"))
    latency = cli("bench", "--host", "board:counting", *journal)
    assert latency.status == 2
    assert "tells instructions, not time" in latency.err
    instructions = cli("bench", "--host", "board:plain", "--metric", "instructions", *journal)
    assert instructions.status == 2
    assert "tells time, not instructions" in instructions.err
    local = cli("bench", "--host", "local", "--metric", "instructions", *journal)
    assert local.status == 2
    assert "virtual board" in local.err


def test_bench_counts_and_pushes_everything_once(counting, artifacts, cli, tmp_path):
    words = ["bench", "--host", "board:counting", "--metric", "instructions", "--baseline", "none"]
    words += ["--model", SHUFFLENET, "--resolution", SMALL, "--artifacts", str(artifacts)]
    words += ["--journal", str(tmp_path / "runs.sqlite"), "--json"]
    first = cli(*words)
    assert first.status == 0, first.err
    second = cli(*words)
    assert second.status == 0, second.err
    pushed = json.loads(second.out)["pushed"]
    assert (pushed["files"], pushed["bytes"]) == (0, 0)
    assert pushed["already_there"] >= 2


def test_the_table_of_an_emulated_board_says_so(plain, artifacts, cli, tmp_path, show):
    files = ("--artifacts", str(artifacts), "--journal", str(tmp_path / "runs.sqlite"))
    timed = cli("bench", "--host", "board:plain", "--suite", "smoke", *files, timeout=600)
    show(f"{timed.out}\n{timed.err}")
    assert timed.status == 0
    assert "emulated" in timed.out


def test_the_counts_of_shufflenet_are_what_is_locked(artifacts, cli, show):
    lock = str(resource("benchmarks", "cost.lock.toml"))
    words = ("cost", "--check", lock, "--model", SHUFFLENET, "--keep")
    cost = cli(*words, "--artifacts", str(artifacts), timeout=800)
    show(f"{cost.out}\n{cost.err}")
    assert cost.status == 0
    assert re.search(r"of 8 counts are within 0\.5%", cost.out)
    assert "regressed" not in cost.out


def test_the_counts_of_native_programs_are_what_is_locked(artifacts, cli, show):
    lock = str(resource("benchmarks", "cost.lock.toml"))
    words = ("cost", "--check", lock, "--model", SHUFFLENET, "--runtime", "native")
    cost = cli(*words, "--keep", "--artifacts", str(artifacts), timeout=800)
    show(f"{cost.out}\n{cost.err}")
    assert cost.status == 0
    assert re.search(r"of 5 counts are within 0\.5%", cost.out)


def test_the_gate_closes_when_an_inference_costs_more(artifacts, cli, tmp_path):
    small = ("--cpu", "a72", "--model", SHUFFLENET, "--runtime", "onnxruntime", "-p", "fp32")
    small += ("--resolution", SMALL, "--artifacts", str(artifacts), "--keep")
    lock = tmp_path / "cost.lock.toml"
    made = cli("cost", "--check", str(lock), "--update", *small)
    assert made.status == 0, made.err
    text = lock.read_text()
    number = next(one.instructions for one in Lock.read(lock).count)
    assert cli("cost", "--check", str(lock), *small).status == 0
    lock.write_text(text.replace(str(number), str(int(number / 1.02))))
    worse = cli("cost", "--check", str(lock), *small)
    assert worse.status == 1
    assert "regressed" in worse.out
    assert re.search(r"\+(1\.9\d|2\.0\d)%", worse.out), worse.out
    lock.write_text(text.replace(str(number), str(int(number * 1.02))))
    better = cli("cost", "--check", str(lock), *small)
    assert better.status == 0
    assert "improved" in better.out
    assert "--update" in better.out


@pytest.mark.parametrize("runtime", ["onnxruntime", "litert"])
def test_a_profile_accounts_for_the_whole_inference(runtime, artifacts, cli):
    words = ("--cpu", "a72", "--model", SHUFFLENET, "--runtime", runtime, "-p", "fp32")
    # At a full picture: what the profiler costs per operator does not shrink with the picture.
    words += ("--resolution", FULL, "--artifacts", str(artifacts), "--keep")
    found = cli("cost", "--profile", "--json", *words)
    assert found.status == 0, found.err
    result = json.loads(found.out)
    whole, count = result["profiles"][0]["breakdown"], result["counts"][0]["instructions"]
    kinds = {one["name"]: one["value"] for one in whole["kinds"]}
    assert sum(kinds.values()) == pytest.approx(whole["whole"])
    assert max(kinds, key=kinds.get) == "1x1 convolution"
    assert kinds["outside operators"] < 0.2 * whole["whole"]
    assert whole["plain"] == pytest.approx(count, rel=0.005)
    assert count < whole["whole"] < 1.5 * count
