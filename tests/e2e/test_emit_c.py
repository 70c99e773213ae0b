"""``emit-c`` as it is typed: what it writes compiles, and bad input is one line."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from typer.testing import CliRunner

from shufflenet_deploy.cli import app
from shufflenet_deploy.errors import UsageError


def test_what_is_written_compiles(tmp_path: Path):
    argv = ["emit-c", "-m", "shufflenet-g3-0.25x", "--resolution", "64x64", "--machine", "x86-64"]
    result = CliRunner().invoke(app, [*argv, "--out", str(tmp_path), "--json"])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert 0 < said["relative_difference"] <= 1e-4
    command = [*said["compile"].replace("cc ", "gcc ", 1).split(), "-Wall", "-Werror"]
    command = [word.replace("'", "") for word in command]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "net.o").stat().st_size > said["weights_bytes"]


def test_an_unknown_machine(tmp_path: Path):
    result = CliRunner().invoke(app, ["emit-c", "--machine", "z80", "--out", str(tmp_path)])
    assert isinstance(result.exception, UsageError)
    assert "cortex-a72" in str(result.exception)
