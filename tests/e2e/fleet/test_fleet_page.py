"""docs/fleet.md by the letter: its inventories are read and its commands typed, in their order.

Against real servers of SSH, labgrid's own coordinator and a Dask scheduler, all on loopback, under
the names that the page uses. Networks and resolutions are small.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import subprocess
import sys
from getpass import getuser
from pathlib import Path

import command_line
import numpy as np
import pytest
import torch
from fake_sysfs import Cpus
from labgrid_lab import free_port, running_lab
from PIL import Image

import shufflenet_deploy
from shufflenet_deploy import zoo
from shufflenet_deploy.fleet import read_inventory
from shufflenet_deploy.journal import Journal

PAGE = (Path(shufflenet_deploy.__file__).parents[1] / "docs" / "fleet.md").read_text()
COMMANDS = re.findall(r"^ *\$ (.*)$", PAGE, re.MULTILINE)
INVENTORIES = [
    re.sub(f"^{indent}", "", text, flags=re.MULTILINE)
    for indent, text in re.findall(r"^( *)```toml\n(.*?)^ *```", PAGE, re.MULTILINE | re.DOTALL)
]
SCHEDULER = "tcp://scheduler:8786"
LAB = [one for one in COMMANDS if "labgrid:" in one]
CLUSTER = [one for one in COMMANDS if one.startswith("dask ") or "--cluster" in one]
DESK = [one for one in COMMANDS if one not in LAB + CLUSTER]
#: In place of what takes longer.
SMALLER = {
    "--model shufflenet-g3-0.5x,shufflenet-g3-1x,alexnet": "-m"
    " shufflenet-g3-0.25x,shufflenet-g3-0.25x-noshuffle",
    "--board all --model shufflenet-g3-0.5x,alexnet": "--board raspberry-pi-4"
    " -m shufflenet-g3-0.25x -r native -p fp32",
    "--model shufflenet-g3-0.5x": "-m shufflenet-g3-0.25x",
    "--suite table8": "-m shufflenet-g3-0.25x",
    "--nworkers 8": "--nworkers 2",
}
#: Behind a command.
QUICK = {
    "bench": "-r native --resolution 32x32 --baseline none"
    " --processes 1 --min-secs 0 --min-runs 3 --warmup 1",
    "export": "--resolution 32x32 --fmt tflite -p int8 --remedies none -o files --json",
    "eval": "-m shufflenet-g3-0.25x --resolution 32x32 --fmt tflite -p fp32 --limit 24 --json",
    "predict": "--resolution 32x32 --json",
}


def words_of(command: str) -> list[str]:
    """The words to type for a command of the page, without the program."""
    for long, short in SMALLER.items():
        command = command.replace(long, short)
    _, name, *_ = words = shlex.split(command)
    return [*words[1:], *shlex.split(QUICK.get(name, ""))]


def test_every_command_of_the_page_is_typed_below():
    assert [one.split()[1] for one in DESK] == ["bench", "devices", "doctor", "bench"]
    assert [one.split()[1] for one in LAB] == ["devices", "bench", "bench", "bench", "doctor"]
    named = [one.split()[1] for one in CLUSTER]
    assert named == ["scheduler", "worker", "export", "eval", "predict"]


def test_the_inventories_of_the_page_are_read(tmp_path, monkeypatch):
    monkeypatch.setenv("SHUFFLENET_DEPLOY_HOSTS", str(tmp_path / "nobody"))
    monkeypatch.chdir(tmp_path)
    assert len(INVENTORIES) == 2
    hosts = set()
    for text in INVENTORIES:
        Path("hosts.toml").write_text(text)
        found = read_inventory()
        hosts |= {*found.hosts}
    assert hosts == {"pi3", "pi4", "pi4-1"}
    assert found.coordinator == "lab.example:20408"


@pytest.fixture
def desk(tmp_path, sshd_with, adb_server):
    """The two boards of the page under its names and addresses; its phone is not plugged in."""
    cpus = Cpus.make(tmp_path / "cpu", 1_800_000)
    servers = {
        "pi3": sshd_with(f"SetEnv SHLVL=5 XDG_CACHE_HOME={tmp_path / 'pi3'}"),
        "pi4": sshd_with(inside=cpus.inside()),
    }
    config = ""
    for name, server in servers.items():
        names = f"Host {name} 192.168.1.{name[-1]}\n"
        config += server.config.read_text().replace("Host pi\n", names)
    (tmp_path / "ssh_config").write_text(config)
    text = INVENTORIES[0].replace('"pi@', f'"{getuser()}@').replace('cpus = "0-2"', 'cpus = "0"')
    (tmp_path / "hosts.toml").write_text(text.replace("/data/", f"{tmp_path}/data/"))
    return tmp_path


@pytest.mark.timeout(600)
def test_the_commands_of_a_desk_do_what_the_page_says(desk):
    env = {
        "SHUFFLENET_DEPLOY_SSH_CONFIG": str(desk / "ssh_config"),
        "SHUFFLENET_DEPLOY_STATE": str(desk / "state"),
        "SHUFFLENET_DEPLOY_HOSTS": str(desk / "nobody"),
        "SHUFFLENET_DEPLOY_JOURNAL": str(desk / "journal.sqlite"),
        "COLUMNS": "200",
    }
    told = {}
    for command in DESK:
        words = words_of(command.replace("pi@", f"{getuser()}@"))
        told[command] = command_line.typed(*words, cwd=desk, env=env)
    side_by_side, devices, doctor, together = told.values()
    for bench, names in ((side_by_side, (f"{getuser()}@pi3", f"{getuser()}@pi4")),
                         (together, ("pi3", "pi4"))):  # fmt: skip
        # A target that fails does not stop the others; what is missing is said, with its reason.
        assert bench.returncode == 1, bench.stderr
        (missing,) = re.findall(r"^missing: (.*)$", bench.stderr, re.MULTILINE)
        assert missing.startswith("adb:R58M123: ")
        for name in names:
            assert name in bench.stdout
    assert devices.returncode == 0, devices.stderr
    assert {"pi3", "pi4"} <= set(devices.stdout.split())
    # Loopback may not be fit to be measured; the phone is not.
    assert doctor.returncode == 1, doctor.stderr
    assert all(name in doctor.stdout + doctor.stderr for name in ("pi3", "pi4", "adb:R58M123"))
    with Journal(desk / "journal.sqlite") as book:
        last, first = (book.runs(row.id) for row in book.suites())
    user = getuser()
    assert sorted(run.target.host for run in first) == [f"{user}@pi3", f"{user}@pi4"]
    habits = {run.target.host: (run.spec.cpus, run.spec.cooldown_secs) for run in last}
    assert habits == {"pi3": (None, first[0].spec.cooldown_secs), "pi4": ((0,), 2.0)}
    (tuned,) = (run for run in last if run.target.host == "pi4")
    assert set(tuned.before.governors.values()) == {"performance"}
    assert (desk / "data" / "shufflenet-deploy").is_dir()


@pytest.fixture
def lab(tmp_path, sshd_with):
    def board(name):
        """A server with a cache, and so a lock, of its own."""
        return sshd_with(f"SetEnv SHLVL=5 XDG_CACHE_HOME={tmp_path / name}")

    alone = board("pi3")
    boards = {name: board(name) for name in ("pi4-1", "pi5-1")}
    tags = {"pi4-1": {"core": "a72"}, "pi5-1": {"core": "a76", "os": "raspbian"}}
    with running_lab(tmp_path / "lab", boards, tags) as place:
        (place.folder / "hosts.toml").write_text(
            f'[hosts.pi3]\naddress = "pi"\n[labgrid]\ncoordinator = "{place.address}"\n'
        )
        with (place.folder / "ssh_config").open("a") as config:
            config.write(alone.config.read_text())
        yield place


@pytest.mark.timeout(600)
def test_the_commands_of_a_lab_do_what_the_page_says(lab, tmp_path, monkeypatch):
    monkeypatch.delenv("LG_COORDINATOR", raising=False)
    journal = tmp_path / "journal.sqlite"
    env = {**lab.env, "SHUFFLENET_DEPLOY_JOURNAL": str(journal)}
    del env["LG_COORDINATOR"]  # The inventory names it.
    for command in LAB:
        words = words_of(command)
        done = command_line.typed(*words, cwd=tmp_path, env=env)
        # A machine under test may not be fit to be measured.
        good = done.returncode == 0 or (words[0] == "doctor" and "pi5-1: not fit" in done.stdout)
        assert good, done.stderr
        assert not lab.held(), words
    assert sorted(lab.relays) == sorted((f"/{index}", on) for index in (0, 1) for on in "001")
    with Journal(journal) as book:
        hosts = [sorted(run.target.host for run in book.runs(row.id)) for row in book.suites()]
    place, tagged = "labgrid:pi4-1", "labgrid:pi5-1"
    assert sorted(hosts) == sorted([[place], [tagged], [place, tagged, "pi3"]])


@pytest.fixture
def cluster(tmp_path):
    """The page's scheduler and its workers, started by its own commands, on a free port."""
    address = f"tcp://127.0.0.1:{free_port()}"
    began = {
        "scheduler": ("--host", "127.0.0.1", "--port", address.rpartition(":")[2]),
        "worker": ("--host", "127.0.0.1", "--local-directory", str(tmp_path / "workers")),
    }
    with contextlib.ExitStack() as stack:
        for command in CLUSTER[:2]:
            _, name, *words = shlex.split(command.replace("--nworkers 8", "--nworkers 2"))
            words = [address if word == SCHEDULER else word for word in words]
            log = stack.enter_context((tmp_path / f"{name}.log").open("w"))
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", name, *words, *began[name], "--no-dashboard"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
        yield address


@pytest.mark.timeout(900)
def test_the_commands_of_a_cluster_do_what_the_page_says(cluster, tmp_path):
    generator = np.random.default_rng(0)
    for index in range(1000):
        folder = tmp_path / "imagenet" / "val" / f"{index:04}"
        folder.mkdir(parents=True)
        pixels = generator.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "image.png")
    torch.save(zoo.load("shufflenet-g3-0.25x", seed=1).module.state_dict(), tmp_path / "w.pth")
    env = {"SHUFFLENET_DEPLOY_JOURNAL": str(tmp_path / "journal.sqlite")}
    found = []
    for command in CLUSTER[2:]:
        words = words_of(command.replace(SCHEDULER, cluster))
        done = command_line.typed(*words, cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout))
    exported, evaluated, _ = found
    assert [one["status"] for one in exported["files"]] == ["exported", "exported"]
    assert {*(tmp_path / "files").glob("*.tflite")} == {
        Path(one["artifact"]["path"]) for one in exported["files"]
    }
    (evaluation,) = evaluated["evaluations"]
    assert evaluation["agreement"]["value"] == 100
