"""Reading ``ssh_config`` where there is no ``ssh`` to ask, to the result that ``ssh -G`` prints.

Of several values of a keyword the first counts, in a block whose ``Host`` or ``Match`` line holds.
``Match final`` and ``CanonicalizeHostname`` bring a second pass, in which ``Host`` is compared with
the host name that the first pass found. Keywords that are not used here are not checked.
"""

from __future__ import annotations

import contextlib
import glob
import re
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from shufflenet_deploy.transport import ssh_expansion as expansion

#: Keyword in lower case -> its values, as ``ssh -G`` prints them.
Options = dict[str, list[str]]

SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
_DEFAULT_PORT = "22"
_MOST_INCLUDES = 16
_EXEC_SECS = 30.0
_UNIT_SECS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

#: Keywords of which every value counts, not the first alone.
_REPEATED = frozenset({"identityfile", "certificatefile"})
#: Keywords whose value is a list of words.
_LISTS = frozenset({"userknownhostsfile", "globalknownhostsfile", "canonicaldomains"})
#: Keywords whose value is the rest of the line, as it stands.
_RAW = frozenset({"proxycommand", "proxyjump", "knownhostscommand", "remotecommand"})
_FLAGS = frozenset({"compression", "identitiesonly", "canonicalizefallbacklocal", "batchmode"})
_WORDS = frozenset(
    {"hostname", "user", "port", "hostkeyalias", "identityagent", "connecttimeout"}
    | {"canonicalizehostname", "canonicalizemaxdots", "stricthostkeychecking", "revokedhostkeys"}
    | {"addressfamily", "bindaddress", "bindinterface", "controlpath", "pkcs11provider"}
    | {"proxyusefdpass", "verifyhostkeydns"}
)
#: The first of these counts.
_PROXIES = frozenset({"proxycommand", "proxyjump"})
_READ = _REPEATED | _LISTS | _RAW | _FLAGS | _WORDS


class ConfigError(Exception):
    """A line that ``ssh`` would refuse; says where."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A configuration file. Relative names that it includes lie in ``folder``."""

    path: Path
    folder: Path


def sources(chosen: Path | None) -> tuple[Source, ...]:
    """The files to read: the one that was chosen, or the user's and the system's."""
    folder = expansion.home() / ".ssh"
    if chosen is not None:
        return (Source(path=chosen, folder=folder),)
    return (
        Source(path=folder / "config", folder=folder),
        Source(path=SYSTEM_CONFIG, folder=SYSTEM_CONFIG.parent),
    )


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


def host_names(files: Sequence[Source]) -> set[str]:
    """Every name that a ``Host`` line gives, patterns left out; what is wrong is passed over.

    Raises:
        OSError: the first file exists and cannot be read.
    """
    names: set[str] = set()
    for source in files:
        for line in _legible_lines(source, set()):
            if line.keyword == "host":
                names |= {word for word in line.words if not re.search(r"[*?!]", word)}
    return names


@dataclass(frozen=True, kw_only=True)
class _Line:
    """``keyword`` in lower case, the ``rest`` as it stands, and its words.

    A file begins with a line that has no keyword; ``depth`` counts the files that include it.
    """

    keyword: str
    rest: str
    words: tuple[str, ...]
    where: str
    depth: int


def _lines(source: Source, depth: int = 0) -> Iterator[_Line]:
    """The lines of a file, and behind each ``Include`` those of the files it names."""
    if depth > _MOST_INCLUDES:
        raise ConfigError(f"{source.path} includes itself: correct its Include lines")
    yield _Line(keyword="", rest="", words=(), where=str(source.path), depth=depth)
    for number, raw in enumerate(_text(source).split("\n"), start=1):
        line = _parsed(raw, f"{source.path} line {number}", depth)
        if line is not None:
            yield line
            if line.keyword == "include":
                for path in _included(line.words, source.folder):
                    yield from _lines(Source(path=path, folder=source.folder), depth + 1)


def _legible_lines(source: Source, seen: set[Path]) -> Iterator[_Line]:
    """The lines of a file that can be read, and of those it includes, each once."""
    seen.add(source.path)
    for raw in _text(source).split("\n"):
        with contextlib.suppress(ConfigError):
            line = _parsed(raw, "", 0)
            if line is None:
                continue
            yield line
            if line.keyword == "include":
                for path in _included(line.words, source.folder):
                    if path not in seen:
                        with contextlib.suppress(OSError):
                            yield from _legible_lines(replace(source, path=path), seen)


def _text(source: Source) -> str:
    try:
        return source.path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return ""


def _parsed(raw: str, where: str, depth: int) -> _Line | None:
    """One line; None for a comment."""
    text = raw.strip(" \t\r\n\f")
    match = re.fullmatch(r'"?([^\s="]+)"?[ \t]*=?[ \t]*(.*)', text, re.DOTALL)
    if match is None or text.startswith("#"):
        return None
    keyword = match[1].lower()
    try:
        words = split_words(match[2])
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    if not words and keyword in _READ | {"host", "match", "include"}:
        raise ConfigError(f"{where}: {keyword} has no value")
    return _Line(keyword=keyword, rest=match[2], words=words, where=where, depth=depth)


