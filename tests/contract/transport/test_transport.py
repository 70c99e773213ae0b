"""Contract of every transport, whatever the link."""

from __future__ import annotations

import gc
import json
import os
import stat
import sys
from pathlib import Path

import pytest

from shufflenet_deploy.errors import CommandTimeout, TargetError, UsageError

SHOW = "import json, sys; json.dump(sys.argv[1:], sys.stdout)"

AWKWARD = [
    "it's",
    'say "hi"',
    "two\nlines\n",
    "$(id) `id` $HOME ${x}",
    "back\\slash\\",
    "trailing\\'",
    "!history !! !$",
    "-n",
    "--",
    "",
    " ",
    "\t",
    "*",
    "~",
    "a;b|c&d>e<f#g",
    "grün 日本語 🐎",
    "%s %d \\n",
    "-" * 5000,
]


def test_every_argument_arrives_unchanged(link):
    result = link.run([sys.executable, "-c", SHOW, *AWKWARD])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == AWKWARD


def test_bytes_that_are_no_unicode_arrive_unchanged(link):
    odd = os.fsdecode(b"\xff\xfe\x80")
    show = "import os, sys; sys.stdout.buffer.write(os.fsencode(sys.argv[1]))"
    assert link.run([sys.executable, "-c", show, odd]).stdout == b"\xff\xfe\x80"


def test_a_program_that_never_stops_printing_is_stopped(link, monkeypatch):
    monkeypatch.setattr("shufflenet_deploy.transport.streams.MAX_OUTPUT_BYTES", 1 << 20)
    with pytest.raises(TargetError, match="printed more than 1 MiB") as raised:
        link.run(["yes", "endless-output"])
    assert "\n" not in str(raised.value)
    left = link.run(["pgrep", "-f", "^yes endless-output$"])
    assert left.stdout == b""
    # A pipe left open would be reported here and not in the middle of another test.
    gc.collect()


def test_a_nul_byte_is_refused(link):
    with pytest.raises(UsageError, match="NUL"):
        link.run(["echo", "a\0b"])


def test_nothing_to_run_is_refused(link):
    with pytest.raises(UsageError):
        link.run([])


def test_exit_status_is_a_result(link):
    result = link.run(["sh", "-c", "exit 37"])
    assert (result.exit_code, result.signal) == (37, None)
    assert result.argv == ("sh", "-c", "exit 37")


def test_streams_stay_apart(link):
    result = link.run(["sh", "-c", "printf out; printf err >&2; printf more"])
    assert (result.stdout, result.stderr) == (b"outmore", b"err")


def test_a_missing_program_is_127(link):
    result = link.run(["no-such-program-here"])
    assert result.exit_code == 127
    assert "no-such-program-here" in result.complaint


def test_a_file_that_is_no_program_is_126(link):
    assert link.run(["/etc/passwd"]).exit_code == 126


@pytest.mark.parametrize("number", [9, 11, 15])
def test_a_signal_is_reported(link, number):
    result = link.run([sys.executable, "-c", f"import os; os.kill(os.getpid(), {number})"])
    assert (result.exit_code, result.signal) == (128 + number, number)
    assert result.stderr == b""
    assert result.complaint == f"killed by signal {number}"


def test_much_output_on_both_streams_at_once(link):
    program = (
        "import sys\n"
        "for _ in range(128):\n"
        "    sys.stdout.buffer.write(b'o' * 65536); sys.stderr.buffer.write(b'e' * 65536)\n"
    )
    result = link.run([sys.executable, "-c", program])
    assert result.stdout == b"o" * (8 << 20)
    assert result.stderr == b"e" * (8 << 20)


def test_standard_input_arrives_and_ends(link):
    content = bytes(range(256)) * 20_000
    assert link.run(["cat"], stdin=content).stdout == content


def test_standard_input_is_empty_by_default(link):
    assert link.run(["cat"], timeout_s=10).stdout == b""


def test_input_that_nobody_reads_does_no_harm(link):
    assert link.run(["true"], stdin=b"x" * (4 << 20)).exit_code == 0


def test_environment_variables(link):
    env = {"GREETING": "it's\n$HOME", "EMPTY": ""}
    show = "from os import environ as e; print((e['GREETING'], e['EMPTY'], 'PATH' in e))"
    result = link.run([sys.executable, "-c", show], env=env)
    assert result.text.strip() == repr(("it's\n$HOME", "", True))


