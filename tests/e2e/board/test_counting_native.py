"""What native programs cost on the board; apart, for no runtime has to be brought there first."""

from __future__ import annotations

import re

import pytest

from shufflenet_deploy.files import resource

pytestmark = [pytest.mark.board, pytest.mark.timeout(900)]


def test_the_counts_of_native_programs_are_what_is_locked(artifacts, cli, show):
    lock = str(resource("benchmarks", "cost.lock.toml"))
    words = ("cost", "--check", lock, "--model", "shufflenet-g3-0.5x")
    cost = cli(*words, "--runtime", "native", "--artifacts", str(artifacts), timeout=800)
    show(f"{cost.out}\n{cost.err}")
    assert cost.status == 0
    assert re.search(r"of 5 counts are within 0\.5%", cost.out)
