"""TOML and JSON of any content end as a value or as one line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.texts import MAX_TOML_BYTES, read_json, read_text, read_toml


def refused(read: Callable[[Path, str], Any], path: Path) -> str:
    with pytest.raises(UsageError) as raised:
        read(path, "card")
    line = str(raised.value)
    assert "\n" not in line
    assert "card" in line
    return line


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a = " + "[" * 100_000, "nested too deeply"),
        ("a." * 100_000 + "b = 1", "nested too deeply"),
        ("[" + "a . " * 100_000 + "b]", "nested too deeply"),
        ("a = " + "9" * 5000, "not TOML"),
        ("a = 1\na = 2", "not TOML"),
        ("a = '\x00'", "not TOML"),
        ("\\", "not TOML"),
        ('a = "' + "x" * MAX_TOML_BYTES + '"', "more than the 1 MiB"),
        (b"\xff\xfe\x00", "not text in UTF-8"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_toml_that_is_none(content: str | bytes, told: str, tmp_path: Path):
    path = tmp_path / "x.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert told in refused(read_toml, path)


@pytest.mark.parametrize(
    ("content", "told"),
    [("[" * 100_000, "nested too deeply"), ("9" * 5000, "not JSON"), ("{", "not JSON")],
    ids=lambda value: value[:20],
)
def test_json_that_is_none(content: str, told: str, tmp_path: Path):
    path = tmp_path / "x.json"
    path.write_text(content)
    assert told in refused(read_json, path)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/", "/no/such", "a\0b", "x" * 5000])
def test_what_is_no_file(path: str):
    assert "cannot read the card" in refused(read_text, Path(path))


def test_a_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    assert "device or pipe" in refused(read_text, tmp_path / "pipe")


def test_toml_that_people_write(tmp_path: Path):
    path = tmp_path / "x.toml"
    floats = ", ".join(f"{n}.5" for n in range(100))
    text = f"a.b.c = 1\nv = '1.2.3.4'\nx = [{floats}]\nn = 9223372036854775808\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    found = read_toml(path, "card")
    assert found["a"]["b"]["c"] == 1
    assert len(found["x"]) == 100
