"""Settings of a board, and the QEMU command line that follows."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from shufflenet_deploy.board import Board, qemu
from shufflenet_deploy.board.initramfs import Image, ImageInfo
from shufflenet_deploy.board.process import ProcessIdentity
from shufflenet_deploy.board.qemu import BoardSettings
from shufflenet_deploy.errors import BoardError, UsageError
from shufflenet_deploy.transport.ssh_config import route_of


@pytest.fixture
def qemu_program(tmp_path, monkeypatch):
    """A program of the right name, so that its command line can be written without it."""
    program = tmp_path / qemu.QEMU
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")


def command(settings):
    info = ImageInfo(id="i", recipe="r", kernel="k", packages={})
    image = Image(info=info, kernel=Path("vmlinuz"), initrd=Path("initrd"))
    return qemu.command(settings, image, initrd=Path("own"), port=4321, folder=Path("/a,b"))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("a53", "cortex-a53"), ("cortex-a72", "cortex-a72"), ("A76", "cortex-a76"), ("max", "max")],
)
def test_short_and_long_names(typed, meant):
    assert BoardSettings.choose(name="x", cpu=typed).cpu == meant


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cpu": "m4"}, "unknown CPU 'm4': choose one of cortex-a53"),
        ({"smp": 0}, "^--smp: must be greater"),
        ({"smp": 9}, "smp"),
        ({"memory_mb": 100}, "^--memory: must be"),
        ({"name": "../evil"}, "^--name: letters, digits and"),
        ({"name": ""}, "name"),
        ({"deterministic": True, "smp": 2}, "one CPU"),
        ({"lifetime_secs": 0}, "^--lifetime: must be"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        BoardSettings.choose(**{"name": "x", **options})
    assert "\n" not in str(caught.value)


def test_a_deterministic_board_counts_and_leaves_nothing_to_chance(qemu_program):
    argv = command(BoardSettings.choose(name="x", cpu="a72", deterministic=True))
    assert argv[argv.index("-icount") + 1] == "shift=0,sleep=on"
    kernel = argv[argv.index("-append") + 1].split()
    assert {"norandmaps", "nokaslr"} <= set(kernel)
    assert "-icount" not in command(BoardSettings.choose(name="x", cpu="a72"))


def test_only_loopback_leads_to_the_board_and_nothing_leads_out_of_it(qemu_program):
    argv = command(BoardSettings.choose(name="x", cpu="a72"))
    network = argv[argv.index("-netdev") + 1].split(",")
    assert "restrict=on" in network
    assert "hostfwd=tcp:127.0.0.1:4321-:22" in network


def test_a_comma_in_a_path_does_not_start_another_option(qemu_program):
    argv = command(BoardSettings.choose(name="x", cpu="a72"))
    assert argv[argv.index("-serial") + 1] == "file:/a,,b/console.log"


def test_the_hosts_own_cores_are_used_only_where_they_are_aarch64(monkeypatch):
    monkeypatch.setattr(qemu, "kvm_usable", lambda: True)
    assert BoardSettings.choose(name="x").cpu == "host"
    assert BoardSettings.choose(name="x", deterministic=True).cpu == "cortex-a72"
    assert BoardSettings.choose(name="x", cpu="a53").emulated
    monkeypatch.setattr(qemu, "kvm_usable", lambda: False)
    assert BoardSettings.choose(name="x").cpu == "cortex-a72"
    with pytest.raises(UsageError, match="/dev/kvm"):
        BoardSettings.choose(name="x", cpu="host")


def test_without_qemu_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BoardError, match="apt-get install qemu-system-arm"):
        command(BoardSettings.choose(name="x", cpu="a72"))


@pytest.mark.parametrize("deterministic", [True, False])
def test_nothing_is_sent_to_a_board_that_counts_but_what_is_to_be_run(tmp_path, deterministic):
    """Its sshd would answer a keepalive in the middle of an inference."""
    settings = BoardSettings.choose(name="x", cpu="a72", deterministic=deterministic)
    there = Board(
        settings=settings,
        folder=tmp_path,
        port=4321,
        process=ProcessIdentity(pid=1, start_ticks=0, boot_id=""),
        image="i",
        kernel="k",
        qemu="7.2",
        started_at=datetime.now(UTC),
    )
    assert route_of(there.ssh_settings()).keepalive is not deterministic
