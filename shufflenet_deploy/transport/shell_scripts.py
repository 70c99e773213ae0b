"""Scripts for the target's own ``sh``: POSIX only, so that dash, bash, busybox and toybox agree.

The scripts take their values as positional parameters, never spliced into their text.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from shufflenet_deploy.errors import DeployError, TargetError, TransferError, UsageError

#: Linux refuses a single argument of 128 KiB or more, and a login shell gets the line as one.
_COMMAND_LINE_BYTES = 128 * 1024 - 1

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# Prints the process id first, on both streams: what stands before it came from the user's login
# files. The program runs as a child, so that a signal becomes 128 + N, in a group of its own, so
# that its whole family can be killed: OpenSSH gives it one, dropbear does not. The shell's remarks
# about a killed child are no part of the program's stderr, hence /dev/null.
_RUN = """\
read -r _ _ _ _ group _ 2>/dev/null </proc/$$/stat || group=$$
own=
[ "$group" = $$ ] || own=$(command -v setsid)
printf '%s %s\\n' "$1" $$
printf '%s %s\\n' "$1" $$ >&2
shift
exec 3>&2 2>/dev/null
(exec $own env "$@" 2>&3 3>&-)
exit $?
"""

# Kills a process with everything below it, in its group or in its session, then removes the file
# it was writing, if one is named. Each member is stopped when it is found, so that none can fork
# or become an orphan, and thereby a stranger, before the whole family is known.
KILL = """\
family=" $1 " leader=$1 leftover=${2-}
kill -STOP "$1" 2>/dev/null
grown=1
while [ -n "$grown" ]; do
    grown=
    for stat in /proc/[0-9]*/stat; do
        read -r line 2>/dev/null <"$stat" || continue
        pid=${line%% *}
        set -- ${line##*) }
        [ "$1" = Z ] && continue
        case $family in *" $pid "*) continue ;; esac
        case $family in
        *" $2 "* | *" $3 "* | *" $4 "*)
            kill -STOP "$pid" 2>/dev/null
            family="$family$pid "
            grown=1
            ;;
        esac
    done
