"""The frequency governor of a target: set where that is permitted, noted, and put back.

What stood before is noted in our folder before anything is changed. A change that is meant for one
measurement also gets a watchdog on the target: a detached shell that puts the governors back when
the process serving our connection is gone (see ``lock``), or when we have not been heard of for
longer than we said, which is how a phone notices that its cable was pulled. A restart of the target
undoes every change by itself, so a note of before it is void.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from shufflenet_deploy.errors import TargetError, TransportError, UsageError
from shufflenet_deploy.target.lock import SERVER, STARTED
from shufflenet_deploy.transport import CommandResult, Transport
from shufflenet_deploy.transport.posix import shell

#: Under this name in our folder: what stood before ``tune``, and before the bench that runs now.
TUNED, BENCH = "governors", "governors.bench"

_NONE = 70
_DENIED = 71
_UNKNOWN = 72
_REFUSED = 73

# A note's first line is "BOOT TOKEN", each other one "GOVERNOR FILE".
_FILES = """\
files() { ls /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor 2>/dev/null; }
put() { { echo "$2" >"$1"; } 2>/dev/null; }
"""

# Defines `restore`, which claims the note by renaming it, so that of two only one restores.
_RESTORE_FUNCTION = (
    STARTED
    + _FILES
    + f"""\
restore() {{
    mv "$note" "$note.$$" 2>/dev/null || return 0
    failed=
    {{
        read -r at token
        [ "$at" = "$boot" ] || echo restarted
        while [ "$at" = "$boot" ] && read -r governor file; do
            [ -e "$file" ] || continue
            put "$file" "$governor" && echo "$governor" || failed=1
        done
    }} <"$note.$$"
    if [ -n "$failed" ]; then
        mv "$note.$$" "$note"
        return {_DENIED}
    fi
    rm -f "$note.$$" "$note.lease"
}}
"""
)

# Parameter: the note.
_RESTORE = _RESTORE_FUNCTION + "note=$1\nrestore\n"

# Parameters: the note, its token, the server of the connection and when that started.
_WATCH = (
    _RESTORE_FUNCTION
    + """\
note=$1
trap '' HUP INT TERM
while sleep 2; do
    at= token= until=0
    read -r at token 2>/dev/null <"$note"
    [ "$token" = "$2" ] || exit 0
    read -r until 2>/dev/null <"$note.lease"
    read -r up _ </proc/uptime
    started "$3" && [ "$start" = "$4" ] && [ "${up%.*}" -lt "$until" ] && continue
    restore
    exit
done
"""
)

# Ends the script where $wanted cannot be set.
_SETTABLE = f"""\
[ -n "$(files)" ] || exit {_NONE}
for file in $(files); do
    [ -w "$file" ] || exit {_DENIED}
    read -r known 2>/dev/null <"${{file%governor}}available_governors" || continue
    case " $known " in *" $wanted "*) ;; *) echo "$known"; exit {_UNKNOWN} ;; esac
done
"""

# Parameter: the governor.
_CHECK = _FILES + "wanted=$1\n" + _SETTABLE

# Parameters: the note, the governor, a token, and the watchdog's script or nothing.
_SET = (
    _RESTORE_FUNCTION
    + "note=$1 wanted=$2 mine=$3 watch=$4\n"
    + _SETTABLE
    + f"""\
at=
read -r at token 2>/dev/null <"$note"
{{
    echo "$boot $mine"
    if [ -n "$at" ] && [ "$at" = "$boot" ]; then
        sed 1d "$note"
    else
        for file in $(files); do
            read -r governor <"$file" && echo "$governor $file"
        done
    fi
}} >"$note.$$" && mv "$note.$$" "$note" || exit 1
for file in $(files); do
    now=
    put "$file" "$wanted" && read -r now <"$file"
    [ "$now" = "$wanted" ] || {{
        restore >/dev/null
        exit {_REFUSED}
    }}
done
sed 1d "$note"
[ -n "$watch" ] || exit 0
"""
    + SERVER
    + """\
