"""Options of ``export`` that no file can satisfy are refused before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from shufflenet_deploy.cli import command_line


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
