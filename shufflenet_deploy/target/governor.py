"""The frequency governor of a target: set where that is permitted, noted, and put back.

What stood before is noted in our folder before anything is changed. A change that is meant for one
measurement also gets a watchdog on the target: a detached shell that puts the governors back when
the process serving our connection is gone (see ``lock``), or when the client has been silent for
longer than announced, which is how a phone notices that its cable was pulled. A restart of the
target undoes every change by itself, so a note of before it is void.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from shufflenet_deploy.errors import TargetError, TransportError, UsageError
from shufflenet_deploy.target.lock import SERVER, STARTED
from shufflenet_deploy.transport import CommandResult, Transport
from shufflenet_deploy.transport.shell_scripts import shell

#: Under this name in our folder: what stood before ``tune``, and before the bench that runs now.
TUNED, BENCH = "governors", "governors.bench"

_NONE = 70
_DENIED = 71
_UNKNOWN = 72
_REFUSED = 73
_LAPSED = 76

# A note's first line is "BOOT TOKEN", each other one "GOVERNOR FILE".
_FILES = """\
files() { ls /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor 2>/dev/null; }
put() { { echo "$2" >"$1"; } 2>/dev/null; }
"""

# Defines `restore`, which claims the note by renaming it, so that of two only one restores, and
# `reclaim`, which gives back the claim of one that was killed in the middle. Its report comes
# last, for whoever listens may be gone.
_RESTORE_FUNCTION = (
    STARTED
    + _FILES
    + f"""\
trap '' PIPE
reclaim() {{
    for claim in "$note".claim.*; do
        [ -e "$claim" ] || continue
        [ -d "/proc/${{claim##*.}}" ] || mv "$claim" "$note" 2>/dev/null
    done
}}
restore() {{
    reclaim
    mv "$note" "$note.claim.$$" 2>/dev/null || return 0
    failed= restored=
    {{
        read -r at token
        [ "$at" = "$boot" ] || restored=restarted
        while [ "$at" = "$boot" ] && read -r governor file; do
            [ -e "$file" ] || continue
            put "$file" "$governor" && restored="$restored $governor" || failed=1
        done
    }} <"$note.claim.$$"
    if [ -n "$failed" ]; then
        mv "$note.claim.$$" "$note"
        return {_DENIED}
    fi
    rm -f "$note.claim.$$" "$note.lease"
    echo "$restored"
}}
"""
)

# Parameter: the note.
_RESTORE = _RESTORE_FUNCTION + "note=$1\nrestore\n"

# Parameters: the note, its token, the server of the connection and when that started, the file of
# the clock, and the seconds between two looks. Ends when the note is of another, or gone.
_WATCH = (
    _RESTORE_FUNCTION
    + """\
note=$1
trap '' HUP INT TERM
while sleep "$6"; do
    reclaim
    set -- "$1" "$2" "$3" "$4" "$5" "$6" "$note".claim.*
    [ -e "$note" ] || ! [ -e "$7" ] || continue
    at= token= until=0 up=
    read -r at token 2>/dev/null <"$note"
    [ "$token" = "$2" ] || exit 0
    read -r until 2>/dev/null <"$note.lease"
    read -r up _ 2>/dev/null <"$5"
    started "$3" && [ "$start" = "$4" ] && [ "${up%.*}" -lt "$until" ] && continue
    restore && exit
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

# Parameters: the note, the governor, a token, the watchdog's script or nothing, its clock and its
# pause. The watchdog stands before anything is changed: from then on no cut leaves a governor
# behind. Nothing of it is ended by the end of the connection.
_SET = (
    _RESTORE_FUNCTION
    + """\
trap '' HUP INT TERM
note=$1 wanted=$2 mine=$3 watch=$4 clock=$5 pause=$6
"""
    + _SETTABLE
    + """\
reclaim
at=
read -r at token 2>/dev/null <"$note"
{
    echo "$boot $mine"
    if [ -n "$at" ] && [ "$at" = "$boot" ]; then
        sed 1d "$note"
    else
        for file in $(files); do
            read -r governor <"$file" && echo "$governor $file"
        done
    fi
} >"$note.$$" && mv "$note.$$" "$note" || exit 1
if [ -n "$watch" ]; then
"""
    + SERVER
    + f"""\
    detach=$(command -v setsid)
    $detach sh -c "$watch" sh "$note" "$mine" "$server" "$start" "$clock" "$pause" \\
        </dev/null >/dev/null 2>&1 &
fi
before=$(sed 1d "$note")
for file in $(files); do
    now=
    put "$file" "$wanted" && read -r now <"$file"
    [ "$now" = "$wanted" ] || {{
        restore >/dev/null
        exit {_REFUSED}
    }}
done
# Whoever has restored meanwhile did so too early.
[ -e "$note" ] || {{
    echo "$before" | while read -r governor file; do put "$file" "$governor"; done
    exit {_LAPSED}
}}
echo "$before"
exit 0
"""
)

