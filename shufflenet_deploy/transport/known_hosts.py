"""Trusted host keys, read from files in OpenSSH's ``known_hosts`` format.

Plain, hashed (``|1|salt|hash``), wildcard and negated names are understood, and the markers
``@revoked`` and ``@cert-authority``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

SSH_PORT = 22


@dataclass(frozen=True, kw_only=True)
class KnownKey:
    """One key a file lists for a host, and where: ``kind`` is, say, ``ssh-ed25519``.

    That of an ``authority`` signs the certificates of hosts and is none of a host itself.
    """

    kind: str
    key_base64: str
    revoked: bool
    authority: bool
    path: Path
    line: int


def host_key_name(hostname: str, port: int) -> str:
    """Format a host as in ``known_hosts``: ``name``, or ``[name]:port`` off the usual port."""
    return hostname if port == SSH_PORT else f"[{hostname}]:{port}"


def known_keys(files: Iterable[Path], name: str) -> list[KnownKey]:
    """Every key the files list for a host; files that are missing list none."""
    return [key for path in files for key in _keys_in(path, name.lower())]


def fingerprint(key: bytes) -> str:
    """The ``SHA256:...`` that ``ssh`` and ``ssh-keygen -l`` show for a key."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def _keys_in(path: Path, name: str) -> Iterator[KnownKey]:
    try:
        if not path.is_file():
            return
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        marker = fields.pop(0) if fields[0].startswith("@") else ""
        if (
            marker not in {"", "@revoked", "@cert-authority"}
            or len(fields) < 3
            or not _names(fields[0], name)
        ):
            continue
        yield KnownKey(
            kind=fields[1],
            key_base64=fields[2],
            revoked=marker == "@revoked",
            authority=marker == "@cert-authority",
            path=path,
            line=number,
        )


def _names(patterns: str, name: str) -> bool:
    """Match a line's first field against this host; one negated match rules it out."""
    if patterns.startswith("|"):
        return _hashes_to(patterns, name)
    found = False
    for pattern in patterns.lower().split(","):
        # Only * and ? are special here; brackets enclose a name with a port.
        glob = pattern.removeprefix("!").replace("[", "[[]")
        if fnmatchcase(name, glob):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def _hashes_to(hashed: str, name: str) -> bool:
    _, kind, salt, digest = (hashed.split("|") + [""] * 4)[:4]
    try:
        key, wanted = base64.b64decode(salt), base64.b64decode(digest)
    except (binascii.Error, ValueError):
        return False
    return kind == "1" and hmac.compare_digest(
        hmac.new(key, name.encode(), hashlib.sha1).digest(), wanted
    )
