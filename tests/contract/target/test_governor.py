"""Governors on a machine whose cores are ours: a real sshd and real shells in a mount namespace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import command_line
import pytest
from fake_sysfs import GOVERNORS, Cpus

from shufflenet_deploy import transport
from shufflenet_deploy.errors import TargetError, UsageError
from shufflenet_deploy.target import Target
from shufflenet_deploy.target import governor as governor_module
from shufflenet_deploy.target.governor import BENCH, TUNED, Governor, WatchPolicy
from shufflenet_deploy.transport.shell_scripts import shell

LEASE_SECS = 600.0


@pytest.fixture
def cpus(tmp_path):
    return Cpus.make(tmp_path / "cpu", 1_800_000, 1_800_000)


@pytest.fixture
def pi(sshd_with, cpus):
    """An sshd on the machine with those cores."""
    return sshd_with(inside=cpus.inside())


@pytest.fixture
def target(pi, tmp_path):
    with transport.connect(pi.settings) as link, Target(link, root=str(tmp_path / "ours")) as one:
        yield one


@pytest.fixture
def typed(pi, tmp_path):
    """Runs the command line against that machine."""

    def run(*words: str):
        own = {**pi.env, "SHUFFLENET_DEPLOY_ROOT": str(tmp_path / "ours")}
        return command_line.typed(*words, cwd=tmp_path, env=own)

    return run


def comes_true(cpus, *wanted: str, within_secs: float = 15.0) -> bool:
    deadline = time.monotonic() + within_secs
    while time.monotonic() < deadline:
        if cpus.governors == list(wanted):
            return True
        time.sleep(0.1)
    return False


def comes_true_that(holds, within_secs: float = 15.0) -> bool:
    deadline = time.monotonic() + within_secs
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.05)
    return False


@contextmanager
def closed_pipe():
    """The writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


def leftovers(tmp_path) -> list[str]:
    return [path.name for path in (tmp_path / "ours").glob("governors*")]


def test_the_commands_set_note_and_restore(typed, cpus, tmp_path):
    cpus.set("scaling_governor", "schedutil", core=1)
    done = typed("tune", "governor", "--host", "pi")
    assert done.returncode == 0, done.stderr
    assert "performance on 2 cores, before: ondemand, schedutil" in done.stdout
    assert "restore --host pi" in done.stdout
    assert cpus.governors == ["performance", "performance"]
    # A second change keeps what the first one noted.
    done = typed("tune", "governor", "--host", "pi", "--governor", "powersave", "--json")
    assert json.loads(done.stdout)["before"] == ["ondemand", "schedutil"]
    assert cpus.governors == ["powersave", "powersave"]
    done = typed("restore", "--host", "pi")
    assert (done.returncode, done.stdout) == (0, "pi: governor is ondemand, schedutil again\n")
    assert cpus.governors == ["ondemand", "schedutil"]
    assert leftovers(tmp_path) == []
    assert typed("restore", "--host", "pi").stdout == "pi: nothing was changed\n"


def test_an_unknown_governor_is_the_user_s_mistake(typed, cpus):
    done = typed("tune", "governor", "--host", "pi", "--governor", "warp")
    assert done.returncode == 2
    assert "pi has no governor 'warp': choose among conservative, ondemand" in done.stderr
    assert cpus.governors == ["ondemand", "ondemand"]


def test_without_the_right_to_write_that_is_said(sshd_with, cpus, tmp_path):
    locked = sshd_with(inside=cpus.inside(read_only=True))
    with transport.connect(locked.settings) as link:
        target = Target(link, root=str(tmp_path / "ours"))
        with pytest.raises(TargetError, match="is not permitted: log in as root, or allow sudo"):
            target.set_governor("performance")
        with (
            pytest.raises(TargetError, match="not permitted"),
            target.governor("performance", lease_secs=LEASE_SECS),
        ):
            pass
    assert cpus.governors == ["ondemand", "ondemand"]


