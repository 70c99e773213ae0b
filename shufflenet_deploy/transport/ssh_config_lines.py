"""Syntax of ``ssh_config``: files -> lines of keyword and words, ``Include`` lines followed.

Words, quotation marks and comments are split as OpenSSH does; patterns are matched here, too.
"""

from __future__ import annotations

import contextlib
import glob
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from shufflenet_deploy.transport import ssh_expansion as expansion
from shufflenet_deploy.transport.ssh_config_keywords import KNOWN

SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
_MOST_INCLUDES = 16


class ConfigError(Exception):
    """A line that ``ssh`` would refuse, with its place."""


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


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line: ``keyword`` in lower case, the ``rest`` as it stands, and its words.

    A file begins with a line that has no keyword; ``depth`` counts the files that include it.
    """

    keyword: str
    rest: str
    words: tuple[str, ...]
    where: str
    depth: int


def lines_of(source: Source, depth: int = 0) -> Iterator[Line]:
    """The lines of a file, and behind each ``Include`` those of the files it names."""
    if depth > _MOST_INCLUDES:
        raise ConfigError(f"{source.path} includes itself: correct its Include lines")
    yield Line(keyword="", rest="", words=(), where=str(source.path), depth=depth)
    for number, raw in enumerate(_text(source).split("\n"), start=1):
        line = _parsed(raw, f"{source.path} line {number}", depth)
        if line is not None:
            yield line
            if line.keyword == "include":
                for path in _included(line.words, source.folder):
                    yield from lines_of(Source(path=path, folder=source.folder), depth + 1)


def _legible_lines(source: Source, seen: set[Path]) -> Iterator[Line]:
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


def _parsed(raw: str, where: str, depth: int) -> Line | None:
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
    if not words and keyword in KNOWN | {"host", "match", "include"}:
        raise ConfigError(f"{where}: {keyword} has no value")
    return Line(keyword=keyword, rest=match[2], words=words, where=where, depth=depth)


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


def host_names(files: Sequence[Source]) -> set[str]:
    """Every name that a ``Host`` line gives, patterns left out; invalid lines are skipped.

    Raises:
        OSError: the first file exists and cannot be read.
    """
    names: set[str] = set()
    for source in files:
        for line in _legible_lines(source, set()):
            if line.keyword == "host":
                names |= {word for word in line.words if not re.search(r"[*?!]", word)}
    return names


def match_criteria(text: str) -> list[str]:
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


def matches_any(name: str, patterns: Sequence[str]) -> bool:
    """Match the patterns of a ``Host`` line; one negated match rules the host out."""
    found = False
    for pattern in patterns:
        if _fits(name, pattern.removeprefix("!")):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def matches_list(text: str, patterns: str) -> bool:
    """Match a pattern list, separated by commas, of a ``Match`` line."""
    return matches_any(text, patterns.split(","))


def _fits(text: str, pattern: str) -> bool:
    """Match one pattern, in which ``*`` and ``?`` alone are special."""
    return fnmatchcase(text, pattern.replace("[", "[[]"))
