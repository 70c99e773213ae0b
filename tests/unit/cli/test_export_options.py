"""Options of ``export`` that no file can satisfy are refused before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from shufflenet_deploy.cli import command_line
from shufflenet_deploy.cli.export_run import _formats
from shufflenet_deploy.errors import UsageError


@pytest.mark.parametrize(
    "options",
    [
        ["--weights", "missing.pth"],
        ["--labels", "missing.txt"],
        ["--min-cosine", "2"],
        ["--min-agreement", "85"],
        ["--min-agreement", "-0.1"],
        ["--max-diff", "-1"],
        ["--resolution", "99999x99999"],
    ],
)
def test_what_cannot_be_met_is_refused_first(options, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(command_line(), ["export", *options])
    assert result.exit_code != 0
    assert "failed" not in result.output
    assert not list(tmp_path.rglob("*.onnx"))


@pytest.mark.parametrize(
    ("asked", "has_program"), [(["all"], False), (["all", "native"], True), (["native"], True)]
)
def test_what_is_named_beside_all_is_made_too(asked, has_program):
    found = {one.name for one in _formats(asked)}
    assert ("native" in found) is has_program
    assert ({"onnx", "tflite", "ncnn", "mnn", "openvino", "executorch"} <= found) is (
        "all" in asked
    )


def test_a_format_that_is_unknown_is_refused_beside_all(tmp_path: Path):
    options = ["export", "--fmt", "all,nonesuch", "--out", str(tmp_path)]
    result = CliRunner().invoke(command_line(), options)
    assert isinstance(result.exception, UsageError)
    assert "'nonesuch' is unknown" in str(result.exception)
