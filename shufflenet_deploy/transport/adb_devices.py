"""Selection of an Android device: parse ``adb devices -l`` and choose among its lines.

Pure: ``transport.adb`` runs the program.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from shufflenet_deploy.errors import ConnectError, UsageError

#: Names the device for adb itself, and for us where no serial is given.
SERIAL_VARIABLE = "ANDROID_SERIAL"
READY = "device"

#: Every state that adb prints. A serial may have spaces in it (names found by mDNS do), and is
#: everything before the state.
_STATES = (
    "offline|bootloader|device|host|recovery|rescue|sideload|unauthorized|authorizing|connecting|"
    "detached|unknown"
)
_DETAILS = r"(?P<details>(?:\s+[\w-]+:\S+)*)\s*"
_LINE = re.compile(
    rf"(?P<serial>\S.*?)\s+(?:(?P<state>{_STATES}){_DETAILS}|(?P<denied>no permissions)\b.*)"
)
#: A state of an adb that is newer than this program.
_NEW_STATE = re.compile(rf"(?P<serial>\S+)\s+(?P<state>[a-z-]+){_DETAILS}")

#: Systems that a device in another mode runs instead of Android.
_MODES = {
    "recovery": "its recovery system",
    "sideload": "its recovery system, waiting for an update to be sideloaded",
    "rescue": "its rescue system",
    "bootloader": "its bootloader",
}


@dataclass(frozen=True, kw_only=True)
class AndroidDevice:
    """One line of ``adb devices -l``. ``state`` is ``device`` when it can be used."""

    serial: str
    state: str
    model: str | None = None


def read_listing(text: str) -> list[AndroidDevice]:
    """The devices of ``adb devices -l``, in adb's order; its other lines are passed over."""
    found = []
    for line in text.splitlines():
        if line.startswith(("List of", "*")):
            continue
        match = _LINE.fullmatch(line) or _NEW_STATE.fullmatch(line)
        if match is None:
            continue
        fields = match.groupdict()
        model = re.search(r"\bmodel:(\S+)", fields["details"] or "")
        found.append(
            AndroidDevice(
                serial=fields["serial"],
                state=fields["state"] or fields["denied"],
                model=model[1] if model else None,
            )
        )
    return found


def choose(
    found: Sequence[AndroidDevice], wanted: str | None, *, default: str | None = None
) -> AndroidDevice:
    """The device that is meant, if it can be used.

    Without a serial that is ``default`` (what ``ANDROID_SERIAL`` holds), else the only device that
    can be used, whatever else is plugged in.

    Raises:
        UsageError: several devices can be used.
        ConnectError: none can, or the one that was named cannot.
    """
    serial, origin = (wanted, "") if wanted is not None else (default, f" ({SERIAL_VARIABLE})")
    if serial:
        for device in found:
            if device.serial == serial:
                if device.state != READY:
                    raise unusable(device.serial, device.state)
                return device
        known = ", ".join(device.serial for device in found) or "none"
        raise ConnectError(
            f"no device '{serial}'{origin} is connected (adb lists: {known}): plug it in, or run "
            f"`adb connect {shlex.quote(serial)}` when it is on the network"
        )
    if not found:
        raise ConnectError(
            "adb lists no device: plug one in, enable USB debugging in its developer options, "
            "and check `adb devices`"
        )
    usable = [device for device in found if device.state == READY]
    if len(usable) > 1:
        serials = ", ".join(device.serial for device in usable)
        raise UsageError(
            f"several devices are connected ({serials}): name one as adb:SERIAL, or in "
            f"{SERIAL_VARIABLE}"
        )
    if usable:
        return usable[0]
    if len(found) > 1:
        reasons = "; ".join(str(unusable(device.serial, device.state)) for device in found)
        raise ConnectError(f"none of {len(found)} devices can be used: {reasons}")
    raise unusable(found[0].serial, found[0].state)


def unusable(serial: str, complaint: str) -> ConnectError:
    """Advice for a device that adb lists but cannot use, from its state or adb's error."""
    quoted = shlex.quote(serial)
    if "unauthorized" in complaint or "authorizing" in complaint:
        return ConnectError(
            f"{serial} has not authorised this computer: unlock its screen and accept "
            "'Allow USB debugging', then run again"
        )
    if "offline" in complaint:
        return ConnectError(
            f"{serial} is offline: replug it, or run `adb reconnect offline`, then run again"
        )
    if "no permissions" in complaint:
        return ConnectError(
            f"no permission to open {serial}: install udev rules (android-sdk-platform-tools-"
            "common) or join the plugdev group, then run `adb kill-server`"
        )
    if complaint in _MODES:
        leave = "fastboot reboot" if complaint == "bootloader" else f"adb -s {quoted} reboot"
        return ConnectError(
            f"{serial} is in {complaint} mode: it runs {_MODES[complaint]} instead of Android; "
            f"restart it with `{leave}`, then run again"
        )
    if complaint in ("connecting", "detached"):
        return ConnectError(f"{serial} is {complaint}: wait a moment, or replug it, then run again")
    return ConnectError(f"{serial} is gone ({complaint}): check the cable and `adb devices`")
