"""Hostile values and mutations: what broken, strange or malicious outsiders have been seen to send.

Everything is drawn from a ``random.Random``, so that a trial is known by its seed.
"""

from __future__ import annotations

import copy
import json
import re
from random import Random
from typing import Any

#: Must never be shown: stands for a password in every location that holds one.
SECRET = "Hunter2Marker"

INTEGERS = (0, -1, 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**18, 10**30)
FLOATS = (0.0, -0.0, 1e-320, 1e308, -1e308, float("nan"), float("inf"), float("-inf"), 0.5, 1e99)
TEXTS = (
    "",
    " ",
    "\0",
    "\ud800",
    "\udcff",
    "\x1b[31mred\x1b[0m",
    "\r\n",
    "a\nb",
    "٣٤٥",
    "²",
    "½",
    "NaN",
    "Infinity",
    "1e400",
    "-1",
    "0x1g",
    "0001-01-01T00:00:00+00:00",
    "9999-12-31T23:59:59-14:00",
    "2026-11-24T09:30:00",
    "yesterday",
    "../../../etc/passwd",
    "~nosuchuser",
    "%s%n{0}{x}",
    "'; DROP TABLE runs; --",
    "$(reboot)",
    "<script>alert(1)</script>",
    "\\textbf{",
    "x" * 300,
    "y" * 70_000,
    "9" * 5000,
    "\u202eevil",
    "null",
)


def json_value(random: Random) -> Any:
    """A value that JSON can hold, or that our writer below writes as JSON readers meet it."""
    depth = random.choice((10, 70, 300, 2000, 100_000))
    return random.choice(
        (
            random.choice(INTEGERS),
            random.choice(FLOATS),
            random.choice(TEXTS),
            random.choice((None, True, False, [], {}, [[]], {"": {}})),
            Raw("9" * random.choice((20, 400, 5000, 50_000))),
            Raw("[" * depth + "]" * depth),
            [random.choice(INTEGERS) for _ in range(random.choice((1, 3, 3000)))],
            {random.choice(TEXTS): random.choice(TEXTS) for _ in range(3)},
        )
    )


#: Of what one mutation adds: most of a trial's time would be its own making.
_MOST_CHARACTERS = 10_000_000


class Raw:
    """Text that stands in a document as it is."""

    def __init__(self, text: str) -> None:
        self.text = text


def written(value: Any) -> str:
    """JSON as a careless or malicious program would write it: NaN, raw texts, lone surrogates."""
    raws: list[Raw] = []

    def default(one: Any) -> Any:
        raws.append(one)
        return f"@raw{len(raws) - 1}@"

    text = json.dumps(value, default=default)
    return re.sub(r'"@raw([0-9]+)@"', lambda found: raws[int(found[1])].text, text)


def mutated_json(random: Random, document: Any) -> Any:
    """The document with one to three of its parts replaced, dropped, doubled or renamed."""
    changed = copy.deepcopy(document)
    for _ in range(random.randint(1, 3)):
        places = _places(changed)
        if not places:
            return json_value(random)
        parent, key = random.choice(places)
        action = random.randrange(10)
        if action >= 6:
            parent[key] = _of_its_type(random, parent[key])
        elif action < 4:
            parent[key] = json_value(random)
        elif action == 4:
            del parent[key]
        elif isinstance(parent, dict):
            parent[random.choice(TEXTS)] = parent[key]
        else:
            parent.append(json_value(random))
    return changed


def _of_its_type(random: Random, value: Any) -> Any:
    """Another value of the same type that a schema may well take, at the ends of what it takes."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return random.choice((0, 1, 2, 3, 17, 1000, 10**5, 2**31, 10**15, 2**53, 2**63 - 1))
    if isinstance(value, float):
        return random.choice((0.0, 1e-300, 1e308, 1e-9, -1.0, -1e308, 1e15, 3.5))
    if isinstance(value, str):
        return random.choice(_MILD_TEXTS)
    if isinstance(value, list) and value:
        return random.choice(
            (value[:1], value * 2, [value[0]] * 50, [_of_its_type(random, one) for one in value])
        )
    return value


_MILD_TEXTS = (
    "",
    "x",
    "ж" * 100,
    "a b/c\\d'\"&<>{}[]%$#_^~",
    "\u202eevil",
    "fp32",
    "int8",
    "alexnet",
    "litert",
    "1x99999",
    "99999x99999",
    "1970-01-01T00:00:00+00:00",
    "2199-12-31T23:59:59-12:00",
    "nan",
    "onnx",
    "native",
    "failed",
    "[bold]x[/nothing]",
    "instructions",
    "profile",
)


def _places(document: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    stack = [document]
    while stack:
        one = stack.pop()
        keys = list(one) if isinstance(one, dict) else list(range(min(len(one), 4)))
        for key in keys:
            found.append((one, key))
            if isinstance(one[key], dict | list):
                stack.append(one[key])
    return found


def mutated_text(random: Random, text: str) -> str:
    """The text with lines lost, doubled, cut, or with hostile words in them."""
    for _ in range(random.randint(1, 4)):
        lines = text.splitlines()
        if not lines:
            return random.choice(TEXTS)
        text = "\n".join(_changed(random, lines, random.randrange(len(lines))))
    return text


def _changed(random: Random, lines: list[str], at: int) -> list[str]:
    line = lines[at]
    instead = random.choice(
        (
            *([_with_word(random, line)] for _ in range(3)),
            [],
            [line, random.choice(lines)],
            [line, random.choice(TEXTS)],
            [line[: random.randrange(len(line) + 1)]],
            [line] * min(random.choice((3, 2000)), 1 + _MOST_CHARACTERS // (len(line) + 1)),
        )
    )
    return [*lines[:at], *instead, *lines[at + 1 :]]


def _with_word(random: Random, line: str) -> str:
    words = line.split(" ")
    at = random.randrange(len(words))
    word = random.choice(
        (
            random.choice(TEXTS).replace("\n", " "),
            str(random.choice(INTEGERS)),
            str(random.choice(FLOATS)),
            written(json_value(random))[:200_000],
            words[at] + random.choice(TEXTS),
        )
    )
    words[at] = word
    return " ".join(words)
