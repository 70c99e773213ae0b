"""``--cluster`` of export, eval and predict: a real Dask cluster has this machine's results.

Of its two workers one is killed in the middle of each command, and another one joins.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import digits
import pytest
import torch
from command_line import typed
from dask_cluster import running_cluster

MODEL = ("--model", str(digits.CARD), "--fmt", "tflite", "--calib", "calib")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    digits.pictures(folder / "digits")
    digits.calibration(folder / "calib")
    return folder


@pytest.fixture(scope="module")
def cluster(home):
    with running_cluster(home / "dask") as shared:
        yield shared


def run(home, *words, cache="cache"):
    changes = {
        "XDG_CACHE_HOME": str(home / cache),
        "SHUFFLENET_DEPLOY_JOURNAL": str(home / "journal.sqlite"),
    }
    return typed(*words, cwd=home, env=os.environ | changes)


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.tflite")
    }


def test_files_are_those_of_this_machine_to_the_last_bit(home, cluster):
    with cluster.losing_a_worker():
        done = run(home, "export", *MODEL, "--cluster", cluster.address, "-o", "far", "--json")
    assert done.returncode == 0, done.stderr
    files = json.loads(done.stdout)["files"]
    assert [one["status"] for one in files] == ["exported", "exported"]
    assert {one["artifact"]["weights"]["path"] for one in files} == {
        str(digits.CARD.with_name("digits.safetensors"))
    }
    assert files[1]["artifact"]["calibration"]["source"] == "calib"
    before = torch.get_num_threads()
    torch.set_num_threads(2)  # Each of the others computes on one.
    here = run(home, "export", *MODEL, "-o", "here")
    torch.set_num_threads(before)
    assert here.returncode == 0, here.stderr
    assert digests(home / "far") == digests(home / "here")
    # What came from there is known here, and is not sent for again.
    for where in ((), ("--cluster", cluster.address)):
        again = run(home, "export", *MODEL, *where, "-o", "far")
        assert again.stdout.count("up to date") == 2


def test_accuracy_is_that_of_this_machine(home, cluster):
    words = ("eval", "--data", "digits", *MODEL, "--limit", "100", "--out", "far", "--json")
    with cluster.losing_a_worker():
        far = run(home, *words, "--cluster", cluster.address, cache="far-cache")
    here = run(home, *words, cache="here-cache")
    assert far.returncode == here.returncode == 0, far.stderr + here.stderr
    found, own = (json.loads(one.stdout)["evaluations"] for one in (far, here))
    for one in (*found, *own):
        del one["at"]
    assert found == own


def test_predictions_are_those_of_this_machine(home, cluster):
    models = "shufflenet-g3-0.25x-noshuffle,shufflenet-g3-0.25x"  # One for each worker.
    words = ("predict", "--model", models, "--resolution", "32x32")
    words += ("--core", "a53@1.2", "--recount", "--json")
    # In the cache of this machine lie its compiler's libraries.
    with cluster.losing_a_worker():
        far = typed(*words, "--cluster", cluster.address, cwd=home)
    here = typed(*words, cwd=home)
    assert far.returncode == here.returncode == 0, far.stderr + here.stderr
    assert json.loads(far.stdout) == json.loads(here.stdout)


def test_mistakes(home, cluster):
    both = run(home, "export", *MODEL, "--cluster", cluster.address, "--workers", "2")
    assert both.returncode == 2
    assert "keep one" in both.stderr
    (home / "mine.py").write_text("import torch\n\ndef net():\n    return torch.nn.Flatten()\n")
    words = ("--model", "mine.py:net", "--resolution", "8x8", "--fmt", "onnx")
    mine = run(home, "export", *words, "--cluster", cluster.address)
    assert mine.returncode == 2
    assert "in code or in a file of your own, which --cluster does not send" in mine.stderr
    nobody = run(home, "export", *MODEL, "--cluster", "tcp://127.0.0.1:1", "-o", "none")
    assert nobody.returncode == 1
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in nobody.stderr
