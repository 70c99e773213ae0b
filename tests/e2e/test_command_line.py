"""Wrong command lines: one line that says what and where to read on, and exit code 2."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

COMMAND = (sys.executable, "-m", "shufflenet_deploy")


def typed(*words):
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "says", "command"),
    [
        (("nosuch",), "nosuch", "shufflenet-deploy"),
        (("bench", "--nope"), "--nope", "shufflenet-deploy bench"),
        (("bench", "--processes", "few"), "--processes", "shufflenet-deploy bench"),
        (("table", "--format", "pdf"), "'pdf' is not one of", "shufflenet-deploy table"),
        (("inspect",), "Missing argument", "shufflenet-deploy inspect"),
        (("runs", "nosuch"), "nosuch", "shufflenet-deploy runs"),
    ],
)
def test_a_wrong_command_line_is_one_line(words, says, command):
    done = typed(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert done.stderr.endswith(f"; see: {command} --help\n")


def test_a_group_without_a_command_shows_its_help():
    done = typed("runs")
    assert done.returncode == 2
    assert "error" not in done.stderr
    assert "delete" in done.stdout + done.stderr


def test_interrupted_is_130_and_no_traceback(tmp_path):
    words = ["export", "--model", "vgg16", "--out", str(tmp_path / "out")]
    export = subprocess.Popen(
        [*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert export.stderr is not None
    export.stderr.readline()  # "no --weights": it is at work
    time.sleep(0.5)
    os.kill(export.pid, signal.SIGINT)
    _, complaint = export.communicate(timeout=60)
    assert export.returncode == 130
    assert "Traceback" not in complaint
