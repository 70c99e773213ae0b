"""The life of a board: started, found, entered, killed, switched off. QEMU and sshd are real."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from shufflenet_deploy import board, transport
from shufflenet_deploy.board import initramfs, manager, qemu
from shufflenet_deploy.errors import BoardError, HostKeyError, TransferError
from shufflenet_deploy.target import Target

pytestmark = pytest.mark.board

LIFE = ("--lifetime", "600")


@pytest.fixture(scope="module")
def ordinary(state):
    settings = board.BoardSettings.choose(name="ordinary", cpu="a53", smp=2, lifetime_secs=600)
    yield board.up(settings)
    board.down("ordinary")


@pytest.fixture(scope="module")
def _doomed_in_the_end(state):
    yield
    board.down("doomed")


@pytest.fixture
def doomed(_doomed_in_the_end):
    """A running board that the test may end; what the test before left running is found."""
    return board.up(board.BoardSettings.choose(name="doomed", cpu="a72", lifetime_secs=600))


def test_a_new_board_answers_over_the_ordinary_transport(ordinary):
    with transport.connect(ordinary.ssh_settings(), name="board") as link, Target(link) as target:
        facts = target.facts()
        said = link.run(["printf", "%s|", "it's", "two\nlines", "$HOME"])
    assert said.stdout == b"it's|two\nlines|$HOME|"
    assert facts.arch == "aarch64"
    assert facts.cpu == "2x Cortex-A53"
    assert facts.python.startswith("3.11.")
    assert "emulated" in facts.board
    assert facts.free_bytes > 500e6


@pytest.mark.parametrize("by_disk", [True, False])
@pytest.mark.parametrize("size_bytes", [2_500_001, 4 << 20])
def test_a_large_file_arrives_whole_either_way(ordinary, tmp_path, by_disk, size_bytes):
    """By the disk that both see, or through the emulated network."""
    settings = ordinary.ssh_settings()
    given, back, told = tmp_path / "given", tmp_path / "back", []
    given.write_bytes(os.urandom(size_bytes))
    with transport.connect(settings if by_disk else replace(settings, disk=None)) as link:
        link.push(given, "/root/it", executable=True, on_progress=lambda *sent: told.append(sent))
        assert link.run(["test", "-x", "/root/it"]).exit_code == 0
        link.pull("/root/it", back)
        assert link.run(["ls", "-A", "/root"]).text.count(".part") == 0
    assert back.read_bytes() == given.read_bytes()
    assert told[-1] == (size_bytes, size_bytes)
    assert (len(told) == 1) == by_disk
    assert settings.disk.file.stat().st_blocks == 0  # Nothing of it stays there.


def test_a_file_that_differs_on_the_disk_is_refused(ordinary, tmp_path, monkeypatch):
    given, other = tmp_path / "given", tmp_path / "other"
    given.write_bytes(bytes(2 << 20))
    other.write_bytes(bytes((2 << 20) - 1) + b"!")
    offering = transport.SharedDisk.offering
    monkeypatch.setattr(transport.SharedDisk, "offering", lambda disk, _: offering(disk, other))
    with transport.connect(ordinary.ssh_settings()) as link:
        with pytest.raises(TransferError, match="did not reach"):
            link.push(given, "/root/other")
        assert "other" not in link.run(["ls", "-A", "/root"]).text


def test_files_that_travel_at_once_are_not_mixed_up(ordinary, tmp_path):
    def travel(number):
        given, back = tmp_path / f"given-{number}", tmp_path / f"back-{number}"
        given.write_bytes(os.urandom(2 << 20))
        with transport.connect(ordinary.ssh_settings()) as link:
            link.push(given, f"/root/{number}")
            link.pull(f"/root/{number}", back)
        return back.read_bytes() == given.read_bytes()

    with ThreadPoolExecutor(max_workers=3) as pool:
        assert all(pool.map(travel, range(3)))


def test_only_dot_product_cores_say_so(ordinary, cli):
    with transport.connect(ordinary.ssh_settings()) as link, Target(link) as target:
        assert "asimddp" not in target.facts().features
    assert cli("board", "up", "--name", "dot", "--cpu", "a76", *LIFE).status == 0
    with transport.connect(board.find("dot").ssh_settings()) as link, Target(link) as target:
        assert "asimddp" in target.facts().features
    assert cli("board", "down", "--name", "dot").status == 0


def test_up_again_is_the_same_board_and_other_settings_are_refused(ordinary, cli):
    same = cli("board", "up", "--name", "ordinary", "--cpu", "a53", "--smp", "2", "--json")
    assert same.status == 0
    assert json.loads(same.out)["process"]["pid"] == ordinary.process.pid
    other = cli("board", "up", "--name", "ordinary", "--cpu", "a53", "--smp", "1")
    assert other.status == 2
    assert "smp 2, not 1" in other.err
    assert "board down --name ordinary" in other.err
    assert ordinary.running


def test_commands_reach_it_and_their_status_comes_back(ordinary, cli):
    done = cli("board", "ssh", "--name", "ordinary", "--", "uname", "-m;", "exit", "7")
    assert (done.status, done.out.strip()) == (7, "aarch64")


def test_json_tells_what_a_command_said(ordinary, cli):
    words = ("board", "ssh", "--name", "ordinary", "--json")
    done = cli(*words, "--", "uname", "-m;", "echo", "oh", ">&2;", "exit", "7")
    said = json.loads(done.out)
    assert (done.status, said["exit_code"]) == (7, 7)
    assert (said["stdout"], said["stderr"]) == ("aarch64\n", "oh\n")
    assert json.loads(cli(*words).out) == {"schema_version": 1, "ssh": ordinary.ssh_argv()}
    status = json.loads(cli("board", "status", "--name", "ordinary", "--json").out)
    assert status["answers"] is True


def test_status_and_list_tell_the_truth(ordinary, cli):
    assert cli("board", "status", "--name", "ordinary").status == 0
    listed = json.loads(cli("board", "list", "--json").out)["boards"]
    assert {"ordinary": True}.items() <= {
        one["settings"]["name"]: one["running"] for one in listed
    }.items()
    missing = cli("board", "status", "--name", "nobody")
    assert missing.status == 2
    assert "board up --name nobody" in missing.err


def test_secrets_are_their_owners_alone(ordinary):
    assert ordinary.folder.stat().st_mode & 0o077 == 0
    assert ordinary.key.stat().st_mode & 0o077 == 0


def test_another_machine_on_its_port_is_not_taken_for_it(ordinary, doomed, tmp_path):
    stranger = tmp_path / "known_hosts"
    host_key = ordinary.known_hosts.read_text().split(maxsplit=1)[1]
    stranger.write_text(f"[127.0.0.1]:{doomed.port} {host_key}")
    settings = transport.SshSettings(
        hostname="127.0.0.1",
        port=doomed.port,
        user="root",
        identity_file=doomed.key,
        known_hosts=stranger,
    )
    with pytest.raises(HostKeyError), transport.connect(settings):
        pass


def test_a_killed_qemu_is_noticed_and_replaced(doomed, cli):
    os.kill(doomed.process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while doomed.running and time.monotonic() < deadline:
        time.sleep(0.02)
    status = cli("board", "status", "--name", "doomed")
    assert status.status == 1
    assert "has ended" in status.out
    assert cli("board", "ssh", "--name", "doomed", "--", "true").status == 1
    again = cli("board", "up", "--name", "doomed", "--cpu", "a72", *LIFE)
    assert again.status == 0, again.err
    assert "had ended without" in again.err
    assert board.find("doomed").process != doomed.process


def test_down_leaves_nothing_behind(doomed, state, cli):
    assert cli("board", "down", "--name", "doomed").status == 0
    assert not doomed.running
    assert not [path for path in state.rglob("*") if "doomed" in path.name]
    with (
        pytest.raises(ConnectionRefusedError),
        socket.create_connection(("127.0.0.1", doomed.port), timeout=1),
    ):
        pass
    again = cli("board", "down", "--name", "doomed")
    assert (again.status, again.out.strip()) == (0, "board doomed is not there: nothing to do")


def test_down_never_signals_a_process_that_took_the_number(doomed, state):
    with subprocess.Popen(["sleep", "60"]) as bystander:
        stale = doomed.process.model_copy(update={"pid": bystander.pid})
        text = doomed.model_copy(update={"process": stale}).model_dump_json()
        original = (doomed.folder / "board.json").read_text()
        (doomed.folder / "board.json").write_text(text)
        assert not board.find("doomed").running
        (doomed.folder / "board.json").write_text(original)
        assert board.down("doomed")
        assert bystander.poll() is None
        bystander.kill()


def test_a_start_that_was_cut_off_is_cleaned_up(doomed, state):
    (doomed.folder / "board.json").unlink()
    assert board.find("doomed") is None
    assert "doomed" in board.names()
    assert board.down("doomed")
    assert not doomed.running


def test_two_at_once_start_one_board(state):
    argv = [sys.executable, "-m", "shufflenet_deploy", "board", "up", "--json", "--name", "twin"]
    argv += ["--cpu", "a72", *LIFE]
    both = [
        subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)
    ]
    outcomes = [process.communicate(timeout=200) for process in both]
    try:
        assert [process.returncode for process in both] == [0, 0], outcomes
        assert len({json.loads(out)["process"]["pid"] for out, _ in outcomes}) == 1
    finally:
        board.down("twin")


def test_a_port_that_is_taken_first_is_left_to_its_owner(state, monkeypatch):
    free_port = qemu._free_port
    with socket.socket() as owner:
        owner.bind(("127.0.0.1", 0))
        owner.listen()
        taken = owner.getsockname()[1]
        offers = iter([taken])
        monkeypatch.setattr(qemu, "_free_port", lambda: next(offers, None) or free_port())
        found = board.up(board.BoardSettings.choose(name="port", cpu="a72", lifetime_secs=600))
        assert next(offers, "all taken") == "all taken"
    assert found.port != taken
    assert found.answers()
    board.down("port")


def test_a_board_that_does_not_boot_shows_its_console(state, monkeypatch, tmp_path):
    whole = initramfs.image(manager.cache_folder(), refresh=False, on_stage=print)
    broken = tmp_path / "initrd"
    broken.write_bytes(b"not a root file system")
    monkeypatch.setattr(
        manager, "image", lambda *_, **__: whole.model_copy(update={"initrd": broken})
    )
    with pytest.raises(BoardError, match=r"ended while booting(.|\n)*Kernel panic"):
        board.up(board.BoardSettings.choose(name="broken", cpu="a72"))
    assert not list(state.glob("*broken*"))


def test_it_switches_itself_off_when_its_lifetime_is_over(state):
    short = board.up(board.BoardSettings.choose(name="short", cpu="a72", lifetime_secs=2))
    deadline = time.monotonic() + 60
    while short.running and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not short.running
    assert "lifetime is over" in short.console
    board.down("short")


def test_a_second_image_of_the_same_packages_is_not_built(state):
    told: list[str] = []
    fresh = initramfs.image(manager.cache_folder(), refresh=True, on_stage=told.append)
    assert fresh == initramfs.image(manager.cache_folder(), refresh=False, on_stage=told.append)
    assert not any("fetching" in stage or "writing" in stage for stage in told)
    kept = {path.name for path in Path(manager.cache_folder()).iterdir()}
    assert kept - {".lock"} == {fresh.info.id}  # The other worker may be looking for it.