def test_with_password_less_sudo_it_is_done_as_root(sshd_with, cpus, tools, tmp_path):
    """The program in sudo's place has the one right that the caller lacks: a writable mount."""
    outside = f"nsenter -t {os.getpid()} -m sh -c"
    enter = f"mount --bind {cpus.folder} /sys/devices/system/cpu"
    shim = tools(
        sudo=f'[ "$1" = -n ] || exit 1; shift; exec {outside} '
        f'\'exec unshare -m sh -c "{enter} && exec \\"\\$@\\"" sh "$@"\' sh "$@"'
    )
    locked = sshd_with(f"SetEnv PATH={shim}:/usr/bin:/bin", inside=cpus.inside(read_only=True))
    with transport.connect(locked.settings) as link:
        target = Target(link, root=str(tmp_path / "ours"))
        assert target.set_governor("performance").before == ("ondemand",)
        assert cpus.governors == ["performance", "performance"]
        assert target.restore() == ("ondemand",)
        with target.governor("performance", lease_secs=LEASE_SECS):
            assert cpus.governors == ["performance", "performance"]
        assert cpus.governors == ["ondemand", "ondemand"]


def test_a_machine_without_governors_says_so(sshd_with, tmp_path):
    bare = sshd_with(inside=Cpus.make(tmp_path / "bare").inside())
    with transport.connect(bare.settings) as link:
        target = Target(link, root=str(tmp_path / "ours"))
        for refused in (target.set_governor, target.check_governor):
            with pytest.raises(UsageError, match=r"no frequency governor to set .*: measure with"):
                refused("performance")


def test_for_the_time_of_a_measurement(target, cpus, tmp_path):
    with target.governor("performance", lease_secs=LEASE_SECS):
        assert cpus.governors == ["performance", "performance"]
    assert cpus.governors == ["ondemand", "ondemand"]
    assert leftovers(tmp_path) == []
    with pytest.raises(KeyboardInterrupt), target.governor("performance", lease_secs=LEASE_SECS):
        raise KeyboardInterrupt
    assert cpus.governors == ["ondemand", "ondemand"]


def test_what_tune_set_is_what_a_bench_comes_back_to(target, cpus):
    target.set_governor("powersave")
    with target.governor("performance", lease_secs=LEASE_SECS):
        assert cpus.governors == ["performance", "performance"]
    assert cpus.governors == ["powersave", "powersave"]
    assert target.restore() == ("ondemand",)


def test_a_lost_connection_restores(pi, cpus, relay, tmp_path):
    cable = relay(pi.port)
    settings = pi.settings
    alias = type(settings)(**{**vars(settings), "port": cable.port})
    known = pi.known_hosts.read_text()
    pi.known_hosts.write_text(known + known.replace(str(pi.port), str(cable.port)))
    with transport.connect(alias) as link:
        target = Target(link, root=str(tmp_path / "ours"))
        with target.governor("performance", lease_secs=LEASE_SECS):
            assert cpus.governors == ["performance", "performance"]
            cable.hang_up()
            assert comes_true(cpus, "ondemand", "ondemand")


def test_a_new_connection_takes_over_from_a_lost_one(pi, cpus, tmp_path):
    first = transport.connect(pi.settings)
    first.__enter__()
    root = str(tmp_path / "ours")
    Target(first, root=root).governor("performance", lease_secs=LEASE_SECS).__enter__()
    with transport.connect(pi.settings) as link:
        target = Target(link, root=root)
        with target.governor("performance", lease_secs=LEASE_SECS):
            first.close()
            # The first watchdog must see that the note is not its own any more.
            assert not comes_true(cpus, "ondemand", "ondemand", within_secs=5.0)
        assert cpus.governors == ["ondemand", "ondemand"]


def test_silence_restores_though_the_connection_seems_to_stand(target, cpus):
    with target.governor("performance", lease_secs=LEASE_SECS) as held:
        held.renew(1.0)
        assert comes_true(cpus, "ondemand", "ondemand")


@pytest.fixture
def clock(tmp_path):
    """A clock in the place of the kernel's, which stands until it is set."""
    file = tmp_path / "uptime"

    def set_to(secs: float) -> None:
        file.with_suffix(".new").write_text(f"{secs:.2f} 0.00\n")
        file.with_suffix(".new").replace(file)

    set_to(1000.0)
    set_to.policy = WatchPolicy(clock=str(file), pause_secs=0.05)
    return set_to


@pytest.fixture
def governor(pi, tmp_path, clock):
    """The governors of that machine, watched by that clock."""
    (tmp_path / "ours").mkdir()
    with transport.connect(pi.settings) as link:
        yield Governor(link, lambda: str(tmp_path / "ours"), policy=clock.policy)


def test_the_lease_ends_a_change_whose_connection_still_stands(governor, cpus, clock, tmp_path):
    """Simulate a silently dropped link: the target's sshd waits for data that never comes."""
    governor.set("performance", BENCH, lease_secs=600.0)
    clock(1599.0)
    assert not comes_true(cpus, "ondemand", "ondemand", within_secs=0.5)
    clock(1601.0)
    assert comes_true(cpus, "ondemand", "ondemand")
    assert comes_true_that(lambda: leftovers(tmp_path) == [])


