"""Trusted hosts and code of suites, as the user named them: from a journal alone both need consent.

A journal, or lines imported into one, can come from anybody; the host named in them may be any
machine, and connecting to it reveals the user's identity; code named in them may do anything.
Kept next to the state of virtual boards.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import typer

from shufflenet_deploy.errors import UsageError

_STATE_VARIABLE = "SHUFFLENET_DEPLOY_STATE"
_FILE = "suites-started-here"
#: Hosts that are not reached over a network, or only where the user's own lab says.
_AT_HAND = ("local", "board", "adb", "labgrid")


def remember_host(suite_id: str, host: str) -> None:
    """Note that the user measures a suite on a host."""
    if not _is_at_hand(host) and host.isprintable():
        _note(suite_id, host)


def remember_code(suite_id: str, references: Iterable[str]) -> None:
    """Note that the user measures networks of his own code in a suite."""
    for reference in references:
        _note(suite_id, _digest(reference))


def is_known_code(suite_id: str, reference: str) -> bool:
    """True if the user named the code of a model for this suite here."""
    return (suite_id, _digest(reference)) in _noted()


def _digest(reference: str) -> str:
    return f"code {hashlib.sha256(reference.encode()).hexdigest()}"


def host_of_suite(suite_id: str, host: str, *, may_ask: bool) -> str:
    """The host that a journal names for a suite, if the user named it here or agrees to it now.

    Raises:
        UsageError: the user does not, or nobody can be asked.
    """
    if _is_at_hand(host) or (suite_id, host) in _noted():
        return host
    shown = ascii(host)
    refusal = (
        f"the suite {suite_id} was not started here, and names {shown} as its host: "
        "name the target with --host"
    )
    if not (may_ask and sys.stdin.isatty()):
        raise UsageError(refusal)
    if not typer.confirm(f"{suite_id} was not started here. Connect to {shown}?", err=True):
        raise UsageError(refusal)
    return host


def _is_at_hand(host: str) -> bool:
    return all(one.partition(":")[0] in _AT_HAND for one in host.split(","))


def _note(suite_id: str, what: str) -> None:
    if (suite_id, what) in _noted():
        return
    try:
        _file().parent.mkdir(parents=True, exist_ok=True)
        with _file().open("a", encoding="utf-8") as stream:
            stream.write(f"{suite_id}\t{what}\n")
    except OSError:
        return  # Then it is asked for again.


def _noted() -> set[tuple[str, str]]:
    try:
        lines = _file().read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return {(suite_id, host) for suite_id, _, host in (line.partition("\t") for line in lines)}


def _file() -> Path:
    import platformdirs  # noqa: PLC0415 - for those who go on with a suite only

    chosen = os.environ.get(_STATE_VARIABLE)
    root = Path(chosen) if chosen else platformdirs.user_state_path("shufflenet-deploy")
    return root.absolute() / _FILE
