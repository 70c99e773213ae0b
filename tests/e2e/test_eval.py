"""``eval`` as it is typed: what is printed, which exit code, what an interruption leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import digits
import pytest
import sample_runs
from command_line import typed

from shufflenet_deploy.journal import Journal

MODEL = ("--model", str(digits.CARD))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``digits`` and ``calib``, and the files exported that the tests evaluate."""
    folder = tmp_path_factory.mktemp("eval")
    digits.pictures(folder / "digits")
    digits.calibration(folder / "calib")
    return folder


def environment(home: Path) -> dict[str, str]:
    changes = {"XDG_CACHE_HOME": str(home / "cache"), "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    return os.environ | changes | {"SHUFFLENET_DEPLOY_JOURNAL": str(home / "journal.sqlite")}


def run(home: Path, *argv: str | Path) -> subprocess.CompletedProcess[str]:
    return typed(*argv, cwd=home, env=environment(home))


FILES = (*MODEL, "--fmt", "tflite", "--calib", "calib")


def test_evaluates_what_it_exports_and_notes_it(home: Path) -> None:
    done = run(home, "eval", "--data", "digits", *FILES, "--floor", "top1=95,agreement=97")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith("digits at 32x32: 320 images of 10 classes in digits (fingerprint")
    # An interval may stand below its figure.
    rows = [line for line in lines[2:] if line and not line.startswith(" ")][:3]
    figures = {line.split("  ")[0].strip(): line.split()[-1] for line in rows}
    assert list(figures) == ["PyTorch", "tflite fp32", "tflite int8"]
    assert figures["tflite fp32"] == "1.000"
    again = run(home, "eval", "--data", "digits", *FILES, "--json")
    evaluations = json.loads(again.stdout)["evaluations"]
    assert [each["artifact"]["precision"] for each in evaluations] == ["fp32", "int8"]
    exact = evaluations[0]
    assert exact["agreement"]["value"] == 100
    assert exact["percent"]["file"] == exact["percent"]["module"]
    top1 = exact["percent"]["file"]["top1"]
    assert top1["low"] < top1["value"] == 100 * exact["file"]["top1"] / 320 < top1["high"]
    assert exact["mcnemar_p"] == 1


@pytest.mark.timeout(900)  # installs an environment where it is missing
@pytest.mark.parametrize(
    ("formats", "precision", "count"),
    [
        ("ncnn,mnn", "fp32", 2),
        pytest.param("executorch,openvino", "fp32,int8", 4, marks=pytest.mark.onnx2tf),
    ],
)
def test_files_of_other_runtimes_are_evaluated_by_their_own_engines(
    home: Path, formats: str, precision: str, count: int
) -> None:
    # The converters are in the user's cache, and so are predictions then.
    changes = {"XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))}
    words = ("--fmt", formats, "-p", precision, "--calib", "calib", "--limit", "40", "--fresh")
    argv = ("eval", "--data", "digits", *MODEL, *words, "--json")
    done = typed(*argv, cwd=home, env=environment(home) | changes)
    evaluations = json.loads(done.stdout)["evaluations"]
    assert len(evaluations) == count, done.stderr
    for one in evaluations:
        least = 100 if one["artifact"]["precision"] == "fp32" else 85
        assert one["agreement"]["value"] >= least, one["artifact"]


def test_a_floor_that_is_missed_and_pictures_that_cannot_be_decoded(home: Path) -> None:
    broken = home / "broken"
    digits.pictures(broken)
    (broken / "4" / "text.jpg").write_text("no picture")
    argv = ("eval", "--data", broken, *FILES, "-p", "fp32")
    done = run(home, *argv, "--floor", "top1=100")
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "warning: cannot be decoded, in no count: 4/text.jpg"
    assert "error: 1 images cannot be decoded" in done.stderr
    assert "error: digits-0348bc2e-32x32-fp32.tflite: top1 9" in done.stderr
    assert "floor 100 %" in done.stderr
    assert "320 images, 1 more that cannot be decoded" in done.stdout
    allowed = run(home, *argv, "--max-unreadable", "1")
    assert allowed.returncode == 0
    assert "4/text.jpg" in allowed.stderr


def test_the_table_shows_what_was_counted_on_the_very_file(home: Path, tmp_path: Path) -> None:
    measurement = sample_runs.run("shufflenet-g3-0.5x")
    with Journal(tmp_path / "journal.sqlite") as book:
        book.append(measurement)
        book.append_evaluation(sample_runs.evaluation(measurement.artifact, top1=56))
    done = run(home, "table", "--journal", tmp_path / "journal.sqlite", "--format", "md")
    assert "| 43.2<br>here 44.0 |" in done.stdout
    assert "on 100 images of 1000 classes in val" in done.stdout


def test_pictures_that_calibrated_a_file_flatter_it(home: Path) -> None:
    for number in range(10):
        (home / "ten" / str(number)).mkdir(parents=True)
    for path in sorted((home / "calib").iterdir())[:8]:
        (home / "ten" / "0" / path.name).write_bytes(path.read_bytes())
    argv = ("eval", "--data", "ten", *MODEL, "--fmt", "tflite", "-p", "int8", "--out", "ten-out")
    done = run(home, *argv, "--calib", "ten/0")
    assert "warning: 6 of the images calibrated the int8 files too" in done.stderr
    assert "warning: 9 class folders hold no image: 1, 2, 3, …" in done.stderr


def test_untrained_weights_are_called_what_they_are(home: Path) -> None:
    """Named folders of a model with a thousand classes, so labels are needed, too."""
    argv = ("eval", "--data", "digits", "--model", "shufflenet-g3-0.25x", "--resolution", "32x32")
    argv += ("--fmt", "tflite", "--precision", "fp32", "--limit", "20", "--out", "untrained")
    unclear = run(home, *argv)
    assert unclear.returncode == 2
    assert "error: there are 10 class folders (0, 1, 2, 3, …), fewer than" in unclear.stderr
    assert not (home / "untrained").exists()
    done = run(home, *argv, "--labels", "numbers")
    assert done.returncode == 0
    assert "has UNTRAINED weights: what follows is the accuracy of chance" in done.stderr
    assert "UNTRAINED weights: chance: 20 images of 320, chosen by" in done.stdout
    # Neither its size nor its classes are the paper's.
    assert "The paper's top-1 error" not in done.stdout


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (("--data", "missing"), "--data missing is no folder"),
        (("--data", "missing", "--fmt", "caffe"), "--data missing is no folder"),
        (("--data", "digits", "--labels", "none.txt"), "cannot read the labels none.txt"),
        (("--data", "digits", "--out", "journal.sqlite/x"), "--out journal.sqlite/x"),
        (("--data", "digits", "--floor", "top1=0.9"), "thresholds are percent; write top1=90"),
        (("--data", "digits", "--journal", "digits"), "is a folder: name a file"),
        (("--data", "digits", "--fmt", "caffe"), "--fmt 'caffe' is unknown"),
        (("--data", "digits", "--model", "digitz"), "no model is called 'digitz'"),
        (("--data", "digits", "--head", "none"), "--head none: a feature map tells no classes"),
    ],
)
def test_mistakes_are_one_line(home: Path, argv: tuple[str, ...], line: str) -> None:
    done = run(home, "eval", *argv)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert line in done.stderr


def test_ctrl_c_keeps_what_was_answered_and_leaves_no_worker(home: Path) -> None:
    argv = ("eval", "--data", "digits", *MODEL, "--fmt", "tflite", "-p", "fp32")
    argv += ("--resolution", "256x256", "--json")
    process = subprocess.Popen(
        [sys.executable, "-m", "shufflenet_deploy", *argv, "--workers", "2"],
        cwd=home,
        env=environment(home) | {"XDG_CACHE_HOME": str(home / "other")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 200
    while not (begun := _answered(home / "other")) and time.monotonic() < deadline:
        time.sleep(0.02)
    workers = _children(process.pid)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert begun
    assert "Traceback" not in stderr
    assert "of 320 images are kept: the same command goes on" in stderr
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    kept = _answered(home / "other")
    assert begun <= kept < 2 * 320


def _answered(cache: Path) -> int:
    files = (cache / "shufflenet-deploy" / "answers").glob("*.jsonl")
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines() if line]
    return sum(len(row) for row in rows if "network" not in row)


def _children(parent: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(status.parent.name))
    return found