def test_a_change_that_comes_after_its_lease_is_undone(sshd_with, cpus, clock, tools, tmp_path):
    """The program that sets the governor waits just before it does, and its lease ends."""
    (tmp_path / "ours").mkdir()
    waits, go_on = tmp_path / "waits", tmp_path / "go-on"
    shim = tools(
        # Login files call it as well.
        sed='[ "$1" = 1d ] || exec /usr/bin/sed "$@"; '
        f'lines=$(tail -n +2 "$2"); : >{waits}; '
        f'while [ ! -e {go_on} ]; do sleep 0.05; done; echo "$lines"'
    )
    slow = sshd_with(f"SetEnv PATH={shim}:/usr/bin:/bin", inside=cpus.inside())
    with transport.connect(slow.settings) as link, ThreadPoolExecutor() as pool:
        governor = Governor(link, lambda: str(tmp_path / "ours"), policy=clock.policy)
        setting = pool.submit(governor.set, "performance", BENCH, lease_secs=600.0)
        assert comes_true_that(waits.exists)
        clock(1601.0)
        assert comes_true_that(lambda: leftovers(tmp_path) == [])
        go_on.touch()
        with pytest.raises(TargetError, match="what stood before stands again"):
            setting.result(timeout=15)
    assert cpus.governors == ["ondemand", "ondemand"]


def test_a_restore_that_was_killed_in_the_middle_is_taken_over(governor, cpus, clock, tmp_path):
    governor.set("performance", BENCH, lease_secs=600.0)
    note = tmp_path / "ours" / BENCH
    gone = subprocess.Popen(["true"])
    gone.wait()
    claimed = note.with_name(f"{BENCH}.claim.{gone.pid}")
    note.rename(claimed)
    clock(1601.0)
    assert comes_true(cpus, "ondemand", "ondemand")
    assert comes_true_that(lambda: leftovers(tmp_path) == [])


def test_a_restore_nobody_listens_to_is_whole(governor, cpus, tmp_path):
    """Restore completely even when its output goes to a closed pipe."""
    governor.set("performance", lease_secs=None)
    note = str(tmp_path / "ours" / TUNED)
    argv = [*cpus.inside(), *shell(governor_module._RESTORE, note)]
    with closed_pipe() as pipe:
        subprocess.run(argv, stdout=pipe, stderr=subprocess.DEVNULL, check=False, timeout=30)
    assert cpus.governors == ["ondemand", "ondemand"]
    assert leftovers(tmp_path) == []


def test_a_killed_program_restores(cpus, tmp_path):
    program = (
        "import sys, time\n"
        "from shufflenet_deploy import transport\n"
        "from shufflenet_deploy.target import Target\n"
        "with transport.connect('local') as link:\n"
        "    target = Target(link, root=sys.argv[1])\n"
        "    with target.governor('performance', lease_secs=600):\n"
        "        print('held', flush=True)\n"
        "        time.sleep(60)\n"
    )
    argv = [*cpus.inside(), sys.executable, "-c", program, str(tmp_path / "ours")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as held:
        assert held.stdout.readline() == "held\n"
        assert cpus.governors == ["performance", "performance"]
        held.send_signal(signal.SIGKILL)
        assert comes_true(cpus, "ondemand", "ondemand")


def test_a_note_of_before_a_restart_is_void(target, cpus, tmp_path):
    target.set_governor("performance")
    note = tmp_path / "ours" / "governors"
    note.write_text(note.read_text().replace(note.read_text().split()[0], "an-earlier-boot"))
    assert target.restore() == ()
    assert cpus.governors == ["performance", "performance"]
    assert leftovers(tmp_path) == []


def test_clean_restores_first_and_a_running_bench_is_not_disturbed(target, cpus, tmp_path):
    target.set_governor("performance")
    with target.exclusive(), pytest.raises(TargetError, match="is measuring for"):
        target.restore()
    assert cpus.governors == ["performance", "performance"]
    target.clean()
    assert cpus.governors == ["ondemand", "ondemand"]
    assert not (tmp_path / "ours").exists()


def test_the_names_are_the_kernel_s(target):
    with pytest.raises(UsageError, match=", ".join(GOVERNORS.split())):
        target.set_governor("nonsense")
