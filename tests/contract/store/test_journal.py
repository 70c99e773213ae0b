"""The journal against real SQLite files: crashes, several writers, damage, migrations."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shufflenet_deploy import store
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import (
    BenchmarkSpec,
    Cell,
    Core,
    Failure,
    FailureKind,
    Format,
    Measurement,
    Precision,
    Resolution,
    Run,
    TargetFacts,
)
from shufflenet_deploy.store import Journal

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def run(name, *, suite="first", process=1, model="m", outcome=None):
    return Run(
        id=name,
        suite=suite,
        started_at=NOW + timedelta(seconds=process),
        process=process,
        cell=Cell(
            model=model,
            runtime="litert",
            format=Format.TFLITE,
            precision=Precision.INT8,
            resolution=Resolution(height=480, width=640),
        ),
        artifact=None,
        target=TargetFacts(
            host="pi",
            transport="ssh",
            arch="aarch64",
            os="o",
            kernel="k",
            cpu="c",
            cores=(Core(index=0),),
        ),
        spec=BenchmarkSpec(cpus=(0, 1)),
        raw='{"quotes": "\' \\" \\u0000 ünï"}\n',
        outcome=outcome or Measurement(samples=(1, 2, 3), first=4, load=5, warmup=(6,)),
    )


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "deep" / "folder" / "journal.sqlite") as book:
        yield book


def test_a_run_comes_back_as_it_was(journal):
    kept = run("a")
    journal.append(kept)
    journal.close()
    with Journal(journal.location) as again:
        assert again.runs() == [kept]


def test_the_last_attempt_counts_and_the_others_stay(journal):
    failed = run("a", outcome=Failure(kind=FailureKind.CRASHED, message="no"))
    for one in (failed, run("b", process=2), run("c")):
        journal.append(one)
    assert [one.id for one in journal.runs()] == ["b", "c"]
    assert [one.id for one in journal.runs(every=True)] == ["a", "b", "c"]


def test_suites_are_listed_newest_first_and_found(journal):
    journal.open_suite(id="20260101-old", name="demo", host="pi", definition="{}")
    journal.open_suite(id="20260102-new", name="table8", host="local", definition='{"a": 1}')
    journal.append(run("a", suite="20260101-old"))
    bad = Failure(kind=FailureKind.TIMEOUT, message="slow")
    journal.append(run("b", suite="20260101-old", process=2, outcome=bad))
    assert [row.id for row in journal.suites()] == ["20260102-new", "20260101-old"]
    assert journal.suite().id == "20260102-new"
    old = journal.suite("20260101")
    assert (old.measurements, old.failures, old.host, old.name) == (1, 1, "pi", "demo")
    with pytest.raises(UsageError, match="several suites"):
        journal.suite("2026")
    with pytest.raises(UsageError, match="runs list"):
        journal.suite("nope")


def test_opening_a_suite_again_keeps_its_place(journal):
    journal.open_suite(id="one", name="n", host="pi", definition="1")
    before = journal.suite("one")
    journal.open_suite(id="one", name="n", host="pi", definition="2")
    after = journal.suite("one")
    assert (after.created_at, after.definition) == (before.created_at, "2")


def test_deleting_a_suite_leaves_the_others(journal):
    journal.append(run("a"))
    journal.append(run("b", suite="second"))
    assert journal.delete("first") == 1
    assert [one.id for one in journal.runs()] == ["b"]
    assert journal.delete("first") == 0


def test_runs_travel_as_json_lines(journal, tmp_path):
    for one in (run("a"), run("b"), run("c", suite="second")):
        journal.append(one)
    lines = list(journal.export_lines())
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    with Journal(tmp_path / "other.sqlite") as other:
        assert other.import_lines(lines, "x") == (3, 0)
        assert other.import_lines(lines[:2], "x") == (0, 2)
        assert other.runs(every=True) == journal.runs(every=True)
        assert {row.id for row in other.suites()} == {"first", "second"}
    assert len(list(journal.export_lines("second"))) == 1


def test_a_wrong_line_is_named_and_nothing_is_imported(journal):
    good = run("a").model_dump_json()
    for bad in ("not json", "{}", good.replace('"process"', '"prozess"')):
        with pytest.raises(UsageError, match=r"in\.jsonl, line 3"):
            journal.import_lines([good, "\n", bad], "in.jsonl")
    assert journal.runs() == []


# --- what can go wrong ---------------------------------------------------------------------------

WRITER = """
    import sys, time
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from test_journal import run
    from shufflenet_deploy.store import Journal
    with Journal(sys.argv[1]) as book:
        for index in range(int(sys.argv[4])):
            book.append(run(f"{sys.argv[3]}-{index}", process=index + 1, model=sys.argv[3]))
            print(index, flush=True)
