"""docs/fleet.md by the letter: its inventories are read, and the commands of a lab are typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import command_line
import pytest
from labgrid_lab import running_lab

import shufflenet_deploy
from shufflenet_deploy.fleet import read_inventory
from shufflenet_deploy.journal import Journal

PAGE = (Path(shufflenet_deploy.__file__).parents[1] / "docs" / "fleet.md").read_text()
#: In place of what takes longer, and behind every bench.
SMALLER = {
    "--model shufflenet-g3-0.5x": "-m shufflenet-g3-0.25x",
    "--suite table8": "-m shufflenet-g3-0.25x",
}
QUICK = (
    "-r native --resolution 32x32 --baseline none"
    " --processes 1 --min-secs 0 --min-runs 3 --warmup 1"
)


def commands():
    """The page's commands that name a place of a lab."""
    for line in re.findall(r"^ *\$ (shufflenet-deploy .*labgrid:.*)$", PAGE, re.MULTILINE):
        text = line
        for long, short in SMALLER.items():
            text = text.replace(long, short)
        yield f"{text} {QUICK}" if " bench " in text else text


def test_the_inventories_of_the_page_are_read(tmp_path, monkeypatch):
    blocks = re.findall(r"^( *)```toml\n(.*?)^ *```", PAGE, re.MULTILINE | re.DOTALL)
    monkeypatch.setenv("SHUFFLENET_DEPLOY_HOSTS", str(tmp_path / "nobody"))
    monkeypatch.chdir(tmp_path)
    assert len(blocks) == 2
    hosts = set()
    for indent, text in blocks:
        Path("hosts.toml").write_text(re.sub(f"^{indent}", "", text, flags=re.MULTILINE))
        found = read_inventory()
        hosts |= {*found.hosts}
    assert hosts == {"pi3", "pi4", "pi4-1"}
    assert found.coordinator == "lab.example:20408"


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
    typed = [shlex.split(text)[1:] for text in commands()]
    assert [words[0] for words in typed] == ["devices", "bench", "bench", "bench", "doctor"]
    for words in typed:
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
