"""``make demo`` says so when one of its commands fails."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
@pytest.mark.parametrize(
    ("failing", "called"),
    [("", ["bench", "cost"]), ("bench", ["bench"]), ("cost", ["bench", "cost"])],
)
def test_the_demo_fails_when_any_of_it_fails(tmp_path, failing, called):
    calls = tmp_path / "calls"
    for name in ("shufflenet-deploy", "qemu-system-aarch64"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "$1" >>"{calls}"\n[ "$1" != "{failing}" ]\n')
        program.chmod(0o755)
    stamp = tmp_path / "installed"
    stamp.touch()
    done = subprocess.run(
        ["make", "demo", f"BIN={tmp_path}", f"STAMP={stamp}", "-o", str(stamp)],
        cwd=CHECKOUT,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "MAKEFLAGS": ""},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode != 0) == bool(failing), done.stderr
    assert calls.read_text().split() == called
