"""Names that become parts of paths and lines: checked once, here, wherever they come from.

A card, a suite or a file from elsewhere may carry any text as a name; as one of these types it
cannot leave its folder, end a line or hide what it is.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

MAX_NAME_LENGTH = 80
MAX_LINE_LENGTH = 400

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_ARGUMENT = re.compile(r"--[A-Za-z][A-Za-z0-9_-]*(=|$)")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+ -]*")


def check_model_name(name: str) -> str:
    """A model's name: letters, digits and ``. _ + -``; it begins its files' names.

    Raises:
        ValueError: it is something else, or too long.
    """
    return _checked(name, _MODEL, "letters, digits and . _ + -, the first a letter or digit")


def check_suite_name(name: str) -> str:
    """A suite's name: one line of letters (of any script), digits, spaces and punctuation.

    Raises:
        ValueError: it could be a path, hides something, or is too long.
    """
    if "/" in name or "\\" in name or name.startswith((".", "-")) or not name.strip():
        raise ValueError(f"{_shown(name)} cannot be a name: no / or \\, no . or - at the beginning")
    check_line(name)
    return _bounded(name)


def check_file_name(name: str) -> str:
    """The name of a file next to another: it has no folder, and is no hidden file.

    Raises:
        ValueError: it is something else, or too long.
    """
    if len(name) > 200:
        raise ValueError(f"{_shown(name)} is longer than 200 characters")
    if not _FILE.fullmatch(name):
        raise ValueError(f"{_shown(name)} cannot be the name of a file in the same folder")
    return name


def check_line(text: str) -> str:
    """One line of printable text.

    Raises:
        ValueError: it has line ends or other control characters, or is too long.
    """
    if not text.isprintable():
        raise ValueError(f"{_shown(text)} has characters that cannot be printed")
    if len(text) > MAX_LINE_LENGTH:
        raise ValueError(f"is longer than {MAX_LINE_LENGTH} characters")
    return text


def check_argument(text: str) -> str:
    """One argument of a program, written ``--NAME`` or ``--NAME=VALUE``.

    Raises:
        ValueError: it is something else, or holds what cannot be printed.
    """
    if not _ARGUMENT.match(text):
        raise ValueError(f"{_shown(text)} is no argument: write --NAME=VALUE")
    return check_line(text)


ModelName = Annotated[str, AfterValidator(check_model_name)]
SuiteName = Annotated[str, AfterValidator(check_suite_name)]
FileName = Annotated[str, AfterValidator(check_file_name)]
Argument = Annotated[str, AfterValidator(check_argument)]
Line = Annotated[str, AfterValidator(check_line)]


def _checked(name: str, grammar: re.Pattern[str], rule: str) -> str:
    if not grammar.fullmatch(_bounded(name)):
        raise ValueError(f"{_shown(name)} cannot be a name: {rule}")
    return name


def _bounded(name: str) -> str:
    if len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_LENGTH:
        raise ValueError(f"{_shown(name)} is longer than {MAX_NAME_LENGTH} bytes")
    return name


def _shown(name: str) -> str:
    return ascii(name if len(name) <= MAX_NAME_LENGTH else f"{name[:MAX_NAME_LENGTH]}...")
