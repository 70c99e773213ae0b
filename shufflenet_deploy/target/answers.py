"""The board boundary: what a board prints, as checked values or one ``ParseError``.

A board may be broken, strange or hostile, so nothing that it prints is trusted: numbers are ASCII
digits within 63 bits, names are one short line without control characters, JSON and records keep
to the limits of ``bounded``. What a line of a survey does not report in that form counts as absent;
what a record needs and does not get fails the cell.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from shufflenet_deploy.bounded import INT_MAX, integer, parse_json
from shufflenet_deploy.errors import ParseError
from shufflenet_deploy.printing import first_line, printable
from shufflenet_deploy.records import first_problem

_MOST_NAME = 200
_MOST_PATH = 4096
_MOST_DECIMAL = 32
_DECIMAL = re.compile(r"-?[0-9]+(?:\.[0-9]*)?|-?\.[0-9]+")
_HEXADECIMAL = re.compile(r"[0-9A-Fa-f]{1,15}")
#: Longest stored output of a program that could not be read, in characters.
MAX_KEPT_CHARACTERS = 64 << 10

_Model = TypeVar("_Model", bound=BaseModel)


def number(text: str | None, *, most: int = INT_MAX) -> int | None:
    """A number of things; None where the board reports none, or an impossible one."""
    try:
        value = integer((text or "").strip())
    except ValueError:
        return None
    return value if 0 <= value <= most else None


def hexadecimal(text: str) -> int | None:
    """A number in hexadecimal digits without ``0x``; None where it is none."""
    return int(text, 16) if _HEXADECIMAL.fullmatch(text) else None


def kilobytes(text: str | None) -> int | None:
    """Bytes, of a number of KiB; None where the board reports none."""
    value = number(text, most=INT_MAX // 1024)
    return None if value is None else value * 1024


def decimal(text: str | None) -> float | None:
    """A number with a fraction; None where the board reports none."""
    word = (text or "").strip()
    return float(word) if len(word) <= _MOST_DECIMAL and _DECIMAL.fullmatch(word) else None


def name(text: str | None) -> str | None:
    """The first line, short and without control characters; None where it is empty."""
    return first_line((text or "").replace("\t", " "), _MOST_NAME) or None


def path(text: str | None, *, whose: str) -> str:
    """One path, whole; "" where the board reports none.

    Raises:
        ParseError: no path is like that; it is never cut, for something else may lie there.
    """
    found = (text or "").strip()
    if printable(found, keep="") != found or len(found) > _MOST_PATH:
        raise ParseError(f"{whose}: {first_line(found, 60)!r} is no path")
    return found


def json_of(text: str, *, whose: str) -> Any:
    """One JSON document within the limits of ``bounded``.

    Raises:
        ParseError: it is none; the message begins with ``whose`` and shows what it is.
    """
    try:
        return parse_json(text)
    except ValueError as error:
        shown = first_line(text, 80)
        raise ParseError(f"{whose} printed something other than JSON: {shown!r} ({error})") from (
            error
        )


def record(model: type[_Model], fields: Any, *, whose: str, strict: bool = False) -> _Model:
    """A checked record.

    Raises:
        ParseError: a field is missing, unknown, of another type or out of bounds.
    """
    try:
        return model.model_validate(fields, strict=strict or None)
    except ValidationError as error:
        raise ParseError(f"{whose}: {first_problem(error)}") from error


def kept(text: str) -> str:
    """Cap the stored output of an unreadable program at a fixed length."""
    safe = printable(text[:MAX_KEPT_CHARACTERS])
    left_out = len(text) - MAX_KEPT_CHARACTERS
    return safe if left_out <= 0 else f"{safe}\n[{left_out} more characters]"
