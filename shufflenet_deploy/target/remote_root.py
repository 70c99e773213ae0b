"""Our folder on a target: made and marked, looked into, filled and removed, by its own ``sh``.

A file ``CACHEDIR.TAG`` with our name in it marks the folder; without it nothing is ever removed.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass

from shufflenet_deploy.errors import TargetError
from shufflenet_deploy.target import answers
from shufflenet_deploy.target.facts import free_bytes
from shufflenet_deploy.target.place import SCRIPT as PLACE_SCRIPT
from shufflenet_deploy.target.place import Place, read_place
from shufflenet_deploy.transport import CommandResult, Transport
from shufflenet_deploy.transport.shell_scripts import DIGEST_FUNCTION, denied, shell

_FOREIGN = 74
_STARTS_NOTHING = "starts nothing"

#: The first line is the one that backup programs know: they leave such folders out.
_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# Made by shufflenet-deploy; `shufflenet-deploy clean` removes it.\n"
)
_OURS = 'grep -q shufflenet-deploy "$root/CACHEDIR.TAG" 2>/dev/null'

# Unfinished pushes remove themselves when a connection breaks; those of a board that lost its
# power are removed here, once no push can be as old.
_PREPARE = f"""\
root=$1
if ! {_OURS}; then
    [ -z "$(ls -A "$root" 2>/dev/null)" ] || exit {_FOREIGN}
    (umask 077 && mkdir -p "$root") && printf %s "$2" >"$root/CACHEDIR.TAG" || exit 1
fi
find "$root" -name '.*.part' -mmin +60 -exec rm -f {{}} + 2>/dev/null
# Shells exit with 126 for a program that exists and must not be started.
probe=$root/.start.$$ interpreter=$(command -v sh)
case $interpreter in /*) ;; *) interpreter=/bin/sh ;; esac
printf '#!%s\nexit 0\n' "$interpreter" >"$probe" && chmod 700 "$probe" || exit 1
"$probe" 2>/dev/null
[ $? -ne 126 ] || echo {_STARTS_NOTHING}
rm -f "$probe"
exit 0
"""

_LOOK = (
    DIGEST_FUNCTION
    + """\
mkdir -p "${1%/*}" || exit 1
sum=
[ -f "$1" ] && digest "$1"
echo "sha256 $sum"
df -Pk "${1%/*}" 2>/dev/null
exit 0
"""
)

# The fast way where there is one, then the way that the caller knows to work.
_UNPACK = """\
packed=$1 folder=$2
shift 2
rm -rf "$folder" && mkdir -p "$folder" && cd "$folder" || exit 1
case $packed in
*.gz) tar -xzf "$packed" 2>/dev/null || "$@" "$packed" ;;
*.tar) tar -xf "$packed" 2>/dev/null || "$@" "$packed" ;;
*) "$@" "$packed" ;;
esac || {
    rm -rf "$folder" "$packed"
    exit 1
}
rm -f "$packed"
"""

_READY = 'for folder; do [ -e "$folder.ready" ] && echo "$folder"; done; exit 0'

_REMOVE = f"""\
root=$1
[ -e "$root" ] || {{ echo 0; exit 0; }}
{_OURS} || {{ [ -z "$(ls -A "$root")" ] && {{ echo 0; exit 0; }}; exit {_FOREIGN}; }}
set -- $(du -sk "$root")
rm -rf "$root" || exit 1
case $root in */shufflenet-deploy/target) rmdir "${{root%/target}}" 2>/dev/null ;; esac
echo "$1"
"""


@dataclass(frozen=True, kw_only=True)
class RemoteRoot:
    """A file on the target and the room on its disk; None where there is none or no report."""

    sha256: str | None
    free_bytes: int | None


def prepare(transport: Transport, root: str) -> bool:
    """Make and mark our folder; return True if programs may be started there.

    Raises:
        TargetError: it cannot be made, or holds files that are not ours.
    """
    if not root.startswith("/"):
        raise TargetError(f"{root} is not an absolute path: set SHUFFLENET_DEPLOY_ROOT to one")
    result = transport.run(shell(_PREPARE, root, _TAG), env={"LC_ALL": "C"})
    if result.exit_code == _FOREIGN:
        raise _foreign(transport, root)
    if result.exit_code and re.search(r"read-only|denied|not permitted", result.complaint, re.I):
        place = place_of(transport, root)
        raise TargetError(
            f"{root} cannot be made on {transport.host} ({_last_words(result.complaint)}): set "
            f"{place.remedy}"
        )
    _expect_done(transport, result, root)
    return _STARTS_NOTHING not in result.text


def place_of(transport: Transport, root: str) -> Place:
    """Check the configured folder and its alternatives; nothing is written."""
    return read_place(transport.run(shell(PLACE_SCRIPT, root)).text)


def refuse_programs(transport: Transport, root: str, what: str) -> TargetError:
    """The error for a folder from which no program may be started, when one is to be."""
    return TargetError(
        f"{what} cannot run on {transport.host}: programs must not be started from {root} (its "
        f"file system is mounted noexec); set {place_of(transport, root).remedy}"
    )


def _last_words(complaint: str) -> str:
    """``Read-only file system`` of ``mkdir: cannot create ...: Read-only file system``."""
    return complaint.strip().rpartition(": ")[2]


def is_ours(transport: Transport, root: str) -> bool:
    """Return True if the folder exists and is marked as the tool's; nothing is created."""
    return transport.run(shell(f"root=$1\n{_OURS}\n", root)).exit_code == 0


