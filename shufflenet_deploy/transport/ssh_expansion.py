"""Expansion of ``ssh_config`` values: ``~``, ``%`` tokens, and ``${VARIABLE}``.

Each raises ``ValueError`` where ``ssh`` gives up: for an unknown token, user or variable.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import socket
from collections.abc import Mapping
from pathlib import Path


def home() -> Path:
    """The user's home as OpenSSH takes it: from the user database and not from ``HOME``."""
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return Path.home()


def local_user() -> str:
    """The name of the user who runs this program."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return os.environ.get("USER", str(os.getuid()))


def connection_tokens(
    *, hostname: str, typed: str, alias: str | None, port: int, user: str
) -> dict[str, str]:
    """The tokens that paths may hold, for one connection. ``typed`` is the host as it was typed."""
    here = socket.gethostname()
    connection = hashlib.sha1(f"{here}{hostname}{port}{user}".encode(), usedforsecurity=False)
    return {
        "C": connection.hexdigest(),
        "d": str(home()),
        "h": hostname,
        "i": str(os.getuid()),
        "j": "",
        "k": alias or typed,
        "L": here.partition(".")[0],
        "l": here,
        "n": typed,
        "p": str(port),
        "r": user,
        "u": local_user(),
    }


def expand_tokens(text: str, tokens: Mapping[str, str]) -> str:
    """Replace ``%x`` by what ``tokens`` holds for x, and ``%%`` by ``%``."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name != "%" and name not in tokens:
            raise ValueError(f"{text}: %{name} stands for nothing there")
        return "%" if name == "%" else tokens[name]

    return re.sub(r"%(.?)", value, text, flags=re.DOTALL)


def expand_tilde(path: str) -> str:
    """Replace ``~`` or ``~user`` at the beginning of a path."""
    if not path.startswith("~"):
        return path
    user, slash, rest = path[1:].partition("/")
    try:
        folder = pwd.getpwnam(user).pw_dir if user else str(home())
    except KeyError:
        raise ValueError(f"{path}: there is no user {user}") from None
    return f"{folder}{slash}{rest}"


def expand_path(path: str, tokens: Mapping[str, str]) -> str:
    """A path with ``~``, tokens and ``${VARIABLE}`` replaced; what they bring is left alone."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return expand_tokens(match[0], tokens)
        if name not in os.environ:
            raise ValueError(f"{path}: the environment has no {name}")
        return os.environ[name]

    return re.sub(r"\$\{([^}]*)\}|%.?", value, expand_tilde(path), flags=re.DOTALL)