"""


def writer(path, name, count):
    return subprocess.Popen(
        [
            *(sys.executable, "-c", textwrap.dedent(WRITER)),
            *(str(path), str(Path(__file__).parent), name, str(count)),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_writer_killed_in_the_middle_loses_nothing_it_finished(tmp_path):
    path = tmp_path / "journal.sqlite"
    with writer(path, "victim", 100_000) as process:
        finished = [int(process.stdout.readline()) for _ in range(25)][-1]
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    with Journal(path) as book:
        kept = {one.id for one in book.runs()}
        assert {f"victim-{index}" for index in range(finished + 1)} <= kept
        book.append(run("after"))
        assert "after" in {one.id for one in book.runs(every=True)}
    with sqlite3.connect(path) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    raw.close()


def test_several_writers_create_and_fill_one_journal(tmp_path):
    path = tmp_path / "journal.sqlite"
    processes = [writer(path, f"w{index}", 30) for index in range(4)]
    for process in processes:
        with process:
            process.communicate(timeout=60)
        assert process.returncode == 0
    with Journal(path) as book:
        assert len(book.runs()) == 120


@pytest.mark.parametrize(
    "content", [b"this is not a database, but a text file.\n" * 200, os.urandom(8192)]
)
def test_a_file_that_is_no_journal_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"notes\.txt.*not a journal"):
        Journal(path)
    assert path.read_bytes() == content


def test_a_database_of_something_else_is_refused(tmp_path):
    path = tmp_path / "photos.sqlite"
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE photos (id INTEGER)")
    raw.close()
    with pytest.raises(UsageError, match=r"something else.*photos"):
        Journal(path)


def test_a_damaged_journal_is_told(journal):
    for index in range(50):
        journal.append(run(str(index), process=index))
    journal.close()
    with Path(journal.location).open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"\xa5" * 20_000)
    with pytest.raises(UsageError, match="damaged"), Journal(journal.location) as book:
        book.runs()


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("/proc/nowhere/journal.sqlite", "cannot create the folder"),
        ("postgresql+psycopg3x://u:secret@h/d", "no driver"),
        ("://", "not a journal"),
    ],
)
def test_a_location_that_cannot_be_is_told_without_its_password(location, told):
    with pytest.raises(UsageError, match=told) as raised:
        Journal(location)
    assert "secret" not in str(raised.value)


def test_a_folder_is_no_journal(tmp_path):
    with pytest.raises(UsageError, match="folder"):
        Journal(tmp_path)


def test_a_journal_of_a_newer_version_is_refused(journal):
    journal.close()
    with sqlite3.connect(journal.location) as raw:
        raw.execute("UPDATE journal SET value = '99' WHERE key = 'schema'")
    raw.close()
    with pytest.raises(UsageError, match=r"newer version.*99"):
        Journal(journal.location)


def test_an_older_journal_is_upgraded_once_and_keeps_its_runs(journal, monkeypatch):
    journal.append(run("a"))
    journal.close()
    calls = []

    def add_column(connection):
        calls.append(1)
        connection.exec_driver_sql("ALTER TABLE runs ADD COLUMN note TEXT")

    steps = store._MIGRATIONS
    monkeypatch.setattr(store, "_MIGRATIONS", (*steps, add_column))
    for _ in range(2):
        with Journal(journal.location) as book:
            assert [one.id for one in book.runs()] == ["a"]
    assert calls == [1]
    monkeypatch.setattr(store, "_MIGRATIONS", steps)
    with pytest.raises(UsageError, match="newer version"):
        Journal(journal.location)


def test_a_failed_upgrade_changes_nothing(journal, monkeypatch):
    journal.append(run("a"))
    journal.close()

    def break_down(connection):
        connection.exec_driver_sql("DROP TABLE runs")
        connection.exec_driver_sql("SELECT no_such_column FROM nowhere")

    steps = store._MIGRATIONS
    monkeypatch.setattr(store, "_MIGRATIONS", (*steps, break_down))
    with pytest.raises(UsageError, match="nowhere"):
        Journal(journal.location)
    monkeypatch.setattr(store, "_MIGRATIONS", steps)
    with Journal(journal.location) as book:
        assert [one.id for one in book.runs()] == ["a"]


def test_the_environment_names_the_journal(tmp_path, monkeypatch):
    monkeypatch.setenv(store.JOURNAL_VARIABLE, str(tmp_path / "mine.sqlite"))
    with Journal() as book:
        assert book.location == str(tmp_path / "mine.sqlite")


def test_evaluations_are_kept_once_in_their_order(journal):
    import measured  # noqa: PLC0415 - other processes import this file without the builders

    first, second = (measured.evaluation(measured.run().artifact, top1=top1) for top1 in (50, 60))
    for evaluation in (first, second, first):
        journal.append_evaluation(evaluation)
    journal.close()
    with Journal(journal.location) as book:
        assert book.evaluations() == [first, second]
        assert book.runs() == []


def test_a_journal_from_before_evaluations_gets_a_place_for_them(journal):
    journal.append(run("a"))
    journal.close()
    with sqlite3.connect(journal.location) as raw:
        raw.execute("DROP TABLE evaluations")
        raw.execute("UPDATE journal SET value = '1' WHERE key = 'schema'")
    raw.close()
    with Journal(journal.location) as book:
        assert book.evaluations() == []
        assert [one.id for one in book.runs()] == ["a"]
