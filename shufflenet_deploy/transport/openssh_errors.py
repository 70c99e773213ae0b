"""Translation of OpenSSH's error output to the errors of this package, with advice.

``ssh`` has one exit status for all failures, so only its standard error distinguishes
them: sentences, and debug lines with the host's key and the keys that were offered.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from shufflenet_deploy.errors import (
    AuthenticationError,
    ConnectError,
    HostKeyError,
    TransportError,
)
from shufflenet_deploy.transport import ssh_advice
from shufflenet_deploy.transport.ssh_route import Route


def translated(route: Route, log: str) -> TransportError:
    """The error for what ``ssh`` wrote when it could not connect."""
    lines = [line.strip() for line in log.splitlines() if line.strip(" @\r")]
    printed = [line for line in lines if not line.startswith(("debug", "OpenSSH_"))]
    text, reason = "\n".join(printed), printed[-1] if printed else "ssh gave no reason"
    if match := re.search(r"no matching (.+) found\. Their offer: (\S+)", text):
        what = match[1].removesuffix(" method").removesuffix(" type")
        return ssh_advice.nothing_in_common(route, what, match[2].split(","), None)
    if "Host key verification failed" in text or "REVOKED" in text:
        return _host_key_error(route, log, printed)
    if denied := re.search(r"Permission denied \(([^)]*)\)", text):
        tried = sum("Offering public key" in line for line in lines)
        return ssh_advice.refused_login(
            route, denied[1].split(","), tried, _remarks(route, printed)
        )
    if re.search(r"Too many authentication failures|No supported authentication", text):
        return AuthenticationError(
            f"{route.user}@{route.address} refuses the login: {reason}; name one key with "
            "IdentityFile and IdentitiesOnly yes"
        )
    return _connect_error(route, text, reason)


def _remarks(route: Route, printed: Sequence[str]) -> list[str]:
    """Explain the problems with the user's keys."""
    from shufflenet_deploy.transport.ssh_authentication import (  # noqa: PLC0415 - paramiko
        remarks_on_keys,
    )

    open_keys = re.findall(r"Permissions \d+ for '(.*)' are too open", "\n".join(printed))
    modes = [
        f"others can read the key {path}: {shlex.join(('chmod', '600', path))}"
        for path in open_keys
    ]
    return [*remarks_on_keys(route), *modes, *(line for line in printed if "sign_and_send" in line)]


def _host_key_error(route: Route, log: str, printed: Sequence[str]) -> HostKeyError:
    """The error for a host key that is not the one it should be."""
    text = "\n".join(printed)
    shown = re.search(r"debug1: Server host key: (\S+ \S+)", log)
    key = shown[1] if shown else "a key"
    if "REVOKED" in text:
        return HostKeyError(f"the {key} of {route.address} is revoked: do not connect")
    offending = re.search(r"^Offending \S+ key in (.+):(\d+)$", text, re.MULTILINE)
    if offending and "HAS CHANGED" in text:
        return ssh_advice.changed_host_key(route, key, Path(offending[1]), int(offending[2]))
    if invalid := re.search(r"^Certificate invalid: (.*)$", text, re.MULTILINE):
        return HostKeyError(
            f"the certificate of the host key of {route.address} is invalid: {invalid[1]}: sign "
            "another with ssh-keygen -s"
        )
    if unknown := re.search(r"^No \S+ host key is known for (\S+)", text, re.MULTILINE):
        hop = next((hop for hop in route.hops if hop.host_key_name == unknown[1]), route)
        kind, _, fingerprint = (key if hop is route else "").partition(" ")
        return ssh_advice.unknown_host_key(hop, kind, None, fingerprint)
    why = next((line for line in printed if "verification failed" not in line), printed[-1])
    return HostKeyError(f"the host key of {route.address} is not trusted: {why}")


def _connect_error(route: Route, text: str, reason: str) -> ConnectError:
    if "Could not resolve hostname" in text:
        return ConnectError(
            f"{route.hostname} is not a known host name: check its spelling, or use its IP address"
        )
    if "stdio forwarding failed" in text:
        why = re.search(r"open failed: (.*)", text)
        return ConnectError(
            f"the jump host cannot reach {route.address}: {why[1] if why else reason}"
        )
    if "Connection refused" in text:
        return ConnectError(
            f"{route.address} refused the connection: is sshd running there, on that port?"
        )
    if "timed out" in text:
        return ConnectError(
            f"{route.address} did not answer within {route.connect_timeout_secs:g} s: is it on, "
            "and on this network?"
        )
    if re.search(r"exchange|Connection (reset|closed)|banner|protocol", text):
        return ConnectError(
            f"{route.address} does not complete an SSH handshake: {reason}; is that port sshd's?"
        )
    return ConnectError(f"cannot reach {route.address}: {reason}")