detach=$(command -v setsid)
$detach sh -c "$watch" sh "$note" "$mine" "$server" "$start" </dev/null >/dev/null 2>&1 &
exit 0
"""
)

# Parameters: the note, seconds. The lease outlives changes of the wall clock.
_LEASE = 'read -r up _ </proc/uptime\necho $((${up%.*} + $2)) >"$1.lease"\n'


@dataclass(frozen=True, kw_only=True)
class Governors:
    """What stood before and what was set; ``cores`` have a governor."""

    before: tuple[str, ...]
    now: str
    cores: int


class Governor:
    """The governors of one target. ``folder_of`` says where notes lie, and makes that folder."""

    def __init__(self, transport: Transport, folder_of: Callable[[], str]) -> None:
        self._transport = transport
        self._folder_of = folder_of
        self._as_root: tuple[str, ...] = ()

    def set(
        self, governor: str, note: str = TUNED, *, lease_secs: float | None = None
    ) -> Governors:
        """Set every core's governor; with ``lease_secs`` a watchdog puts them back after us.

        What an earlier change noted stays noted.

        Raises:
            UsageError: the kernel has no such governor.
            TargetError: there is nothing to set, or we may not.
        """
        path = f"{self._folder_of()}/{note}"
        if lease_secs is not None:
            self.renew(lease_secs, note)
        watch = "" if lease_secs is None else _WATCH
        token = secrets.token_hex(8)
        result = self._with_rights(shell(_SET, path, governor, token, watch))
        self._refuse(result, governor)
        lines = [line.split(" ", 1) for line in result.text.splitlines()]
        before = tuple(dict.fromkeys(line[0] for line in lines))
        return Governors(before=before, now=governor, cores=len(lines))

    def check(self, governor: str) -> None:
        """Find out whether ``set`` would succeed; nothing is changed.

        Raises:
            UsageError: the kernel has no such governor.
            TargetError: there is nothing to set, or we may not.
        """
        self._refuse(self._with_rights(shell(_CHECK, governor)), governor)

    def _refuse(self, result: CommandResult, governor: str) -> None:
        """Raise what kept a script from setting the governor, if anything did."""
        host = self._transport.host
        if result.exit_code == _NONE:
            raise TargetError(
                f"{host} has no frequency governor to set (a virtual machine, or a kernel without "
                "cpufreq): leave --governor out"
            )
        if result.exit_code == _UNKNOWN:
            known = ", ".join(result.text.split())
            raise UsageError(f"{host} has no governor '{governor}': choose among {known}")
        if result.exit_code:
            raise self._not_permitted(result)

    def renew(self, lease_secs: float, note: str = BENCH) -> None:
        """Tell the watchdog that we are going to be silent for so long."""
        path = f"{self._folder_of()}/{note}"
        self._transport.run(shell(_LEASE, path, str(max(1, round(lease_secs)))))

    def restore(self, note: str = TUNED) -> tuple[str, ...] | None:
        """Put back what was noted, and forget the note.

        Returns:
            The governors that were put back, each once; none when the target has been restarted
            since, and None when nothing was noted.

        Raises:
            TargetError: we may not any more; the note is kept.
        """
        path = f"{self._folder_of()}/{note}"
        result = self._with_rights(shell(_RESTORE, path))
        if result.exit_code:
            raise self._not_permitted(result)
        found = tuple(dict.fromkeys(result.text.split()))
        if not found:
            return None
        return () if found == ("restarted",) else found

    def release(self) -> None:
        """End a change that was made for a bench; what we cannot do, the watchdog does."""
        with suppress(TransportError, TargetError):
            self.restore(BENCH)

    def _with_rights(self, argv: tuple[str, ...]) -> CommandResult:
        result = self._transport.run((*self._as_root, *argv))
        if result.exit_code == _DENIED and not self._as_root:
            by_sudo = self._transport.run(("sudo", "-n", *argv))
            if by_sudo.exit_code in {0, _NONE, _UNKNOWN, _REFUSED}:
                self._as_root = ("sudo", "-n")
                return by_sudo
        return result

    def _not_permitted(self, result: CommandResult) -> TargetError:
        host = self._transport.host
        if result.exit_code == _REFUSED:
            return TargetError(
                f"the kernel of {host} did not take the governor; what stood before stands again"
            )
        if result.exit_code != _DENIED:
            return TargetError(f"cannot set the governor of {host}: {result.complaint}")
        way = (
            "a phone needs root for that"
            if self._transport.kind == "adb"
            else "log in as root, or allow sudo without a password "
            '(echo "$USER ALL=(ALL) NOPASSWD: ALL" | sudo tee /etc/sudoers.d/bench)'
        )
        return TargetError(f"setting the governor of {host} is not permitted: {way}")
