"""Failures specific to adb: choice and authorization of the device, and devices that vanish."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shufflenet_deploy import transport
from shufflenet_deploy.errors import ConnectError, TargetError, TransferError, UsageError

Phone = Callable[..., str]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(bytes(range(256)) * 12_000)
    return path


def test_the_only_device_needs_no_serial(phone: Phone):
    serial = phone()
    with transport.connect("adb") as link:
        assert link.host == f"adb:{serial}"
        assert link.kind == "adb"
        assert link.run(["echo", "here"]).text == "here\n"


def test_several_devices_must_be_told_apart(phone: Phone):
    one, other = phone(), phone()
    with pytest.raises(UsageError, match=f"{one}.*adb:SERIAL") as error, transport.connect("adb"):
        pass
    assert other in str(error.value)
    with transport.connect(f"adb:{other}") as link:
        assert link.run(["true"]).exit_code == 0


def test_no_device_says_what_to_enable(adb_server: None):
    with pytest.raises(ConnectError, match="USB debugging"), transport.connect("adb"):
        pass


def test_a_serial_that_is_not_there(phone: Phone):
    serial = phone()
    with pytest.raises(ConnectError, match=serial), transport.connect("adb:emulator-9998"):
        pass


def test_an_unauthorised_device_says_what_to_tap(phone: Phone):
    serial = phone("unauthorized")
    with (
        pytest.raises(ConnectError, match="accept 'Allow USB debugging'"),
        transport.connect(f"adb:{serial}"),
    ):
        pass


def test_a_device_that_asks_for_a_key_and_gets_one(phone: Phone):
    serial = phone("none", "--auth", "accept")
    with transport.connect(f"adb:{serial}") as link:
        assert link.run(["true"]).exit_code == 0


def test_devices_are_listed_with_their_model_and_state(phone: Phone):
    serial = phone()
    found = {device.serial: device for device in transport.devices()}
    assert found[serial].state == "device"
    assert found[serial].model == "Test_Peer"


def test_a_missing_adb_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="apt-get install adb"), transport.connect("adb"):
        pass


def test_a_device_that_vanishes_in_a_push_leaves_no_file(phone: Phone, file: Path, tmp_path: Path):
    serial = phone("vanish-in-push")
    with transport.connect(f"adb:{serial}") as link, pytest.raises(TransferError, match="final"):
        link.push(file, str(tmp_path / "final"))
    assert not (tmp_path / "final").exists()


def test_a_device_that_vanishes_while_a_program_runs(phone: Phone):
    serial = phone("vanish-in-shell")
    with (
        transport.connect(f"adb:{serial}") as link,
        pytest.raises(ConnectError, match="vanished while a program ran"),
    ):
        link.run(["sh", "-c", "exec sleep 5"])


def test_a_status_of_255_is_the_program_s_own(phone: Phone):
    with transport.connect(f"adb:{phone()}") as link:
        assert link.run(["sh", "-c", "exit 255"]).exit_code == 255


@pytest.mark.parametrize(("fault", "words"), [("full", "disk of .* full"), ("read-only", "read-o")])
def test_a_device_that_refuses_a_file(
    phone: Phone, file: Path, tmp_path: Path, fault: str, words: str
):
    with (
        transport.connect(f"adb:{phone(fault)}") as link,
        pytest.raises(TargetError, match=words),
    ):
        link.push(file, str(tmp_path / "final"))
    assert not (tmp_path / "final").exists()


def test_a_slow_device_is_waited_for(phone: Phone):
    with transport.connect(f"adb:{phone('slow')}") as link:
        assert link.run([sys.executable, "-c", "print(6 * 7)"]).text == "42\n"


@pytest.mark.timeout(60)
def test_a_disconnected_device_is_noticed(phone: Phone):
    serial = phone()
    with transport.connect(f"adb:{serial}") as link:
        subprocess.run(["adb", "disconnect", serial], check=True, capture_output=True)
        with pytest.raises(ConnectError, match=serial):
            link.run(["true"])


def test_the_only_usable_device_is_taken_beside_others(phone: Phone):
    usable, locked = phone(), phone("unauthorized")
    with transport.connect("adb") as link:
        assert link.host == f"adb:{usable}" != f"adb:{locked}"


def test_the_variable_of_adb_names_the_device(phone: Phone, monkeypatch: pytest.MonkeyPatch):
    _, other = phone(), phone()
    monkeypatch.setenv("ANDROID_SERIAL", other)
    with transport.connect("adb") as link:
        assert link.host == f"adb:{other}"
        assert link.run(["true"]).exit_code == 0
