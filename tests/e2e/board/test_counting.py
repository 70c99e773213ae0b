"""The cost of an inference on the board: instructions, their lock and its gate, both profilers."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from shufflenet_deploy import board, transport
from shufflenet_deploy.atomic_files import resource
from shufflenet_deploy.cost import CostBaseline, protocol
from shufflenet_deploy.records import Artifact
from shufflenet_deploy.target import Target

pytestmark = [pytest.mark.board, pytest.mark.timeout(900)]

SHUFFLENET = "shufflenet-g3-0.5x"
SMALL, FULL = "64x64", "224x224"
#: A board whose test was killed switches itself off after this time.
LIFETIME_SECS = 1200

#: The most that two counts of the same thing may differ: other boot, other load.
REPEATABILITY = 0.001


@pytest.fixture(scope="module")
def counting(state):
    """A deterministic cortex-a72, shared by the tests that measure."""
    yield board.up(
        board.BoardSettings.choose(
            name="counting", cpu="a72", deterministic=True, lifetime_secs=LIFETIME_SECS
        )
    )
    # With those that ``cost --keep`` left running.
    for name in ("counting", "cost-cortex-a72", "cost-cortex-a76"):
        board.down(name)


@pytest.fixture(scope="module")
def small(exported):
    """ShuffleNet on a small picture."""
    return exported("onnxruntime", SHUFFLENET, "fp32", SMALL)


def counted(name: str, artifact: Artifact) -> int:
    """Instructions of an inference on the board of this name."""
    machine = board.find(name)
    with transport.connect(machine.ssh_settings()) as link, Target(link) as target:
        return protocol.count_one("cortex-a72", "onnxruntime", artifact, target).instructions


def test_a_count_is_the_same_under_load_and_after_another_boot(counting, small, show):
    first = counted("counting", small)
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        loaded = counted("counting", small)
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    # The next tests find it running.
    board.up(counting.settings.model_copy(update={"name": "cost-cortex-a72"}))
    rebooted = counted("cost-cortex-a72", small)
    show(f"idle {first}, loaded host {loaded}, other boot {rebooted}")
    assert abs(loaded / first - 1) <= REPEATABILITY
    assert abs(rebooted / first - 1) <= REPEATABILITY


def test_a_count_is_plausible(counting, small):
    """Between the fewest possible multiply-adds of four lanes and twenty times as many."""
    floor = small.multiply_adds / 4
    assert floor < counted("counting", small) < 20 * floor


def test_instructions_are_never_taken_for_time(counting, cli, tmp_path):
    journal = ("--journal", str(tmp_path / "runs.sqlite"))
    latency = cli("bench", "--host", "board:counting", *journal)
    assert latency.status == 2
    assert "counts instructions, not time" in latency.err
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


def test_the_counts_of_shufflenet_are_what_is_locked(artifacts, cli, show):
    lock = str(resource("benchmarks", "cost.lock.toml"))
    words = ("cost", "--check", lock, "--model", SHUFFLENET, "--keep")
    cost = cli(*words, "--artifacts", str(artifacts), timeout=800)
    show(f"{cost.out}\n{cost.err}")
    assert cost.status == 0
    assert re.search(r"of 8 counts are within 0\.5%", cost.out)
    assert "regressed" not in cost.out


def test_the_gate_closes_when_an_inference_costs_more(artifacts, cli, tmp_path):
    words = ("--cpu", "a72", "--model", SHUFFLENET, "--runtime", "onnxruntime", "-p", "fp32")
    # A full picture: of a small one the kernel's part in a count is 0.1 %, too much for the figure.
    words += ("--resolution", FULL, "--artifacts", str(artifacts), "--keep")
    lock = tmp_path / "cost.lock.toml"
    made = cli("cost", "--check", str(lock), "--update", *words)
    assert made.status == 0, made.err
    text = lock.read_text()
    number = next(one.instructions for one in CostBaseline.read(lock).count)
    assert cli("cost", "--check", str(lock), *words).status == 0
    lock.write_text(text.replace(str(number), str(int(number / 1.02))))
    worse = cli("cost", "--check", str(lock), *words)
    assert worse.status == 1
    assert "regressed" in worse.out
    assert re.search(r"\+(1\.9\d|2\.0\d)%", worse.out), worse.out
    lock.write_text(text.replace(str(number), str(int(number * 1.02))))
    better = cli("cost", "--check", str(lock), *words)
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
