"""``devices`` as it is typed: a real sshd, real adb clients, hosts that do not answer."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest


@pytest.fixture
def devices(sshd, tmp_path):
    """Runs the command with an ssh configuration of its own."""

    def run(*words: str, config: str = "", env: dict[str, str] | None = None):
        path = tmp_path / "config"
        path.write_text(f"{sshd.config.read_text()}\n{config}\nHost *.lan !no\n  User nobody\n")
        own = {
            "SHUFFLENET_DEPLOY_SSH_CONFIG": str(path),
            "SHUFFLENET_DEPLOY_STATE": str(tmp_path / "state"),
            "COLUMNS": "200",
        }
        return subprocess.run(
            [sys.executable, "-m", "shufflenet_deploy", "devices", *words],
            env={**os.environ, **own, **(env or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


def listed(done) -> dict[str, dict]:
    assert done.returncode == 0, done.stderr
    return {one["host"]: one for one in json.loads(done.stdout)["devices"]}


def test_every_kind_is_listed_with_what_it_is_or_why_not(devices, phone):
    good, locked = phone(), phone("unauthorized")
    found = listed(devices("--json", config="Host gone\n  HostName 127.0.0.1\n  Port 1\n"))
    assert set(found) == {f"adb:{good}", f"adb:{locked}", "pi", "gone"}
    for host in (f"adb:{good}", "pi"):
        one = found[host]
        assert one["problem"] is None
        assert one["abi"] == os.uname().machine
        assert one["cores"].split(":")[0] == str(os.cpu_count())
        assert one["free_bytes"] > 0
        assert one["missing"] == []
    assert "authorised" in found[f"adb:{locked}"]["problem"]
    assert "refused the connection" in found["gone"]["problem"]


def test_the_table(devices, adb_server):
    done = devices("pi", "nobody@127.0.0.1:1")
    assert done.returncode == 1, done.stderr  # of those that were named one does not answer
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["host", "abi", "cores", "SoC", "OS", "free", "°C", "missing"]
    assert rows[0].startswith("pi ")
    assert rows[0].rstrip().endswith("nothing")
    assert rows[1].rstrip().endswith("does not answer")
    assert "nobody@127.0.0.1:1: " in done.stderr


@pytest.mark.timeout(60)
def test_a_silent_host_does_not_hold_up_the_others(devices, adb_server):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        config = f"Host mute\n  HostName 127.0.0.1\n  Port {port}\n"
        found = listed(devices("--json", "--timeout", "6", config=config))
    assert "did not answer within 6 s" in found["mute"]["problem"]
    assert found["pi"]["problem"] is None


def test_without_adb_phones_are_missed_and_that_is_said(devices, tools, tmp_path):
    folder = tools("sh", "env")
    done = devices("--json", env={"PATH": str(folder)})
    assert list(listed(done)) == ["pi"]
    assert json.loads(done.stdout)["notes"] == [
        "no phones are listed: there is no adb program: install it (apt-get install adb)"
    ]


def test_nothing_at_all(devices, tmp_path, adb_server):
    empty = tmp_path / "empty"
    empty.write_text("")
    done = devices(env={"SHUFFLENET_DEPLOY_SSH_CONFIG": str(empty)})
    assert (done.returncode, done.stdout) == (0, "")
    assert "no device: plug a phone in" in done.stderr
