"""Selection of a device by ``--host adb`` from the output of ``adb devices -l``."""

from __future__ import annotations

import pytest

from shufflenet_deploy.errors import ConnectError, UsageError
from shufflenet_deploy.transport.adb_devices import AndroidDevice, choose, read_listing

LISTING = """\
* daemon not running; starting now at tcp:5037
* daemon started successfully
List of devices attached
SERIAL0001             device usb:1-3 product:x1q model:SM_G981B device:x1q transport_id:2
192.168.1.7:5555       offline product:x1q model:SM_G981B device:x1q transport_id:3
adb-SERIAL0001-vWgJpq (2)._adb-tls-connect._tcp device product:x1q model:SM_G981B transport_id:4
0123456789ABCDEF       unauthorized usb:1-4 transport_id:5
R58M123ABC             recovery usb:1-5 transport_id:6
my device              sideload usb:1-6 transport_id:7
???????????? no permissions (missing udev rules? user is in the plugdev group); see [x] usb:2-1
one space host
emulator-5554          hibernating transport_id:9

"""


def device(serial: str, state: str = "device") -> AndroidDevice:
    return AndroidDevice(serial=serial, state=state)


def test_a_serial_is_everything_before_the_state():
    assert [(one.serial, one.state) for one in read_listing(LISTING)] == [
        ("SERIAL0001", "device"),
        ("192.168.1.7:5555", "offline"),
        ("adb-SERIAL0001-vWgJpq (2)._adb-tls-connect._tcp", "device"),
        ("0123456789ABCDEF", "unauthorized"),
        ("R58M123ABC", "recovery"),
        ("my device", "sideload"),
        ("????????????", "no permissions"),
        ("one space", "host"),
        ("emulator-5554", "hibernating"),
    ]


def test_the_short_listing_is_read_as_well():
    assert read_listing("List of devices attached\nA B (3)\tdevice\n") == [device("A B (3)")]


def test_models_are_read():
    found = read_listing(LISTING)
    assert [one.model for one in found[:4]] == ["SM_G981B", "SM_G981B", "SM_G981B", None]


@pytest.mark.parametrize(
    "text",
    ["", "\n", "adb server version (41) doesn't match this client (39); killing...\n", "device\n"],
)
def test_what_is_no_device_is_passed_over(text):
    assert not read_listing(text)


def test_the_only_usable_one_is_taken_whatever_else_is_plugged_in():
    others = [device("B", "unauthorized"), device("C", "offline"), device("D", "recovery")]
    assert choose([*others, device("A")], None).serial == "A"


def test_of_several_one_must_be_named():
    found = [device("A"), device("B b"), device("C", "offline")]
    with pytest.raises(UsageError, match=r"\(A, B b\): name one as adb:SERIAL, or in ANDROID_"):
        choose(found, None)
    assert choose(found, "B b").serial == "B b"


def test_the_variable_of_adb_names_one_unless_another_is_named():
    found = [device("A"), device("B")]
    assert choose(found, None, default="B").serial == "B"
    assert choose(found, "A", default="B").serial == "A"
    with pytest.raises(UsageError):
        choose(found, None, default="")


def test_a_variable_that_names_no_device_is_named():
    with pytest.raises(ConnectError, match=r"no device 'X' \(ANDROID_SERIAL\) is connected"):
        choose([device("A")], None, default="X")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("unauthorized", "accept 'Allow USB debugging'"),
        ("authorizing", "accept 'Allow USB debugging'"),
        ("offline", "adb reconnect offline"),
        ("no permissions", "udev rules"),
        ("recovery", "in recovery mode: it runs its recovery system.*`adb -s 'A B' reboot`"),
        ("sideload", "in sideload mode.*waiting for an update.*`adb -s 'A B' reboot`"),
        ("rescue", "in rescue mode.*`adb -s 'A B' reboot`"),
        ("bootloader", "in bootloader mode.*`fastboot reboot`"),
        ("connecting", "wait a moment"),
        ("hibernating", "is gone .hibernating."),
    ],
)
def test_a_device_that_cannot_be_used_says_what_to_do(state, message):
    for wanted in (None, "A B"):
        with pytest.raises(ConnectError, match=message):
            choose([device("A B", state)], wanted)


def test_several_that_cannot_be_used_are_all_explained():
    found = [device("A", "offline"), device("B", "unauthorized")]
    with pytest.raises(
        ConnectError, match=r"none of 2 devices.*A is offline.*B has not authorised"
    ):
        choose(found, None)