done
kill -KILL -- "-$leader" $family 2>/dev/null
kill -KILL $family 2>/dev/null
[ -z "$leftover" ] || rm -f "$leftover"
exit 0
"""

# Defines `digest FILE`, which sets `sum`. The first program that exists reads the file; the others
# are never started.
DIGEST_FUNCTION = """\
digest() {
    sum=$({ sha256sum || busybox sha256sum || shasum -a 256 || openssl dgst -sha256 -r ||
        python3 -c 'import hashlib, sys
print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'; } <"$1" 2>/dev/null)
    sum=${sum%% *}
}
"""

IS_A_FOLDER = 71
NOT_FOUND = 72
REFUSED = 73
NO_DIGEST = 75
DIFFERS = 76

# Test that a file may be written at a path: there is a folder for it, and it is none itself.
_ADMIT = f"""\
[ -d "$final" ] && exit {IS_A_FOLDER}
case $final in */*) folder=${{final%/*}}/ ;; *) folder=. ;; esac
[ -d "$folder" ] || exit {NOT_FOUND}
"""

# Gives a file that has arrived its name, if it arrived whole.
_SETTLE = f"""\
digest "$temporary"
[ -n "$sum" ] || {{ rm -f "$temporary"; exit {NO_DIGEST}; }}
[ "$sum" = "$3" ] || {{ rm -f "$temporary"; exit {DIFFERS}; }}
chmod "$4" "$temporary" && mv -f "$temporary" "$final" || {{
    rm -f "$temporary"
    exit {REFUSED}
}}
"""

ADMIT = "final=$1\n" + _ADMIT

SETTLE = DIGEST_FUNCTION + "temporary=$1 final=$2\n" + _SETTLE

# Gets a file by the function `get`, and gives it its name.
_RECEIVE_BY = (
    DIGEST_FUNCTION
    + "temporary=$1 final=$2\n"
    + _ADMIT
    + f"""\
trap 'rm -f "$temporary"; exit {REFUSED}' HUP INT TERM
get || {{ rm -f "$temporary"; exit {REFUSED}; }}
"""
    + _SETTLE
)

# A cut connection ends standard input early: the digest differs and the target tidies up itself.
RECEIVE = 'get() { cat >"$temporary"; }\n' + _RECEIVE_BY

# The same from the beginning of a disk, for a machine with busybox. What the kernel knows of the
# disk from earlier is passed over, and what is read in whole blocks is cut to its size.
TAKE = (
    """\
disk=$5 size=$6
get() {
    dd if="$disk" of="$temporary" bs=1M count=$((size / 1048576 + 1)) iflag=direct status=none &&
        truncate -s "$size" "$temporary"
}
"""
    + _RECEIVE_BY
)

# Test that a file can be read at a path.
_READABLE = f"""\
[ -e "$1" ] || exit {NOT_FOUND}
[ -d "$1" ] && exit {IS_A_FOLDER}
"""

# The digest goes to stderr, because the file itself goes to stdout.
_TELL_DIGEST = f"""\
digest "$1"
[ -n "$sum" ] || exit {NO_DIGEST}
printf 'sha256 %s\\n' "$sum" >&2
"""

DIGEST = DIGEST_FUNCTION + _READABLE + _TELL_DIGEST

SEND = DIGEST_FUNCTION + _READABLE + f'cat "$1" || exit {REFUSED}\n' + _TELL_DIGEST


def quote(argument: str) -> str:
    r"""Quote one argument for the user's login shell, POSIX or fish.

    ``'``, ``\`` and ``!`` are written outside the quotes with a backslash, which all of them read
    alike.

    Raises:
        UsageError: it contains a NUL byte.
    """
    if "\0" in argument:
        raise UsageError("an argument contains a NUL byte, which no program can receive")
    if _PLAIN.fullmatch(argument):
        return argument
    return "'" + re.sub(r"['\\!]", lambda match: f"'\\{match[0]}'", argument) + "'"


def shell(script: str, *arguments: str) -> tuple[str, ...]:
    """The argv that runs one of the scripts above with its positional parameters."""
    return ("sh", "-c", script, "sh", *arguments)


def assignments(env: Mapping[str, str] | None) -> tuple[str, ...]:
    """``NAME=value`` arguments for ``env``.

    Raises:
        UsageError: a name is not one that a shell accepts.
    """
    for name in env or {}:
        if not _VARIABLE.fullmatch(name):
            raise UsageError(f"'{name}' is not a name for an environment variable")
    return tuple(f"{name}={value}" for name, value in (env or {}).items())


@dataclass(frozen=True)
class Launch:
    """A command line that announces its process id before the program's own output."""

    line: bytes
    token: bytes

    @classmethod
    def of(cls, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Launch:
        """Wrap a program for a remote shell.

        Raises:
            UsageError: it is empty, contains a NUL byte, or is too long for a command line.
        """
        if not argv:
            raise UsageError("there is no program to run")
        token = f"pid-{secrets.token_hex(8)}"
        wrapped = shell(_RUN, token, *assignments(env), *argv)
        line = " ".join(["exec", *map(quote, wrapped)]).encode("utf-8", "surrogateescape")
        if len(line) > _COMMAND_LINE_BYTES:
            raise UsageError(
                f"the command line of {argv[0]} has {len(line)} bytes, more than a target "
                f"accepts ({_COMMAND_LINE_BYTES}): pass the data on standard input or in a file"
            )
        return cls(line, token.encode())

    def split(self, output: bytes) -> tuple[int | None, bytes]:
        """The process id and the program's own part of one stream, stdout or stderr alike.

        Everything up to the announcement is dropped; without one, (None, all of it) is returned.
        """
        match = re.search(re.escape(self.token) + rb" (\d{1,10})\n", output)
        return (int(match[1]), output[match.end() :]) if match else (None, output)


class Announced:
    """One output stream of a launched program: the process id is taken off its front."""

    def __init__(self, launch: Launch, sink: Callable[[bytes], object]) -> None:
        self._launch = launch
        self._sink = sink
        self._login_output = bytearray()
        self.pid: int | None = None

    def feed(self, chunk: bytes) -> None:
        """Pass on what the program wrote; hold everything until the process id has come."""
        if self.pid is not None:
            self._sink(chunk)
            return
        self._login_output += chunk
        self.pid, rest = self._launch.split(bytes(self._login_output))
        if self.pid is not None and rest:
            self._sink(rest)

    @property
    def login_complaint(self) -> str:
        """Explain why the login shell started no program, from the output that came instead."""
        text = bytes(self._login_output) if self.pid is None else b""
        return " ".join(text.decode("utf-8", "replace").split())


def temporary_name(remote: str) -> str:
    """A name beside ``remote`` that no other push uses; see ``is_temporary``."""
    folder, slash, name = remote.rpartition("/")
    return f"{folder}{slash}.{name[:100]}.{secrets.token_hex(6)}.part"


def refusal(code: int, complaint: str, *, host: str, path: str, size_bytes: int) -> DeployError:
    """The error for a non-zero exit of one of the file scripts."""
    if code == IS_A_FOLDER:
        return TargetError(f"{path} on {host} is a folder: name a file inside it")
    if code == NOT_FOUND:
        return TargetError(f"{path} on {host}: no such file or folder; check the path")
    if code == NO_DIGEST:
        return TargetError(
            f"{host} has neither sha256sum, busybox, openssl nor python3, so that {path} cannot "
            "be checked: install one of them"
        )
    if code == DIFFERS:
        return TransferError(f"{path} did not reach {host} whole (sha256 differs); try again")
    return denied(complaint, host=host, path=path, size_bytes=size_bytes)


def denied(complaint: str, *, host: str, path: str, size_bytes: int) -> TargetError:
    """The error for what an operating system reported while a file was written or read."""
    if re.search(r"no space|quota", complaint, re.IGNORECASE):
        need = f" ({size_bytes / 1e6:.1f} MB to write)" if size_bytes else ""
        return TargetError(
            f"the disk of {host} is full at {path}{need}: free some space, try "
            f"`shufflenet-deploy clean --host {host}`, or set SHUFFLENET_DEPLOY_ROOT to a "
            "folder on another disk"
        )
    if re.search(r"read-only", complaint, re.IGNORECASE):
        return TargetError(
            f"{path} on {host} is on a read-only file system: set SHUFFLENET_DEPLOY_ROOT to a "
            "folder that can be written"
        )
    if re.search(r"denied|not permitted", complaint, re.IGNORECASE):
        return TargetError(f"permission denied for {path} on {host}: check its owner and mode")
    return TargetError(f"{host} refused {path}: {complaint}")
