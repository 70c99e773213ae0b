"""Counts of native programs on the board; apart, for no runtime has to be brought there first."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import contextmanager

import pytest

from shufflenet_deploy import board
from shufflenet_deploy.atomic_files import resource

pytestmark = [pytest.mark.board, pytest.mark.timeout(900)]


#: The most that two counts of a network as small as this may differ.
REPEATABILITY = 0.002
SMALL = ("--cpu", "a76", "--runtime", "native", "-p", "fp32,fp16")
SMALL += ("--model", "shufflenet-g3-0.25x", "--resolution", "64x64", "--json")


@contextmanager
def both_cores_busy():
    """Keep this machine at work."""
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def counts_of(cost):
    assert cost.status == 0, cost.err
    return {one["precision"]: one["instructions"] for one in json.loads(cost.out)["counts"]}


def test_counts_under_load_are_those_without(artifacts, cli, show):
    words = ("cost", *SMALL, "--artifacts", str(artifacts), "--keep")
    with both_cores_busy():
        loaded = counts_of(cli(*words, timeout=600))
    again = cli(*words)
    assert counts_of(again) == loaded
    assert len(json.loads(again.out)["cached"]) == len(loaded) == 2
    assert "counted before, unchanged" in again.err
    assert "waiting for its sshd" not in again.err
    idle = counts_of(cli(*words, "--recount", timeout=600))
    show(f"loaded {loaded}, idle {idle}")
    assert idle == pytest.approx(loaded, rel=REPEATABILITY)
    assert board.find("cost-cortex-a76").running


def test_the_counts_of_native_programs_are_what_is_locked(artifacts, cli, show):
    lock = str(resource("benchmarks", "cost.lock.toml"))
    words = ("cost", "--check", lock, "--model", "shufflenet-g3-0.5x")
    cost = cli(*words, "--runtime", "native", "--artifacts", str(artifacts), timeout=800)
    show(f"{cost.out}\n{cost.err}")
    assert cost.status == 0
    assert re.search(r"of 5 counts are within 0\.5%", cost.out)
    # What it found running it leaves; what it started is gone.
    assert board.find("cost-cortex-a72") is None
    assert board.down("cost-cortex-a76")
