"""Text that others wrote -> plain values within bounds: JSON, TOML, integers, texts, times.

Everything that comes from a file, a board, a database or an option passes through here or through
a pydantic model built from the types below, so that one set of limits holds everywhere:

- integers fit in 63 bits and a sign, as databases and every other JSON reader expect;
- floating-point numbers are finite;
- texts hold no lone surrogates, so that they can be written anywhere as UTF-8;
- documents are nested no deeper than ``MAX_DEPTH``;
- times lie in the years that a computer's clock can show.

What breaks a limit raises ``ValueError`` with one line that states what and where; the module of
each boundary (``atomic_files``, ``target.answers``, ``journal``, ``cli.arguments``) adds which.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn

from pydantic import AfterValidator, Field, StringConstraints

from shufflenet_deploy.printing import printable

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
MAX_DEPTH = 64
#: An inference of eleven days, or of 10^15 instructions.
MAX_SAMPLE = 10**15
MAX_SAMPLES = 10_000_000
#: The longest that anything is waited or measured for: 30 days.
MAX_SECS = 30 * 86_400.0
#: More threads, cores or processes than any machine here has.
MAX_COUNT = 100_000
_FIRST_YEAR, _LAST_YEAR = 1970, 2199
_MAX_NAME = 1024
_MAX_DIGITS = 19
_SHOWN_KEYS = 6
_INTEGER = re.compile(r"[+-]?[0-9]+")
#: A dotted key deeper than any table may be; tomllib takes quadratic memory for it.
_LONG_KEY = re.compile(
    r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+)"""
    rf"{{{MAX_DEPTH}}}"
)


# --- types of fields -----------------------------------------------------------------------------


def _writable(text: str) -> str:
    """Refuse what cannot be written as UTF-8."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("a lone surrogate, which is no character") from error
    return text


def _plain(text: str) -> str:
    """Refuse control characters, which terminals obey and databases refuse."""
    if not text.isprintable() and any(ord(one) < 32 or 127 <= ord(one) < 160 for one in text):
        raise ValueError("a control character, which no name holds")
    return text


def _dated(moment: datetime) -> datetime:
    """Refuse a time without zone, and one that has no representation in every zone."""
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise ValueError(f"a time outside of the years {_FIRST_YEAR} to {_LAST_YEAR}")
    try:
        return moment if moment.astimezone(UTC).year >= _FIRST_YEAR else _refuse_early()
    except OverflowError as error:
        raise ValueError("a time outside of the calendar") from error


def _refuse_early() -> NoReturn:
    raise ValueError(f"a time before the year {_FIRST_YEAR}")


#: An integer that databases and other languages can hold.
Int = Annotated[int, Field(ge=INT_MIN, le=INT_MAX)]
#: A size or a count of things that may be none.
Size = Annotated[int, Field(ge=0, le=INT_MAX)]
#: Number or index of threads, processes or cores.
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
#: One sample in nanoseconds or instructions.
Sample = Annotated[int, Field(gt=0, le=MAX_SAMPLE)]
#: As ``Sample``, where a coarse clock may have seen nothing pass.
Span = Annotated[int, Field(ge=0, le=MAX_SAMPLE)]
#: Text. Any limit of its length makes pydantic refuse lone surrogates, without a call of ours for
#: each of a large journal's millions of texts.
Text = Annotated[str, StringConstraints(max_length=INT_MAX)]
#: Identifier: one line without control characters.
Name = Annotated[str, StringConstraints(max_length=_MAX_NAME), AfterValidator(_plain)]
#: A time with its zone, between the years 1970 and 2199.
Moment = Annotated[datetime, AfterValidator(_dated)]


def _within_bounds(value: dict[str, Any]) -> dict[str, Any]:
    check(value)
    return value


#: A JSON object of any content within the limits of this module.
JsonObject = Annotated[dict[str, Any], AfterValidator(_within_bounds)]

# --- documents -----------------------------------------------------------------------------------


def parse_json(text: str | bytes) -> Any:
    """Read one JSON document.

    Raises:
        ValueError: it is none, or breaks a limit of this module.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_int=integer)
    except RecursionError as error:
        raise ValueError(f"nested deeper than {MAX_DEPTH}") from error
    check(value)
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """Read one TOML document.

    Raises:
        ValueError: it is none, or breaks a limit of this module.
    """
    if _LONG_KEY.search(text):
        raise ValueError(f"a key nested deeper than {MAX_DEPTH}")
    try:
        fields = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError(f"nested deeper than {MAX_DEPTH}") from error
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as error:  # Python's own limit of digits
        raise ValueError("an integer beyond 63 bits") from error
    check(fields)
    return fields


def check(value: Any) -> None:
    """Walk a document without recursion.

    Raises:
        ValueError: it breaks a limit of this module; the message names the place.
    """
    stack: list[tuple[Any, Iterator[tuple[Any, Any]]]] = []
    one, parts = value, _parts(value)
    try:
        while True:
            _check_leaf(one)
            if parts is not None:
                if len(stack) >= MAX_DEPTH:
                    raise ValueError(f"nested deeper than {MAX_DEPTH}")
                stack.append((None, parts))
            while stack:
                step = next(stack[-1][1], None)
                if step is not None:
                    break
                stack.pop()
            else:
                return
            key, one = step
            stack[-1] = (key, stack[-1][1])
            if isinstance(key, str):
                _writable(key)
            parts = _parts(one)
    except ValueError as error:
        keys = [str(key)[:40] for key, _ in stack if key is not None]
        where = ".".join(keys[:_SHOWN_KEYS])
        shown = printable(where.encode("ascii", "replace").decode(), keep="")
        raise ValueError(f"{shown}: {error}" if shown else str(error)) from error


def _parts(value: Any) -> Iterator[tuple[Any, Any]] | None:
    if isinstance(value, dict):
        return iter(value.items())
    return iter(enumerate(value)) if isinstance(value, list) else None


def _check_leaf(value: Any) -> None:
    if isinstance(value, bool):
        return
    if isinstance(value, int) and not INT_MIN <= value <= INT_MAX:
        raise ValueError("an integer beyond 63 bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number that is not finite")
    if isinstance(value, str):
        _writable(value)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


# --- numbers in text -----------------------------------------------------------------------------


def integer(text: str) -> int:
    """An integer in ASCII digits that fits in 63 bits and a sign.

    Raises:
        ValueError: it is none.
    """
    if len(text) > _MAX_DIGITS + 1 and len(text.lstrip("+-0")) > _MAX_DIGITS:
        raise ValueError("an integer beyond 63 bits")
    if _INTEGER.fullmatch(text) is None:
        raise ValueError(f"{text[:40]!r} is no integer")
    value = int(text)
    if not INT_MIN <= value <= INT_MAX:
        raise ValueError("an integer beyond 63 bits")
    return value
