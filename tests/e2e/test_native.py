"""``export --fmt native`` and ``bench --runtime native`` as they are typed, on this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shufflenet_deploy.cli import app
from shufflenet_deploy.errors import UsageError

SMALL = ("--model", "shufflenet-g3-0.25x", "--resolution", "64x64", "--precision", "fp32")


@pytest.fixture
def own_state(tmp_path, monkeypatch):
    """Nothing of the user's: the target's folder and the journal lie in the test's folder."""
    monkeypatch.setenv("SHUFFLENET_DEPLOY_ROOT", str(tmp_path / "target"))
    monkeypatch.setenv("SHUFFLENET_DEPLOY_JOURNAL", str(tmp_path / "journal.sqlite"))
    return tmp_path


def exported(folder, *more):
    argv = ["export", *SMALL, "--fmt", "native", "--out", str(folder), "--json", *more]
    result = CliRunner().invoke(app, argv)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["files"][0]


def test_a_program_that_is_made_once(tmp_path):
    first = exported(tmp_path, "--machine", "host")
    assert first["status"] == "exported"
    assert first["artifact"]["parity"]["max_abs_diff"] < 1e-3
    assert first["artifact"]["tools"]["checked on"] == "this processor"
    assert os.access(first["path"], os.X_OK)
    written = Path(first["path"]).stat().st_mtime_ns
    assert exported(tmp_path, "--machine", "host")["status"] == "up to date"
    assert Path(first["path"]).stat().st_mtime_ns == written


def test_a_program_for_a_raspberry_pi_is_run_before_it_is_trusted(tmp_path):
    pi = exported(tmp_path, "--machine", "a72")
    assert pi["artifact"]["options"] == {"machine": "cortex-a72"}
    assert pi["artifact"]["tools"]["checked on"] == "qemu-aarch64"
    assert pi["artifact"]["parity"]["passed"]


def test_it_is_measured_without_anything_installed(own_state):
    argv = ["bench", *SMALL, "--runtime", "native", "--baseline", "none", "--processes", "2"]
    quick = ["--min-secs", "0.05", "--min-runs", "5", "--warmup", "3", "--retries", "0"]
    more = [*quick, "--artifacts", str(own_state / "artifacts"), "--json"]
    result = CliRunner().invoke(app, [*argv, *more])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["measured"] == 2
    assert said["failures"] == said["failed_validation"] == []
    assert said["pushed"]["files"] == 1, "the program, and no agent"
    result = CliRunner().invoke(app, [*argv, *more])
    assert json.loads(result.stdout)["pushed"]["files"] == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [(("--machine", "z80"), "cortex-a72"), (("--machine", "host", "--fmt", "c"), "native")],
)
def test_what_there_is_not(tmp_path, options, words):
    argv = ["export", *SMALL, "--fmt", "native", "--out", str(tmp_path), *options]
    result = CliRunner().invoke(app, argv)
    assert isinstance(result.exception, UsageError)
    assert words in str(result.exception)
