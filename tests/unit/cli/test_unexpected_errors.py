"""Unexpected exceptions and validation of the command line: one line each, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from shufflenet_deploy import cli
from shufflenet_deploy.cli import unexpected_errors
from shufflenet_deploy.cli.arguments import CheckedCommand

COMMAND = (sys.executable, "-m", "shufflenet_deploy")


def test_a_fault_is_one_line_with_the_place_of_a_log(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["shufflenet-deploy", "--password=Hunter2"])

    def broken(**_):
        raise LookupError("odd\nthing of postgresql://u:Hunter2@host/d")

    monkeypatch.setattr(cli, "command_line", lambda _only: broken)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 70
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert line.startswith("error: a fault of shufflenet-deploy, not of yours: LookupError at ")
    assert "Hunter2" not in line
    log = Path(line.strip().rpartition(" with ")[2])
    assert log.is_relative_to(tmp_path)
    assert log.stat().st_mode & 0o077 == 0
    text = log.read_text()
    assert "Traceback" in text
    assert "Hunter2" not in text


def test_a_file_that_cannot_be_used_is_no_fault():
    assert unexpected_errors.of_file(PermissionError(13, "Permission denied", "/x")) == (
        "cannot use /x: Permission denied",
        2,
    )
    assert unexpected_errors.of_file(OSError(28, "No space left on device", "/x")) == (
        "cannot use /x: No space left on device",
        1,
    )
    assert unexpected_errors.of_file(OSError(5, "Input/output error")) is None


def test_every_command_checks_what_was_typed():
    def walk(one):
        inner = getattr(one, "commands", {})
        return [leaf for each in inner.values() for leaf in walk(each)] if inner else [one]

    commands = walk(typer.main.get_command(cli.command_line()))
    assert len(commands) > 20
    assert all(isinstance(one, CheckedCommand) for one in commands)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("bench", "--min-secs", "1e400"), "'--min-secs': inf is no finite number"),
        (("bench", "--cooldown", "1e99"), "'--cooldown': 1e+99 is beyond 1e+09"),
        (("bench", "--cooldown", "1e8"), "--cooldown 1e+08: must be less than"),
        (("export", "--seed", "9" * 30), "'--seed': the number is beyond 63 bits"),
        (("export", "--out=~nosuchuser/x"), ": no home folder is known for '~nosuchuser'"),
        (("bench", "--suite", "~nosuchuser/x"), "no home folder is known for '~nosuchuser'"),
        (("table", "--out", "x" * 256), "'--out' / '-o': xxx"),
        (("inspect", b"caf\xe9"), "it is not UTF-8"),
        (("runs", "show", "a\x1b[31m"), "it holds a control character"),
        (("bench", "--threads", "9" * 5000), "'--threads': longer than 4096"),
        (("bench", "--threads", "٣"), "--threads ٣: write integers"),
        (("bench", "--suite", "/dev/zero"), "larger than 1 MiB, or endless"),
    ],
)
def test_wrong_values_are_the_users_mistake(words, message, tmp_path):
    done = subprocess.run(
        [*map(os.fsencode, COMMAND), *(os.fsencode(word) for word in words)],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "SHUFFLENET_DEPLOY_JOURNAL": str(tmp_path / "journal.sqlite")},
    )
    complaint = done.stderr.decode()
    assert done.returncode == 2, complaint
    assert message in complaint
    assert complaint.count("\n") == 1
    assert list(tmp_path.glob("*.log")) == []
