"""``export --fmt native`` and ``bench --runtime native`` as they are typed, on this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from shufflenet_deploy import zoo
from shufflenet_deploy.cli import command_line
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export import inference, inspect, parity
from shufflenet_deploy.journal import Journal
from shufflenet_deploy.records import Artifact

SMALL = ("--model", "shufflenet-g3-0.25x", "--resolution", "64x64")


@pytest.fixture
def own_state(tmp_path, monkeypatch):
    """Nothing of the user's: the target's folder and the journal lie in the test's folder."""
    monkeypatch.setenv("SHUFFLENET_DEPLOY_ROOT", str(tmp_path / "target"))
    monkeypatch.setenv("SHUFFLENET_DEPLOY_JOURNAL", str(tmp_path / "journal.sqlite"))
    return tmp_path


def exported(folder, *more):
    argv = ["export", *SMALL, "--fmt", "native", "--out", str(folder), "--json", *more]
    result = CliRunner().invoke(command_line(), argv)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["files"]


def test_programs_that_are_made_once(tmp_path):
    made = exported(tmp_path, "--machine", "host")
    assert [one["artifact"]["precision"] for one in made] == ["fp32", "int8"]
    written = {}
    for one in made:
        assert one["status"] == "exported"
        assert one["artifact"]["parity"]["passed"]
        assert one["artifact"]["tools"]["checked on"] == "this processor"
        assert os.access(one["path"], os.X_OK)
        written[one["path"]] = Path(one["path"]).stat().st_mtime_ns
    exact, rounded = (one["artifact"] for one in made)
    assert exact["parity"]["max_abs_diff"] < 1e-3
    assert exact["calibration"] is exact["recipe"] is None
    assert rounded["calibration"]["source"] == "shipped photographs"
    assert rounded["recipe"]["method"] == rounded["calibration"]["method"] == "minmax"
    assert rounded["size_bytes"] < exact["size_bytes"] / 2
    again = exported(tmp_path, "--machine", "host")
    assert [one["status"] for one in again] == ["up to date", "up to date"]
    assert {one["path"]: Path(one["path"]).stat().st_mtime_ns for one in again} == written
    others = exported(tmp_path, "--machine", "host", "--calib-method", "percentile")
    assert [one["status"] for one in others] == ["up to date", "exported"]
    assert others[1]["artifact"]["recipe"]["method"] == "percentile"


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_program_for_a_raspberry_pi_is_run_before_it_is_trusted(tmp_path, precision):
    (pi,) = exported(tmp_path, "--machine", "a72", "-p", precision)
    assert pi["artifact"]["options"] == {"machine": "cortex-a72"}
    assert pi["artifact"]["tools"]["checked on"] == "qemu-aarch64"
    assert pi["artifact"]["parity"]["passed"]


def test_fp16_where_a_core_has_it_and_in_its_place_where_none_can_run_it(tmp_path, monkeypatch):
    (pi,) = exported(tmp_path, "--machine", "a76", "-p", "fp16")
    assert pi["path"].endswith("-cortex-a76-64x64-fp16.native")
    assert inspect(Path(pi["path"])).precision == pi["artifact"]["precision"] == "fp16"
    assert pi["artifact"]["tools"]["checked on"] == "qemu-aarch64"
    assert pi["artifact"]["parity"]["passed"]
    assert pi["artifact"]["calibration"] is pi["artifact"]["recipe"] is None
    made, model = Artifact.model_validate(pi["artifact"]), zoo.load(SMALL[1])
    picture = np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32)
    emulated = inference.of_file(made, model)(picture)
    monkeypatch.setattr("shutil.which", lambda _: None)
    answered = inference.of_file(made, model)(picture)
    exact = inference.of_module(model.module)(picture)
    # Halves add up in another order here: near the program, and no nearer to PyTorch than halves.
    assert parity.sqnr_db(emulated, answered) > 30
    assert 30 < parity.sqnr_db(exact, answered) < 80


def test_they_are_measured_without_anything_installed(own_state):
    argv = ["bench", *SMALL, "-p", "fp32,int8", "--runtime", "native", "--baseline", "none"]
    quick = [
        "--processes",
        "2",
        "--min-secs",
        "0.05",
        "--min-runs",
        "5",
        "--warmup",
        "3",
        "--retries",
        "0",
    ]
    more = [*quick, "--artifacts", str(own_state / "artifacts"), "--json"]
    result = CliRunner().invoke(command_line(), [*argv, *more])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["measured"] == 4
    assert said["failures"] == said["failed_validation"] == []
    assert said["pushed"]["files"] == 2, "the programs, and no agent"
    result = CliRunner().invoke(command_line(), [*argv, *more])
    assert json.loads(result.stdout)["pushed"]["files"] == 0


def test_a_network_with_projections_in_int8(tmp_path):
    small = ("--model", "resnet-13m", "--resolution", "32x32", "--fmt", "native")
    argv = ["export", *small, "-p", "int8", "--machine", "host", "--out", str(tmp_path), "--json"]
    result = CliRunner().invoke(command_line(), argv)
    assert result.exit_code == 0, result.output
    (made,) = json.loads(result.stdout)["files"]
    assert made["artifact"]["precision"] == "int8"
    assert made["artifact"]["parity"]["passed"]


def test_threads_are_an_axis_of_a_suite(own_state):
    argv = ["bench", *SMALL, "-p", "int8", "--runtime", "native", "--threads", "1,2"]
    argv += ["--baseline", "none", "--processes", "1", "--retries", "0", "--warmup", "3"]
    argv += ["--min-secs", "0.05", "--min-runs", "5"]
    argv += ["--artifacts", str(own_state / "artifacts"), "--json"]
    result = CliRunner().invoke(command_line(), argv)
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["measured"] == 2
    assert said["failures"] == []
    assert said["pushed"]["files"] == 1, "one program for any number of threads"
    with Journal(str(own_state / "journal.sqlite")) as journal:
        assert sorted(run.cell.threads for run in journal.runs(said["suite"])) == [1, 2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--machine", "z80"), "cortex-a72"),
        (("--machine", "host", "--fmt", "c"), "native"),
        (("-p", "int4"), "fp32, fp16, int8"),
        (("-p", "fp16", "--machine", "a72"), "cortex-a76"),
        (("-p", "fp16", "--fmt", "native,onnx", "--machine", "a76"), "onnx has none"),
        (("-p", "int8", "--calib-method", "mean"), "minmax"),
    ],
)
def test_what_there_is_not(tmp_path, options, words):
    argv = ["export", *SMALL, "--fmt", "native", "--out", str(tmp_path), *options]
    result = CliRunner().invoke(command_line(), argv)
    assert isinstance(result.exception, UsageError)
    assert words in str(result.exception)
