"""A process is ended only when it is surely the one that was started."""

import os
import signal
import subprocess
import sys
import time

import pytest

from shufflenet_deploy.board.process import identity_of, stop


@pytest.fixture
def sleeper():
    child = subprocess.Popen(["sleep", "60"])
    yield child
    child.kill()
    child.wait()


def test_a_process_is_ended(sleeper):
    birth = identity_of(sleeper.pid)
    assert birth is not None
    assert birth.alive
    assert stop(birth)
    assert sleeper.wait() == -signal.SIGTERM
    assert not birth.alive


def test_one_that_ignores_the_request_is_killed():
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True);"
    with subprocess.Popen(
        [sys.executable, "-c", code + "time.sleep(60)"], stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        assert stop(identity_of(child.pid), patience_secs=0.2)
        assert child.wait() == -signal.SIGKILL


@pytest.mark.parametrize(
    "change", [{"start_ticks": 1}, {"boot_id": "00000000-0000-0000-0000-000000000000"}]
)
def test_another_process_with_the_same_number_is_left_alone(sleeper, change):
    earlier = identity_of(sleeper.pid).model_copy(update=change)
    assert not earlier.alive
    assert not stop(earlier)
    assert sleeper.poll() is None


def test_a_corpse_is_not_alive():
    child = subprocess.Popen(["true"])
    deadline = time.monotonic() + 5
    while identity_of(child.pid) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert identity_of(child.pid) is None
    child.wait()


def test_a_number_that_nobody_has():
    child = subprocess.Popen(["true"])
    child.wait()
    assert identity_of(child.pid) is None


def test_a_command_with_brackets_and_spaces_in_its_name(tmp_path):
    program = tmp_path / "a) S (b"
    program.symlink_to(sys.executable)
    with subprocess.Popen([program, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert identity_of(child.pid).start_ticks > identity_of(os.getpid()).start_ticks
        child.kill()