def look_for(transport: Transport, path: str) -> RemoteRoot:
    """The sha256 of a file and the room on its disk; makes the folder it lies in.

    Raises:
        TargetError: the folder cannot be made.
    """
    result = transport.run(shell(_LOOK, path), timeout_s=300.0, env={"LC_ALL": "C"})
    _expect_done(transport, result, path)
    first, _, df = result.text.partition("\n")
    digest = first.removeprefix("sha256").strip()
    known = re.fullmatch(r"[0-9a-f]{64}", digest) is not None
    return RemoteRoot(sha256=digest if known else None, free_bytes=free_bytes(df))


def reads_gzip(transport: Transport) -> bool:
    """Return True if the target has a tar that unpacks gzip archives."""
    probe = io.BytesIO()
    with tarfile.open(fileobj=probe, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("probe"))
    result = transport.run(("tar", "-tzf", "-"), stdin=probe.getvalue())
    return result.exit_code == 0 and result.text.strip() == "probe"


def unpack(
    transport: Transport, packed: str, path: str, unpacker: tuple[str, ...], *, timeout_s: float
) -> None:
    """Replace a folder by the contents of a bundle, which is removed.

    ``unpacker`` is an argv that unpacks the bundle named behind it into its working directory.

    Raises:
        TargetError: it could not be unpacked, say, because the disk is full.
    """
    argv = shell(_UNPACK, packed, path, *unpacker)
    result = transport.run(argv, timeout_s=timeout_s, env={"LC_ALL": "C"})
    _expect_done(transport, result, path)


def ready_among(transport: Transport, paths: Iterable[str]) -> set[str]:
    """Those of the folders that were filled and proved."""
    wanted = tuple(paths)
    if not wanted:
        return set()
    return set(transport.run(shell(_READY, *wanted)).text.splitlines())


def mark_ready(transport: Transport, path: str) -> None:
    """Note that a folder is filled and proved.

    Raises:
        TargetError: not even an empty file can be written.
    """
    _expect_done(transport, transport.run(shell(': >"$1"', f"{path}.ready")), path)


def discard(transport: Transport, path: str) -> None:
    """Remove a folder that did not turn out as it should."""
    transport.run(("rm", "-rf", f"{path}.ready", path), timeout_s=300.0)


def remove(transport: Transport, root: str) -> int:
    """Remove our folder; the bytes that its disk got back.

    Raises:
        TargetError: it is not ours, or cannot be removed.
    """
    result = transport.run(shell(_REMOVE, root), timeout_s=300.0, env={"LC_ALL": "C"})
    if result.exit_code == _FOREIGN:
        raise _foreign(transport, root)
    _expect_done(transport, result, root)
    return answers.kilobytes(result.text.strip().partition("\n")[0]) or 0


def _foreign(transport: Transport, root: str) -> TargetError:
    return TargetError(
        f"{root} on {transport.host} holds files that are not ours: set SHUFFLENET_DEPLOY_ROOT to "
        "a new or empty folder"
    )


def _expect_done(transport: Transport, result: CommandResult, path: str) -> None:
    if result.exit_code:
        raise denied(result.complaint, host=transport.host, path=path, size_bytes=0)
