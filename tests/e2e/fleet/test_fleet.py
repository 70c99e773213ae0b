"""``bench`` on several targets at once: real servers, real interruptions, one journal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager, suppress

import pytest
from fleet_lab import Lab

SMALL = ("--model", "shufflenet-g3-0.25x", "--resolution", "32x32", "--baseline", "none")
#: A program needs nothing on its target, so nothing is installed there.
SMALL += ("--runtime", "native")
QUICK = ("--min-secs", "0.05", "--min-runs", "3", "--warmup", "1", "--processes", "1")
#: Long enough to be interrupted in the middle of.
ENDLESS = ("--min-secs", "1", "--max-secs", "2", "--warmup", "1", "--processes", "500")


@pytest.fixture
def lab(tmp_path, tmp_path_factory):
    return Lab(tmp_path, tmp_path_factory.getbasetemp() / "fleet-artifacts")


@contextmanager
def ignored(number):
    """A signal that whatever is started in between ignores."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


def sessions_of(lab):
    """Processes that measure for this lab, on either side."""
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True)
    mine = [line for line in listed.stdout.splitlines() if str(lab.folder) in line]
    return [line for line in mine if "sshd" not in line]


def children_of(process):
    """The sessions that a bench has started and that have not ended."""
    words = ("ps", "-o", "pid=,stat=", "--ppid", str(process.pid))
    listed = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if "Z" not in line.split()[1]]


def test_four_targets_one_table_and_what_is_missing_comes_later(lab, sshd_with):
    lab.artifacts = lab.folder / "artifacts"
    servers = [sshd_with() for _ in range(4)]
    for gone in servers[2:]:
        gone.process.terminate()
        gone.process.wait()
    lab.write(**{f"pi{number}": server for number, server in enumerate(servers, 1)})
    first = lab.run("--host", "@lab", *SMALL, *QUICK, "--json")
    assert first.returncode == 1, first.stderr
    assert "missing: pi3: " in first.stderr
    assert "missing: pi4: " in first.stderr
    assert "bench --resume" in first.stderr
    document = json.loads(first.stdout)
    runs = lab.runs()
    assert sorted(run.target.host for run in runs) == ["pi1", "pi2"]
    # One file for all: exported by whoever came first, found by the other.
    assert len({run.artifact.created_at for run in runs}) == 1
    assert {run.suite for run in runs} == {document["suite"]}

    servers[2:] = sshd_with(), sshd_with()
    lab.write(**{f"pi{number}": server for number, server in enumerate(servers, 1)})
    (file,) = lab.artifacts.glob("*.native")
    file.write_bytes(b"something else")
    again = lab.run("--resume", "--json")
    assert again.returncode == 0, again.stderr
    # Told even where nothing else is, by the session that exports it; the other finds the new one.
    assert again.stderr.count(f"note: replacing {file}") == 1
    assert {run.id for run in runs} < {run.id for run in lab.runs()}
    assert sorted(run.target.host for run in lab.runs()) == ["pi1", "pi2", "pi3", "pi4"]


def test_rates_and_energy_of_two_targets_stay_apart(lab, sshd_with):
    lab.write(pi1=sshd_with(), pi2=sshd_with())
    more = ("--rate", "30", "--background-load", "1", "--energy")
    # Sensors are read at rest first; what a machine lacks of them is said, and is no failure.
    first = lab.run("--host", "@lab", *SMALL, *QUICK, *more, "--json")
    assert first.returncode == 0, first.stderr
    told = json.loads(first.stdout)
    assert {one["host"] for one in told["observations"]} == {"pi1", "pi2"}
    assert all(one["samples"] >= 3 for one in told["observations"])
    assert {one["host"] for one in told["stability"]} == {"pi1", "pi2"}
    again = lab.run("--resume", told["suite"])
    assert again.returncode == 0, again.stderr
    text = " ".join(again.stdout.split())
    assert "at 30 inferences per second, beside 1 busy process" in text
    for name in ("pi1", "pi2"):
        assert f"{name}: shufflenet-g3-0.25x 32x32 fp32 native" in text


def test_ctrl_c_ends_all_and_resume_goes_on_with_all(lab, sshd_with):
    lab.write(pi1=sshd_with(), pi2=sshd_with())
    with lab.measuring("--host", "pi1,pi2", *SMALL, *ENDLESS) as process:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert said.count("interrupted") >= 2
    assert "bench --resume" in said
    assert not sessions_of(lab)
    before = lab.runs()
    again = lab.run("--resume", "--processes", "1")
    assert again.returncode == 0, again.stderr
    assert len(lab.runs()) == len(before)


def test_a_session_that_is_interrupted_again_and_again_still_ends_in_order(lab, sshd_with):
    lab.write(pi1=sshd_with(), pi2=sshd_with())
    with lab.measuring("--host", "pi1,pi2", *SMALL, *ENDLESS) as process:
        while left := children_of(process):
            for one in left * 200:
                with suppress(ProcessLookupError):
                    os.kill(one, signal.SIGINT)
                time.sleep(0.0002)
        _, said = process.communicate(timeout=300)
    assert "Traceback" not in said
    assert said.count("interrupted") >= 2, said
    assert lab.run("--resume", "--processes", "1").returncode == 0


def test_sessions_do_not_outlive_who_started_them(lab, sshd_with):
    """Also where they inherit that SIGINT is ignored, as in the background of a script."""
    lab.write(pi1=sshd_with(), pi2=sshd_with())
    with ignored(signal.SIGINT), lab.measuring("--host", "pi1,pi2", *SMALL, *ENDLESS) as process:
        process.kill()
        process.communicate()
        deadline = time.monotonic() + 60
        while sessions_of(lab) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not sessions_of(lab)
    assert {run.target.host for run in lab.runs()} == {"pi1", "pi2"}


def test_names_that_are_none(lab):
    assert lab.run("--host", "@shelf", *SMALL).returncode == 2
    (lab.folder / "hosts.toml").write_text('[hosts.pi]\nadress = "pi@10.0.0.1"\n')
    refused = lab.run("--host", "pi", *SMALL)
    assert refused.returncode == 2
    assert "hosts.toml" in refused.stderr
    assert "adress" in refused.stderr
    assert refused.stderr.count("\n") == 1
