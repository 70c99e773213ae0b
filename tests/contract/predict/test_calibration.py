"""Cards of machines: the probe is compiled, pushed over real SSH, and run there."""

from __future__ import annotations

import tomllib
from datetime import date

import pytest

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.predict import boards, calibration

TODAY = date(2026, 11, 30)


def test_a_machine_over_ssh_becomes_a_card(ssh_target, tmp_path):
    """What is measured on this machine is no ARM board's, but memory is slower than caches."""
    found = calibration.calibrate(
        ssh_target, name="mine", core="cortex-a76", cpus=(0,), secs=0.02, today=TODAY
    )
    by_size = {one.kib: one.ns for one in found.probe.latency}
    assert by_size[8] < by_size[1 << 14]
    assert found.probe.bandwidth[0].cores == 1
    assert ssh_target.traffic.files_pushed == 1
    path = tmp_path / "mine.toml"
    path.write_text(found.toml)
    card = boards.board(str(path))
    assert card == found.card
    assert (card.core, card.cores, card.guessed(4)) == ("cortex-a76", 1, ())
    measured = f"measured on {ssh_target.host}, 2026-11-30"
    assert {figure["source"] for figure in tomllib.loads(found.toml)["figures"].values()} == {
        measured
    }


def test_a_core_that_nothing_describes_has_to_be_named(ssh_target):
    if ssh_target.facts().arch != "x86_64":
        pytest.fail("this machine's core may be one that is described")
    with pytest.raises(UsageError, match="name the one that comes nearest with --core: cortex-a53"):
        calibration.calibrate(ssh_target, name="mine", today=TODAY)


@pytest.mark.parametrize(
    "board", ["linux,dummy-virt", "QEMU cortex-a72, emulated", "QEMU max, counting instructions"]
)
def test_an_emulated_board_is_refused(ssh_target, monkeypatch, board):
    facts = ssh_target.facts().model_copy(update={"board": board})
    monkeypatch.setattr(ssh_target, "facts", lambda: facts)
    with pytest.raises(UsageError, match="is emulated: times there are QEMU's own"):
        calibration.calibrate(ssh_target, name="mine", core="cortex-a72", today=TODAY)
