"""Text from outside as one line that any terminal, file or database takes; credentials masked.

Needs nothing but the standard library, so that ``--help`` stays instant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_CREDENTIALS = (
    (re.compile(r"(://)[^\s/@]*@"), r"\1***@"),
    (
        re.compile(
            # The last part of a path before a colon, as in "/etc/passwd: not found", is no key.
            r"\b((?:\w*[_-])?(?:pass(?:word|wd|phrase)?|pwd|secret|token|api_?key)"
            r"(?:\s*=|(?<!/passwd)(?<!/token)(?<!/secret)\s*:)\s*)"
            r"(?:'[^']*'|\"[^\"]*\"|[^\s&;,'\"]+)",
            re.IGNORECASE,
        ),
        r"\1***",
    ),
)


_NO_BREAK_SPACE = "\xa0"


def first_line(text: str, most: int = 200) -> str:
    """The first line of a text from outside, without control characters, cut off where long."""
    lines = text.strip().splitlines()
    line = printable(lines[0], keep="").strip() if lines else ""
    return line if len(line) <= most else f"{line[: most - 1]}…"


def printable(text: str, keep: Iterable[str] = "\n\t") -> str:
    """Sanitise a text for terminals, files and databases; forbidden characters become ``?``.

    They are control characters, those that change the direction of text, and lone surrogates.
    """
    kept = set(keep)
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one in kept or one == _NO_BREAK_SPACE else "?"
        for one in text.encode("utf-8", "replace").decode()
    )


def masked(text: str) -> str:
    """A text without what looks like a credential in it."""
    for pattern, shown in _CREDENTIALS:
        text = pattern.sub(shown, text)
    return text
