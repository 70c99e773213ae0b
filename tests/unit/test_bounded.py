"""The limits that hold for everything from outside."""

from __future__ import annotations

from datetime import datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from shufflenet_deploy import bounded, printing


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a": [1, {"b": 1e400}]}', "a.1.b: a number that is not finite"),
        ('{"a": NaN}', "NaN"),
        ("-Infinity", "Infinity"),
        ("9" * 5000, "beyond 63 bits"),
        ('{"a": 9223372036854775808}', "beyond 63 bits"),
        ('{"a": "\\ud800"}', "a: a lone surrogate"),
        ('{"\\udfff": 1}', "lone surrogate"),
        ("[" * 65 + "]" * 65, "nested deeper than 64"),
        ("[" * 100_000, "nested deeper than 64"),
        ("{} {}", "Extra data"),
    ],
)
def test_json_beyond_a_limit_is_refused(text, told):
    with pytest.raises(ValueError, match=told) as raised:
        bounded.parse_json(text)
    assert "\n" not in str(raised.value)


def test_json_up_to_a_limit_is_read():
    assert bounded.parse_json("[" * 64 + "]" * 64)
    assert bounded.parse_json('[9223372036854775807, 1e308, "\\ud83d\\ude00"]') == [
        2**63 - 1,
        1e308,
        "😀",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = inf", "a: a number that is not finite"),
        ("a = " + "9" * 5000, "beyond 63 bits"),
        ("[t]\na = [1, 0xffffffffffffffff]", "t.a.1: an integer beyond 63 bits"),
        ("a" + ".a" * 100_000 + " = 1", "a key nested deeper than 64"),
        ("['a'" + " . 'a'" * 100 + "]", "a key nested deeper than 64"),
        ("a = " + "[" * 5000 + "]" * 5000, "nested deeper than 64"),
    ],
)
def test_toml_beyond_a_limit_is_refused(text, told):
    with pytest.raises(ValueError, match=told):
        bounded.parse_toml(text)


@pytest.mark.parametrize("text", ["٣", "²", "", " 1", "1.0", "1e3", "0x10", "--1", "9" * 19, "1_0"])
def test_an_integer_is_ascii_digits(text):
    with pytest.raises(ValueError, match="integer"):
        bounded.integer(text)


def test_integers_up_to_63_bits():
    assert bounded.integer("0000000000000000000000012") == 12
    assert bounded.integer("-9223372036854775808") == -(2**63)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-24T09:30:00",
        "0001-01-01T00:00:00+00:00",
        "9999-12-31T23:59:59-14:00",
        "1970-01-01T00:00:00+14:00",
        "2200-01-01T00:00:00+00:00",
    ],
)
def test_a_time_that_no_clock_shows_is_refused(text):
    with pytest.raises(ValidationError):
        TypeAdapter(bounded.Moment).validate_python(datetime.fromisoformat(text))


@pytest.mark.parametrize("text", ["\x1b[31m", "a\nb", "\x9b", "x" * 1025, "\ud800"])
def test_a_name_is_one_line_for_any_terminal(text):
    with pytest.raises(ValidationError):
        TypeAdapter(bounded.Name).validate_python(text)


def test_what_is_shown_of_a_text_is_a_line():
    assert printing.first_line("\x1b[31mred\nblue") == "?[31mred"
    assert printing.first_line("x" * 500, 10) == "xxxxxxxxx…"
    assert printing.first_line("a\tb\x9b\ud800\u202ec\xa0é") == "a?b???c\xa0é"
    assert printing.printable("a\ud800\x00b\n") == "a??b\n"


@pytest.mark.parametrize(
    "text",
    ["cannot read /etc/passwd: /etc/passwd is not an image", "C:/x/token: no such file"],
)
def test_a_path_is_not_masked(text: str):
    assert printing.masked(text) == text


@pytest.mark.parametrize(
    "text", ["password: hunter2", "/x?password=hunter2", "x-token: hunter2", "db_passwd : hunter2"]
)
def test_a_credential_is_masked(text: str):
    assert "hunter2" not in printing.masked(text)
