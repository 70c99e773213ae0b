"""One measurement at a time: a lock on the target that names its holder and cannot outlive it.

The lock is a symbolic link whose text names its holder, so that taking it and naming the holder
are one atomic step. With the text goes the process on the target that serves the holder's
connection: when that process is gone, or the target has been restarted, the lock is stale.
"""

from __future__ import annotations

import getpass
import os
import re
import secrets
import socket
import time
from collections.abc import Callable

from shufflenet_deploy.errors import TargetError
from shufflenet_deploy.target import answers
from shufflenet_deploy.transport import Transport
from shufflenet_deploy.transport.shell_scripts import shell

_HELD = 75
_POLL_SECS = 2.0

#: Sets `boot`, and defines `started PID`, which sets `start` and `parent`, and fails when that
#: process has ended, whether its parent has noticed or not.
STARTED = """\
started() {
    read -r line 2>/dev/null <"/proc/$1/stat" || return 1
    set -- ${line##*) }
    [ "$1" = Z ] && return 1
    parent=$2 start=${20}
}
boot=
read -r boot 2>/dev/null </proc/sys/kernel/random/boot_id
"""

#: Sets `server` and `start`: the server of this connection is the first ancestor that is no shell:
#: sshd, dropbear, adbd, or the program itself when the target is this machine.
SERVER = """\
server=$$
while started "$server"; do
    server=$parent
    comm=
    read -r comm 2>/dev/null <"/proc/$server/comm"
    case $comm in
    sh | ash | bash | dash | zsh | ksh | mksh | csh | tcsh | fish | busybox | env | setsid) ;;
    sudo) ;;
    *) break ;;
    esac
done
start=
started "$server"
"""

# Sets `age` and `text` and succeeds when a lock's holder is still there. Parameter: its text.
_ALIVE = (
    STARTED
    + """\
alive() {
    set -- $1
    holder=$2 since=$4
    [ "$3" = "$boot" ] || return 1
    started "${holder%:*}" || return 1
    [ "${holder#*:}" = "$start" ] || return 1
    shift 4
    age=$(($(date +%s) - since)) text=$*
}
"""
)

# Parameters: lock, token, description.
_ACQUIRE = (
    _ALIVE
    + "lock=$1\n"
    + SERVER
    + f"""\
mine="$2 $server:$start $boot $(date +%s) $3"
for attempt in 1 2 3; do
    ln -s "$mine" "$lock" 2>/dev/null && exit 0
    other=$(readlink "$lock") || continue
    case $other in
    "$2 "*) ;;
    *) if alive "$other"; then
        echo "$age $text"
        exit {_HELD}
    fi ;;
    esac
    mv "$lock" "$lock.$$" 2>/dev/null || continue
    [ "$(readlink "$lock.$$")" = "$other" ] || ln -s "$(readlink "$lock.$$")" "$lock"
    rm -f "$lock.$$"
done
ln -s "$mine" "$lock"
"""
)

_RELEASE = 'case $(readlink "$1") in "$2 "*) rm -f "$1" ;; esac'

HOLDER = _ALIVE + 'other=$(readlink "$1") && alive "$other" && echo "$age $text"\nexit 0\n'


class Lock:
    """The lock of one target, as one client sees it."""

    def __init__(self, transport: Transport, path: str) -> None:
        self._transport = transport
        self._path = path
        self._token = secrets.token_hex(8)

    def acquire(
        self, *, wait_secs: float = 0.0, on_wait: Callable[[str], object] | None = None
    ) -> None:
        """Take the lock, waiting for another's to end; ``on_wait`` gets the holder's description.

        Raises:
            TargetError: somebody else holds it, or it cannot be made.
        """
        deadline = time.monotonic() + wait_secs
        while True:
            result = self._transport.run(shell(_ACQUIRE, self._path, self._token, _me()))
            if result.exit_code == 0:
                return
            if result.exit_code != _HELD:
                raise TargetError(
                    f"cannot lock {self._path} on {self._transport.host}: {result.complaint}"
                )
            holder = describe(result.text)
            if time.monotonic() >= deadline:
                raise TargetError(
                    f"{self._transport.host} is measuring for {holder}: wait for it to end"
                )
            if on_wait:
                on_wait(holder)
            time.sleep(min(_POLL_SECS, max(0.0, deadline - time.monotonic())))

    def release(self) -> None:
        """Give the lock back; nothing happens when it is no longer ours."""
        self._transport.run(shell(_RELEASE, self._path, self._token))

    def holder(self) -> str | None:
        """Return the holder, perhaps this process, and its time; None if free or stale."""
        text = self._transport.run(shell(HOLDER, self._path)).text.strip()
        return describe(text) if text else None


def describe(text: str) -> str:
    """``alice@laptop (process 4711), for 3 min`` from seconds and a description."""
    secs, _, who = text.strip().partition(" ")
    age = answers.number(secs) or 0
    spent = f"{age} s" if age < 120 else f"{age // 60} min"
    return f"{answers.name(who) or 'somebody'}, for {spent}"


def _me() -> str:
    name = f"{getpass.getuser()}@{socket.gethostname()} (process {os.getpid()})"
    return re.sub(r"[^\w@.()-]+", " ", name)
