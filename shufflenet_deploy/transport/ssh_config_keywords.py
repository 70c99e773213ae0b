"""Keywords of ``ssh_config``, and checks of their values: text -> value as ``ssh -G`` prints it."""

from __future__ import annotations

import contextlib
import re
import socket

_UNIT_SECS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

#: Keywords of which every value counts, not the first alone.
REPEATED = frozenset({"identityfile", "certificatefile"})
#: Keywords whose value is a list of words.
LISTS = frozenset({"userknownhostsfile", "globalknownhostsfile", "canonicaldomains"})
#: Keywords whose value is the rest of the line, as it stands.
RAW = frozenset({"proxycommand", "proxyjump", "knownhostscommand", "remotecommand"})
_FLAGS = frozenset({"compression", "identitiesonly", "canonicalizefallbacklocal", "batchmode"})
_WORDS = frozenset(
    {"hostname", "user", "port", "hostkeyalias", "identityagent", "connecttimeout"}
    | {"canonicalizehostname", "canonicalizemaxdots", "stricthostkeychecking", "revokedhostkeys"}
    | {"addressfamily", "bindaddress", "bindinterface", "controlpath", "pkcs11provider"}
    | {"proxyusefdpass", "verifyhostkeydns"}
)
#: Times of which "none" is no value: a later one counts.
TIMES = frozenset({"connecttimeout"})
#: The first of these counts.
PROXIES = frozenset({"proxycommand", "proxyjump"})
KNOWN = REPEATED | LISTS | RAW | _FLAGS | _WORDS


def checked_value(keyword: str, text: str) -> str:
    """Check one value; returned in the form that ``ssh -G`` gives it.

    Raises:
        ValueError: ``ssh`` would refuse the value.
    """
    if not text:
        raise ValueError("it is empty")
    if keyword in _FLAGS:
        flag = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}.get(text.lower())
        if flag is None:
            raise ValueError("write yes or no")
        return flag
    if keyword == "port":
        return str(_port(text))
    if keyword in TIMES and text != "none":
        return str(_seconds(text))
    if keyword == "canonicalizemaxdots" and not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError("write a number")
    if keyword == "canonicalizehostname" and text.lower() not in {
        *("yes", "no", "true", "false", "always")
    }:
        raise ValueError("write yes, no or always")
    return text


def _port(text: str) -> int:
    with contextlib.suppress(OSError):
        if not re.fullmatch(r"[0-9]+", text):
            return socket.getservbyname(text, "tcp")
    port = int(text) if re.fullmatch(r"[0-9]{1,5}", text) else 0
    if not 0 < port < 1 << 16:
        raise ValueError("write a number from 1 to 65535")
    return port


def _seconds(text: str) -> int:
    if not re.fullmatch(r"([0-9]{1,9}[smhdwSMHDW]?)+", text):
        raise ValueError("write seconds, or a time such as 1m30s")
    return sum(
        int(count) * _UNIT_SECS[unit.lower()]
        for count, unit in re.findall(r"([0-9]+)([smhdwSMHDW]?)", text)
    )
