"""Evaluation of ``ssh_config`` where there is no ``ssh`` to ask, to the result of ``ssh -G``.

Of several values of a keyword the first counts, in a block whose ``Host`` or ``Match`` line holds.
``Match final`` and ``CanonicalizeHostname`` bring a second pass, in which ``Host`` is compared with
the host name that the first pass found. Keywords that are not used here are not checked.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field

from shufflenet_deploy.transport import ssh_expansion as expansion
from shufflenet_deploy.transport.ssh_config_keywords import (
    KNOWN,
    LISTS,
    PROXIES,
    RAW,
    REPEATED,
    TIMES,
    checked_value,
)
from shufflenet_deploy.transport.ssh_config_lines import (
    ConfigError,
    Line,
    Source,
    lines_of,
    match_criteria,
    matches_any,
    matches_list,
)

#: Keyword in lower case -> its values, as ``ssh -G`` prints them.
Options = dict[str, list[str]]

_DEFAULT_PORT = "22"
_EXEC_SECS = 30.0


def read_options(
    files: Sequence[Source], host: str, *, user: str | None = None, port: int | None = None
) -> Options:
    """Read a host's options from the files; ``user`` and ``port`` were typed and win.

    Raises:
        ConfigError: a line cannot be understood, or the host name that it leads to.
    """
    reading = _Reading(host)
    if user:
        reading.found["user"] = [user]
    if port:
        reading.found["port"] = [str(port)]
    reading.read(files)
    reading.resolve_name()
    if reading.wants_final:
        reading.final = True
        reading.read(files)
    return reading.finished()


@dataclass
class _Reading:
    """One look-up: what was found so far, and whether the lines being read apply."""

    host: str
    found: Options = field(default_factory=dict)
    final: bool = False
    wants_final: bool = False
    #: Whether the host name that was found is the one to use, without tokens.
    settled: bool = False

    def __post_init__(self) -> None:
        #: What ``Host`` lines are compared with.
        self.name = self.host

    def read(self, files: Sequence[Source]) -> None:
        for source in files:
            # One entry for each file of which a line may follow: whether its lines apply now, and
            # whether any can, which they cannot below an Include in a block that does not apply.
            active, possible = [True], [True]
            for line in lines_of(source):
                del active[line.depth + 1 :], possible[line.depth + 1 :]
                if line.depth and not line.keyword:
                    del active[line.depth :], possible[line.depth :]
                    possible.append(active[-1])
                    active.append(active[-1])
                active[-1] = self._take(line, active=active[-1], possible=possible[-1])

    def _take(self, line: Line, *, active: bool, possible: bool) -> bool:
        """Evaluate one line; return True if those after it apply."""
        if line.keyword == "host":
            return possible and matches_any(self.name, line.words)
        if line.keyword == "match":
            return self._match(line) and possible
        if line.keyword in KNOWN:
            values = self._values(line)
            if active:
                self._keep(line.keyword, values)
        return active

    def _values(self, line: Line) -> list[str]:
        keyword, words = line.keyword, line.words
        if keyword == "proxyjump":
            # The first word counts, and of its hops only the last is taken apart.
            earlier, comma, last = line.rest.split()[0].rpartition(",")
            return [earlier + comma + last.removeprefix("ssh://").rstrip("/")]
        if keyword in RAW:
            return [line.rest.lstrip(" \t=")]
        if keyword in LISTS:
            if len(words) > 1 and "none" in map(str.lower, words) and keyword.endswith("file"):
                raise ConfigError(f"{line.where}: 'none' must stand alone")
            return list(words)
        if len(words) > 1:
            raise ConfigError(f"{line.where}: {keyword} has more than one value")
        try:
            return [checked_value(keyword, words[0])]
        except ValueError as error:
            raise ConfigError(f"{line.where}: {keyword} {words[0]}: {error}") from None

    def _keep(self, keyword: str, values: list[str]) -> None:
        if keyword in REPEATED:
            known = self.found.setdefault(keyword, [])
            known += [value for value in values if value not in known]
        elif keyword in TIMES and values == ["none"]:
            return
        elif keyword not in PROXIES or not PROXIES & self.found.keys():
            self.found.setdefault(keyword, values)

    # --- Match ---------------------------------------------------------------------------------

    def _match(self, line: Line) -> bool:
        try:
            words = iter(match_criteria(line.rest))
        except ValueError as error:
            raise ConfigError(f"{line.where}: {error}") from None
        result, count = True, 0
        for word in words:
            negated, name = word.startswith("!"), word.removeprefix("!").lower()
            if name == "all":
                if count > 1 or next(words, None) is not None:
                    raise ConfigError(f"{line.where}: 'all' cannot be combined with others")
                return result and not negated
            count += 1
            if name in {"final", "canonical"}:
                self.wants_final |= name == "final"
                result &= self.final is not negated
                continue
            argument = next(words, None)
            if argument is None:
                raise ConfigError(f"{line.where}: {name} has no value")
            if name == "exec" and not result:
                continue
            result &= self._holds(name, argument, line.where) is not negated
        if not count:
            raise ConfigError(f"{line.where}: Match has no criterion")
        return result

    def _holds(self, name: str, argument: str, where: str) -> bool:
        user = self._first("user") or expansion.local_user()
        match name:
            case "host":
                return matches_list(self._hostname().lower(), argument.lower())
            case "originalhost":
                return matches_list(self.host.lower(), argument.lower())
            case "user":
                return matches_list(user, argument)
            case "localuser":
                return matches_list(expansion.local_user(), argument)
            case "exec":
                try:
                    command = expansion.expand_tokens(argument, self._tokens(user))
                    done = subprocess.run(
                        ["/bin/sh", "-c", command],
                        check=False,
                        timeout=_EXEC_SECS,
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                    )
                except (ValueError, OSError, subprocess.TimeoutExpired) as error:
                    raise ConfigError(f"{where}: exec {argument}: {error}") from None
                return done.returncode == 0
        raise ConfigError(f"{where}: Match {name} needs the ssh program: install openssh-client")

    def _tokens(self, user: str) -> dict[str, str]:
        return expansion.connection_tokens(
            hostname=self._hostname(),
            typed=self.host,
            alias=self._first("hostkeyalias"),
            port=int(self._first("port") or _DEFAULT_PORT),
            user=user,
        )

    def _hostname(self) -> str:
        named = self._first("hostname")
        if named is None or self.settled:
            return named or self.host
        return _named(named, self.host)

    def _first(self, keyword: str) -> str | None:
        return self.found[keyword][0] if keyword in self.found else None

    # --- the host name -------------------------------------------------------------------------

    def resolve_name(self) -> None:
        """Settle the host name after the first pass."""
        name = self._hostname()
        address = _address(name)
        name = address or name.lower()
        mode = (self._first("canonicalizehostname") or "no").lower()
        if mode not in {"no", "false"}:
            self.wants_final = True
            direct = not self._is_proxied()
            if address is None and (direct or mode == "always"):
                name = self._canonical(name)
        self.name = name
        self.found["hostname"] = [name]
        self.settled = True

    def _is_proxied(self) -> bool:
        return any(
            (self._first(keyword) or "none").lower() != "none"
            for keyword in ("proxyjump", "proxycommand")
        )

    def _canonical(self, name: str) -> str:
        if name.endswith("."):
            if _exists(name):
                return name[:-1]
        elif name.count(".") > int(self._first("canonicalizemaxdots") or 1):
            return name
        else:
            for domain in self.found.get("canonicaldomains", ()):
                if domain.lower() == "none":
                    break
                if _exists(f"{name}.{domain}."):
                    return f"{name}.{domain}"
        if self._first("canonicalizefallbacklocal") == "no":
            raise ConfigError(f"{name} is not a known host name in any of CanonicalDomains")
        return name

    def finished(self) -> Options:
        """Return the options found, with defaults and expanded paths, as ``ssh -G`` shows them."""
        found = self.found
        found.setdefault("port", [_DEFAULT_PORT])
        found.setdefault("user", [expansion.local_user()])
        for keyword in ("proxyjump", "proxycommand", "knownhostscommand", "remotecommand"):
            if found.get(keyword, ["none"])[0].lower() == "none":
                found.pop(keyword, None)
        if "hostkeyalias" in found:
            found["hostkeyalias"] = [found["hostkeyalias"][0].lower()]
        found.setdefault("userknownhostsfile", ["~/.ssh/known_hosts", "~/.ssh/known_hosts2"])
        tokens = self._tokens(found["user"][0])
        for keyword in ("userknownhostsfile", "identityagent"):
            try:
                found[keyword] = [
                    expansion.expand_path(value, tokens) for value in found.get(keyword, ())
                ]
            except ValueError as error:
                raise ConfigError(f"{keyword} {error}") from None
        return found


def _named(pattern: str, host: str) -> str:
    """``HostName`` with its token."""
    try:
        return expansion.expand_tokens(pattern, {"h": host})
    except ValueError as error:
        raise ConfigError(f"HostName {error}") from None


def _address(name: str) -> str | None:
    """An IP address in its usual form, or None for a name."""
    try:
        found = socket.getaddrinfo(name, None, flags=socket.AI_NUMERICHOST, type=socket.SOCK_STREAM)
        return str(socket.getnameinfo(found[0][4], socket.NI_NUMERICHOST)[0])
    except (OSError, UnicodeError):
        return None


def _exists(name: str) -> bool:
    try:
        return bool(socket.getaddrinfo(name, None, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        return False