def _included(words: Sequence[str], folder: Path) -> Iterator[Path]:
    for word in words:
        with contextlib.suppress(ValueError):
            pattern = str(folder / expansion.expand_tilde(word))
            yield from map(Path, sorted(glob.glob(pattern)))  # noqa: PTH207


def split_words(text: str) -> tuple[str, ...]:
    """Split a value at blanks as OpenSSH does; ``#`` before a word begins a comment.

    Raises:
        ValueError: a quotation mark is not closed.
    """
    words: list[str] = []
    index = 0
    while index < len(text):
        if text[index] in " \t":
            index += 1
            continue
        if text[index] == "#":
            break
        word, index = _word(text, index)
        words.append(word)
    return tuple(words)


def _word(text: str, index: int) -> tuple[str, int]:
    """The word that begins at ``index``, and where it ends."""
    word, quote = "", ""
    while index < len(text):
        char, following = text[index], text[index + 1 : index + 2]
        if (
            char == "\\"
            and following
            and (following in "'\"\\" or (not quote and following == " "))
        ):
            word += following
            index += 1
        elif not quote and char in " \t":
            break
        elif not quote and char in "'\"":
            quote = char
        elif char == quote:
            quote = ""
        else:
            word += char
        index += 1
    if quote:
        raise ValueError("a quotation mark is not closed")
    return word, index


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
            for line in _lines(source):
                del active[line.depth + 1 :], possible[line.depth + 1 :]
                if line.depth and not line.keyword:
                    del active[line.depth :], possible[line.depth :]
                    possible.append(active[-1])
                    active.append(active[-1])
                active[-1] = self._take(line, active=active[-1], possible=possible[-1])

    def _take(self, line: _Line, *, active: bool, possible: bool) -> bool:
        """Use one line; whether those after it apply."""
        if line.keyword == "host":
            return possible and _matches_any(self.name, line.words)
        if line.keyword == "match":
            return self._match(line) and possible
        if line.keyword in _READ:
            values = self._values(line)
            if active:
                self._keep(line.keyword, values)
        return active

    def _values(self, line: _Line) -> list[str]:
        keyword, words = line.keyword, line.words
        if keyword == "proxyjump":
            # The first word counts, and of its hops only the last is taken apart.
            earlier, comma, last = line.rest.split()[0].rpartition(",")
            return [earlier + comma + last.removeprefix("ssh://").rstrip("/")]
        if keyword in _RAW:
            return [line.rest.lstrip(" \t=")]
        if keyword in _LISTS:
            if len(words) > 1 and "none" in map(str.lower, words) and keyword.endswith("file"):
                raise ConfigError(f"{line.where}: 'none' must stand alone")
            return list(words)
        if len(words) > 1:
            raise ConfigError(f"{line.where}: {keyword} has more than one value")
        try:
            return [_checked(keyword, words[0])]
        except ValueError as error:
            raise ConfigError(f"{line.where}: {keyword} {words[0]}: {error}") from None

    def _keep(self, keyword: str, values: list[str]) -> None:
        if keyword in _REPEATED:
            known = self.found.setdefault(keyword, [])
            known += [value for value in values if value not in known]
        elif keyword not in _PROXIES or not _PROXIES & self.found.keys():
            self.found.setdefault(keyword, values)

    # --- Match ---------------------------------------------------------------------------------

    def _match(self, line: _Line) -> bool:
        try:
            words = iter(_criteria(line.rest))
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
                return _matches_list(self._hostname().lower(), argument.lower())
            case "originalhost":
                return _matches_list(self.host.lower(), argument.lower())
            case "user":
                return _matches_list(user, argument)
            case "localuser":
                return _matches_list(expansion.local_user(), argument)
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


def _checked(keyword: str, text: str) -> str:
    """One value in the form that ``ssh -G`` gives it."""
    if not text:
        raise ValueError("it is empty")
    if keyword in _FLAGS:
        flag = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}.get(text.lower())
        if flag is None:
            raise ValueError("write yes or no")
        return flag
    if keyword == "port":
        return str(_port(text))
    if keyword == "connecttimeout" and text.lower() != "none":
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


def _criteria(text: str) -> list[str]:
    """The words of a ``Match`` line, which ``=`` separates, too."""
    words: list[str] = []
    rest = text.strip(" \t")
    while rest and not rest.startswith("#"):
        if rest.startswith('"'):
            word, closing, rest = rest[1:].partition('"')
            if not closing:
                raise ValueError("a quotation mark is not closed")
        else:
            match = re.match(r'[^ \t="]*', rest)
            word = match[0] if match else ""
            rest = rest[len(word) :]
        words.append(word)
        rest = re.sub(r"^[ \t]*=?[ \t]*", "", rest)
    return words


def _matches_any(name: str, patterns: Sequence[str]) -> bool:
    """Match the patterns of a ``Host`` line; one negated match rules the host out."""
    found = False
    for pattern in patterns:
        if _fits(name, pattern.removeprefix("!")):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def _matches_list(text: str, patterns: str) -> bool:
    return _matches_any(text, patterns.split(","))


def _fits(text: str, pattern: str) -> bool:
    """Only ``*`` and ``?`` are special in these patterns."""
    return fnmatchcase(text, pattern.replace("[", "[[]"))


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