# Parameters: the note, seconds, and the file of the clock. The lease outlives changes of the wall
# clock.
_LEASE = 'read -r up _ <"$3"\necho $((${up%.*} + $2)) >"$1.lease"\n'


@dataclass(frozen=True, kw_only=True)
class WatchPolicy:
    """Watchdog timing: its clock (a file like ``/proc/uptime``) and its polling interval."""

    clock: str = "/proc/uptime"
    pause_secs: float = 2


@dataclass(frozen=True, kw_only=True)
class Governors:
    """Previous and new governors of every core of ``cores``."""

    before: tuple[str, ...]
    now: str
    cores: int


class Governor:
    """The governors of one target. ``folder_of`` returns the folder of notes, created."""

    def __init__(
        self,
        transport: Transport,
        folder_of: Callable[[], str],
        *,
        policy: WatchPolicy = WatchPolicy(),
    ) -> None:
        self._transport = transport
        self._folder_of = folder_of
        self._policy = policy
        self._as_root: tuple[str, ...] = ()

    def set(
        self, governor: str, note: str = TUNED, *, lease_secs: float | None = None
    ) -> Governors:
        """Set every core's governor; with ``lease_secs`` a watchdog puts them back after us.

        What an earlier change noted stays noted.

        Raises:
            UsageError: the kernel has no such governor, or none at all.
            TargetError: we may not set it.
        """
        path = f"{self._folder_of()}/{note}"
        if lease_secs is not None:
            self.renew(lease_secs, note)
        watch = "" if lease_secs is None else _WATCH
        token = secrets.token_hex(8)
        policy = (self._policy.clock, f"{self._policy.pause_secs:g}")
        result = self._with_rights(shell(_SET, path, governor, token, watch, *policy))
        self._refuse(result, governor)
        lines = [line.split(" ", 1) for line in result.text.splitlines()]
        before = tuple(dict.fromkeys(line[0] for line in lines))
        return Governors(before=before, now=governor, cores=len(lines))

    def check(self, governor: str) -> None:
        """Find out whether ``set`` would succeed; nothing is changed.

        Raises:
            UsageError: the kernel has no such governor, or none at all.
            TargetError: we may not set it.
        """
        self._refuse(self._with_rights(shell(_CHECK, governor)), governor)

    def _refuse(self, result: CommandResult, governor: str) -> None:
        """Raise what kept a script from setting the governor, if anything did."""
        host = self._transport.host
        if result.exit_code == _NONE:
            raise UsageError(
                f"{host} has no frequency governor to set (a virtual machine, or a kernel without "
                "cpufreq): measure without one"
            )
        if result.exit_code == _UNKNOWN:
            known = ", ".join(result.text.split())
            raise UsageError(f"{host} has no governor '{governor}': choose among {known}")
        if result.exit_code:
            raise self._not_permitted(result)

    def renew(self, lease_secs: float, note: str = BENCH) -> None:
        """Announce to the watchdog that this client will be silent for so long."""
        path = f"{self._folder_of()}/{note}"
        self._transport.run(shell(_LEASE, path, str(max(1, round(lease_secs))), self._policy.clock))

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
            if by_sudo.exit_code in {0, _NONE, _UNKNOWN, _REFUSED, _LAPSED}:
                self._as_root = ("sudo", "-n")
                return by_sudo
        return result

    def _not_permitted(self, result: CommandResult) -> TargetError:
        host = self._transport.host
        if result.exit_code == _REFUSED:
            return TargetError(
                f"the kernel of {host} did not take the governor; what stood before stands again"
            )
        if result.exit_code == _LAPSED:
            return TargetError(
                f"{host} was so long at setting its governor that the change had ended: what stood "
                "before stands again; try again"
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
