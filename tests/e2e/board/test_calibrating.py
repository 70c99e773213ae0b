"""A card from the virtual board: refused as QEMU's own times, or written all the same."""

from __future__ import annotations

import json
import tomllib

import pytest

from shufflenet_deploy import board
from shufflenet_deploy.predict import boards

pytestmark = pytest.mark.board


@pytest.fixture(scope="module")
def host(state):
    """A board with two cores that are described."""
    board.up(board.BoardSettings.choose(name="calibrated", cpu="a72", smp=2, lifetime_secs=600))
    yield "board:calibrated"
    board.down("calibrated")


def test_its_times_are_refused_and_nothing_is_written(host, cli, tmp_path):
    card = tmp_path / "virtual.toml"
    done = cli("predict", "calibrate", "--host", host, "--out", str(card))
    assert done.status == 2
    assert "is emulated: times there are QEMU's own" in done.err
    assert "--force writes a card all the same" in done.err
    assert not card.exists()


def test_a_card_that_was_forced_is_whole_and_predictions_take_it(host, cli, tmp_path, show):
    """The probe for ARM is pushed and runs there; the core and the cores are what it says."""
    card = tmp_path / "virtual.toml"
    words = ("--out", str(card), "--secs", "0.01", "--force", "--json")
    done = cli("predict", "calibrate", "--host", host, *words)
    assert done.status == 0, done.err
    said = json.loads(done.out)
    show(f"{said}")
    assert (said["file"], said["cpus"]) == (str(card), [0, 1])
    assert [one["cores"] for one in said["bandwidth"]] == [1, 2]
    assert min(one["kib"] for one in said["latency"]) == 8
    found = boards.board(str(card))
    assert (found.core, found.cores, found.guessed(2)) == ("cortex-a72", 2, ())
    sources = {one["source"] for one in tomllib.loads(card.read_text())["figures"].values()}
    (source,) = sources
    assert source.startswith("measured on ")
    assert found.figures.clock_ghz.value == pytest.approx(said["clock_ghz"], abs=1e-3)
