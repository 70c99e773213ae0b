"""A journal of which one row is damaged: it is named, and everything else is read."""

from __future__ import annotations

import contextlib
import io
import json
import sqlite3
import sys

import pytest
import sample_runs

from shufflenet_deploy import cli
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.journal import Journal

SUITES = ("old", "new")


@pytest.fixture
def path(tmp_path):
    """Two suites of three processes each."""
    with Journal(tmp_path / "journal.sqlite") as book:
        for suite in SUITES:
            book.open_suite(id=suite, name=suite, host="pi", definition="{}")
            for process in range(3):
                for model in ("shufflenet-g3-0.5x", "alexnet"):
                    book.append(sample_runs.run(model, process=process, suite=suite))
    return tmp_path / "journal.sqlite"


def write_over(path, table, column, value, row=1):
    with contextlib.closing(sqlite3.connect(path)) as raw, raw:
        raw.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, row))


def command(*words):
    """Run a command line here: its exit status, output and complaints."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["shufflenet-deploy", *map(str, words)])
        with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as ended:
            cli.main()
    return ended.value.code or 0, out.getvalue(), err.getvalue()


RECORDS = (
    b"\xff\xfe",
    17,
    "",
    "[" * 1000,
    '{"id": "x"}',
    '{"samples": ' + "9" * 5000 + "}",
)


@pytest.mark.parametrize("record", RECORDS)
def test_a_damaged_run_is_named_and_the_others_are_shown(path, record):
    write_over(path, "runs", "record", record)
    for words in (
        ("runs", "list"),
        ("runs", "show", "old"),
        ("table", "--suite", "old"),
        ("compare", "old", "new"),
        ("runs", "export", "old"),
    ):
        status, out, err = command(*words, "--journal", path)
        assert status == 0, err
        assert "alexnet" in out or "old" in out
        if words != ("runs", "list"):
            assert err.startswith(f"warning: left out: {path}, runs row 1: not a record")
            assert err.count("\n") == 1
    with Journal(path) as book, pytest.raises(UsageError, match="runs row 1"):
        book.runs("old")


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("suites", "created_at", "yesterday"),
        ("suites", "created_at", "9999-12-31T23:59:59-14:00"),
        ("suites", "created_at", "2026-11-24T09:30:00"),
        ("suites", "name", b"\xff\xfe"),
        ("suites", "host", "pi\x1b[31m"),
        ("suites", "id", "n" * 5000),
        ("runs", "metric", "joules"),
        ("runs", "suite", b"\x00\xff"),
        ("runs", "started_at", 10**18),
        ("runs", "kind", "x" * 100_000),
        ("evaluations", "at", "never"),
        ("journal", "value", "5.5"),
    ],
)
def test_suites_are_listed_whatever_one_row_holds(path, table, column, value):
    write_over(path, table, column, value)
    status, out, err = command("runs", "list", "--json", "--journal", path)
    if table == "journal":
        assert (status, err.count("\n")) == (2, 1)
        assert "is damaged" in err
        return
    assert status == 0, err
    listed = [one["suite"] for one in json.loads(out)["suites"]]
    assert "new" in listed
    if table == "suites":
        assert err.startswith("warning: left out: ")
        assert "suite '" in err
    assert "\x1b" not in out + err


def test_a_suite_that_cannot_be_read_can_be_deleted(path):
    write_over(path, "suites", "created_at", "yesterday")
    assert command("runs", "delete", "old", "--yes", "--journal", path)[0] == 0
    assert command("runs", "list", "--journal", path)[2] == ""


def test_an_imported_suite_goes_on_nowhere_unasked(path, tmp_path):
    command("runs", "export", "new", "--out", tmp_path / "new.jsonl", "--journal", path)
    other = tmp_path / "other.sqlite"
    assert command("runs", "import", tmp_path / "new.jsonl", "--journal", other)[0] == 0
    status, _, err = command("bench", "--resume", "new", "--journal", other)
    assert status == 2
    assert "was not started here, and names 'pi' as its host: name" in err


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("id",), "x" * 65),
        (("suite",), "a\nb"),
        (("process",), -1),
        (("process",), 2**40),
        (("started_at",), "2026-11-24T09:30:00"),
        (("started_at",), "0001-01-01T00:00:00Z"),
        (("outcome", "samples", 0), 0),
        (("outcome", "samples", 0), -5),
        (("outcome", "samples", 0), 2**63),
        (("outcome", "samples"), []),
        (("spec", "metric"), "joules"),
        (("spec", "processes"), 10**9),
        (("cell", "threads"), 2**31),
        (("cell", "resolution"), "0x0"),
        (("cell", "resolution"), "٣٢x٣٢"),
        (("target", "host"), "pi\x1b[0m"),
        (("tool",), {"deep": [[[[]]]] * 3, "n": float("inf")}),
        (("tool",), {"n": 2**70}),
    ],
)
def test_an_import_with_a_wrong_value_is_refused_whole(tmp_path, place, value):
    record = json.loads(sample_runs.run().model_dump_json())
    *path, last = place
    part = record
    for key in path:
        part = part[key]
    part[last] = value
    file = tmp_path / "runs.jsonl"
    file.write_text(f"{sample_runs.run(process=1).model_dump_json()}\n{json.dumps(record)}\n")
    status, _, err = command("runs", "import", file, "--journal", tmp_path / "journal.sqlite")
    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith(f"error: {file}, line 2: not a record of this version: ")
    with Journal(tmp_path / "journal.sqlite") as book:
        assert book.suites() == []


SECRET = "Hunter2"


@pytest.mark.parametrize(
    "location",
    [
        f"postgresql://u:{SECRET}@127.0.0.1:1/d",
        f"postgresql://127.0.0.1:1/d?password={SECRET}",
        f"postgresql://127.0.0.1:1/d?options=-c%20{SECRET}",
        f"postgresql://u:{SECRET}@127.0.0.1:port/d",
        f"postgresql://u:a@{SECRET}@127.0.0.1:1/d",
        f"postgresql://u:a/{SECRET}@127.0.0.1:1/d",
        f"postgresql://u:{SECRET}@[::1/d",
        f"postgresql+{SECRET}://127.0.0.1/d",
        f"postgresql:/u:{SECRET}@127.0.0.1/d",
        f"u:{SECRET}@127.0.0.1/d",
        f"host=127.0.0.1 password={SECRET}",
        f"book.sqlite?password={SECRET}",
        f"sqlite:///book.sqlite?password={SECRET}",
        f"nosuch://u:{SECRET}@host/d",
    ],
)
def test_no_part_of_a_location_that_may_be_a_password_is_shown(location, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in (("runs", "list"), ("runs", "list", "--json"), ("table",)):
        status, out, err = command(*words, "--journal", location)
        assert status == 2
        assert SECRET not in out + err
        assert err.count("\n") == 1