def test_a_bad_variable_name_is_refused(link):
    with pytest.raises(UsageError, match="A B"):
        link.run(["true"], env={"A B": "1"})


@pytest.mark.timeout(100)  # its programs would run for 300 s
def test_timeout_kills_the_program_and_its_children(link, tmp_path, ended):
    pids = tmp_path / "pids"
    family = (
        f'echo $$ >>"{pids}"; sleep 300 & echo $! >>"{pids}"; '
        f'(trap "" HUP TERM INT; sleep 301 & echo $! >>"{pids}"; wait) & '
        f'setsid sleep 302 & echo $! >>"{pids}"; wait'
    )
    with pytest.raises(CommandTimeout, match=r"longer than 1 s.*killed"):
        link.run(["sh", "-c", family], timeout_s=1)
    recorded = [int(line) for line in pids.read_text().split()]
    assert len(recorded) == 4
    assert all(ended(pid) for pid in recorded)
    assert link.run(["echo", "still here"]).text == "still here\n"


def test_duration_is_the_program_s(link):
    assert 0.3 < link.run(["sleep", "0.3"]).duration_secs < 5


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "it's a model.bin"
    path.write_bytes(os.urandom(3_000_001))
    return path


def test_push_and_pull_round_trip(link, file, tmp_path):
    remote = str(tmp_path / "remote $(x) 'ü'.bin")
    seen = []
    link.push(file, remote, on_progress=lambda sent, total: seen.append((sent, total)))
    assert Path(remote).read_bytes() == file.read_bytes()
    assert seen[-1] == (3_000_001, 3_000_001)
    assert seen == sorted(seen)
    back = tmp_path / "back.bin"
    link.pull(remote, back)
    assert back.read_bytes() == file.read_bytes()


def test_an_empty_file(link, tmp_path):
    (tmp_path / "empty").touch()
    link.push(tmp_path / "empty", str(tmp_path / "there"))
    link.pull(str(tmp_path / "there"), tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b""


def test_executable_bit(link, file, tmp_path):
    link.push(file, str(tmp_path / "plain"))
    link.push(file, str(tmp_path / "program"), executable=True)
    assert not (tmp_path / "plain").stat().st_mode & stat.S_IXUSR
    assert (tmp_path / "program").stat().st_mode & stat.S_IXUSR


def test_push_replaces_what_was_there(link, file, tmp_path):
    (tmp_path / "there").write_text("old")
    link.push(file, str(tmp_path / "there"))
    assert (tmp_path / "there").read_bytes() == file.read_bytes()


def test_a_missing_folder_is_named(link, file, tmp_path):
    with pytest.raises(TargetError, match=r"no/such/file.*no such file or folder"):
        link.push(file, str(tmp_path / "no/such/file"))


def test_a_folder_is_not_overwritten(link, file, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(TargetError, match="is a folder"):
        link.push(file, str(tmp_path / "folder"))
    with pytest.raises(TargetError, match="is a folder"):
        link.pull(str(tmp_path / "folder"), tmp_path / "back")


def test_a_refused_push_leaves_nothing(link, file):
    with pytest.raises(TargetError, match="/proc/nothing"):
        link.push(file, "/proc/nothing")


def test_pushing_a_missing_file_is_the_user_s_mistake(link, tmp_path):
    with pytest.raises(UsageError, match=r"cannot read .*missing"):
        link.push(tmp_path / "missing", str(tmp_path / "there"))
    assert list(tmp_path.iterdir()) == []


def test_pulling_what_is_not_there_leaves_the_old_file(link, tmp_path):
    (tmp_path / "kept").write_text("kept")
    with pytest.raises(TargetError, match="no such file"):
        link.pull(str(tmp_path / "missing"), tmp_path / "kept")
    assert (tmp_path / "kept").read_text() == "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_nothing_temporary_stays(link, file, tmp_path):
    (tmp_path / "goal").mkdir()
    link.push(file, str(tmp_path / "goal" / "file"))
    assert [path.name for path in (tmp_path / "goal").iterdir()] == ["file"]


def test_close_twice_and_enter_again(link):
    link.close()
    link.close()
    with link:
        assert link.run(["echo", "again"]).text == "again\n"
