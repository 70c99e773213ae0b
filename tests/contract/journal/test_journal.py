"""The journal in SQLite files and in PostgreSQL: several writers, crashes, upgrades, damage."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from shufflenet_deploy import journal as journals
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.journal import Journal, schema
from shufflenet_deploy.records import (
    BenchmarkSpec,
    Cell,
    Core,
    Failure,
    FailureKind,
    Measurement,
    Metric,
    Precision,
    Resolution,
    Run,
    TargetFacts,
)

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
            format="tflite",
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
def location(new_location):
    """The location of a journal, as a user writes it."""
    return new_location()


@pytest.fixture
def journal(location):
    """An empty one in each kind of database."""
    with Journal(location) as book:
        yield book


@pytest.fixture
def file(tmp_path):
    """An empty one in an SQLite file."""
    with Journal(tmp_path / "journal.sqlite") as book:
        yield book


def test_a_run_comes_back_as_it_was(journal, location):
    kept = run("a")
    journal.append(kept)
    journal.close()
    with Journal(location) as again:
        assert again.runs() == [kept]


def test_names_may_be_long(journal):
    kept = run("a", model="/home/somebody/" + "long" * 200 + ".toml")
    journal.append(kept)
    assert journal.runs() == [kept]


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
    assert [row.id for row in journal.suites(1)] == ["20260102-new"]
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


def test_runs_travel_as_json_lines(journal, new_location):
    for one in (run("a"), run("b"), run("c", suite="second")):
        journal.append(one)
    lines = list(journal.export_lines())
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    with Journal(new_location()) as other:
        assert other.import_lines(lines, "x") == (3, 0)
        assert other.import_lines(lines[:2], "x") == (0, 2)
        assert other.runs(every=True) == journal.runs(every=True)
        assert {row.id for row in other.suites()} == {"first", "second"}
    assert len(list(journal.export_lines("second"))) == 1


def test_suites_and_evaluations_travel_too(journal, new_location):
    import sample_runs  # noqa: PLC0415 - other processes import this file without the builders

    one = sample_runs.run()
    stranger = one.artifact.model_copy(update={"sha256": "f" * 64})
    ours, theirs = (
        sample_runs.evaluation(one.artifact, top1=50),
        sample_runs.evaluation(stranger, top1=6),
    )
    journal.open_suite(id=one.suite, name="photos", host="pi", definition="{}")
    journal.append(one)
    for evaluation in (ours, theirs):
        journal.append_evaluation(evaluation)
    with Journal(new_location()) as other:
        assert other.import_lines(list(journal.export_lines(one.suite)), "x") == (3, 0)
        assert other.evaluations() == [ours]
        elsewhere = [row.model_copy(update={"imported": True}) for row in journal.suites()]
        assert other.suites() == elsewhere
        assert other.import_lines(list(journal.export_lines()), "x") == (1, 3)
        assert other.evaluations() == [ours, theirs]


def test_what_a_suite_counts_is_listed(journal):
    counted = BenchmarkSpec(metric=Metric.INSTRUCTIONS)
    journal.append(run("a", suite="time"))
    journal.append(run("b", suite="both"))
    journal.append(run("c", suite="both", process=2).model_copy(update={"spec": counted}))
    journal.open_suite(id="none", name="n", host="pi", definition="")
    found = {row.id: row.metrics for row in journal.suites()}
    both = (Metric.INSTRUCTIONS, Metric.LATENCY)
    assert found == {"time": (Metric.LATENCY,), "both": both, "none": ()}


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
    from shufflenet_deploy.journal import Journal
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


def test_a_writer_killed_in_the_middle_loses_nothing_it_finished(location):
    with writer(location, "victim", 100_000) as process:
        finished = [int(process.stdout.readline()) for _ in range(25)][-1]
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    with Journal(location) as book:
        kept = {one.id for one in book.runs()}
        assert {f"victim-{index}" for index in range(finished + 1)} <= kept
        book.append(run("after"))
        assert "after" in {one.id for one in book.runs(every=True)}
    if "://" not in location:
        with sqlite3.connect(location) as raw:
            assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        raw.close()


def test_several_writers_create_and_fill_one_journal(location):
    processes = [writer(location, f"w{index}", 30) for index in range(4)]
    for process in processes:
        with process:
            process.communicate(timeout=60)
        assert process.returncode == 0
    with Journal(location) as book:
        assert len(book.runs()) == 120


def test_one_suite_opened_by_many_at_once_is_noted_once(location):
    Journal(location).close()

    def open_it(number):
        with Journal(location) as book:
            book.open_suite(id="one", name="n", host="pi", definition=str(number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(open_it, range(16)))
    with Journal(location) as book:
        assert [row.id for row in book.suites()] == ["one"]


def test_the_same_runs_imported_by_many_at_once_are_there_once(location):
    Journal(location).close()
    lines = [run(f"r{index}", process=index).model_dump_json() for index in range(20)]

    def import_them(_):
        with Journal(location) as book:
            return book.import_lines(lines, "x")

    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(import_them, range(8)))
    assert sorted(told) == [(0, 20)] * 7 + [(20, 0)]


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


def test_a_damaged_journal_is_told(file):
    for index in range(50):
        file.append(run(str(index), process=index))
    file.close()
    with Path(file.location).open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"\xa5" * 20_000)
    with pytest.raises(UsageError, match="damaged"), Journal(file.location) as book:
        book.runs()


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("/proc/nowhere/journal.sqlite", "cannot create the folder"),
        ("postgresql+psycopg3x://u:secret@h/d", "no driver"),
        ("://", "not a journal"),
        ("sqlite:///{folder}/x?key=secret", "leave out what follows the \\?$"),
    ],
)
def test_a_location_that_cannot_be_is_told_without_its_password(location, told, tmp_path):
    with pytest.raises(UsageError, match=told) as raised:
        Journal(location.format(folder=tmp_path))
    assert "secret" not in str(raised.value)


def test_a_folder_is_no_journal(tmp_path):
    with pytest.raises(UsageError, match="folder"):
        Journal(tmp_path)


def test_a_server_that_is_not_there_is_told_without_the_password(tmp_path):
    with pytest.raises(UsageError, match=r"cannot use the journal postgresql.*\*\*\*") as raised:
        Journal(f"postgresql+psycopg://u:secret@/d?host={tmp_path}")
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_database_or_user_that_is_not_there_is_told(postgres):
    with pytest.raises(UsageError, match=r'role "stranger" does not exist'):
        Journal(postgres.location(user="stranger"))
    with pytest.raises(UsageError, match=r'database "nowhere" does not exist'):
        Journal(f"postgresql+psycopg://owner@/nowhere?host={postgres.folder}")


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_the_driver_need_not_be_named(postgres, scheme):
    with Journal(postgres.location().replace("postgresql+psycopg", scheme)) as book:
        book.append(run("a"))
        assert [one.id for one in book.runs()] == ["a"]


def test_a_shared_database_keeps_the_tables_of_others(postgres):
    place = postgres.location()
    with connected(place) as raw:
        raw.exec_driver_sql("CREATE TABLE photos (id INTEGER)")
    with Journal(place) as book:
        book.append(run("a"))
        assert [one.id for one in book.runs()] == ["a"]
    with connected(postgres.location()) as raw:
        raw.exec_driver_sql("CREATE TABLE runs (id INTEGER)")
        with pytest.raises(UsageError, match=r"something else.*runs"):
            schema.upgrade(raw, "the journal")


# --- versions ------------------------------------------------------------------------------------


@contextlib.contextmanager
def connected(location):
    """A connection past the journal, in one transaction."""
    url = location if "://" in location else f"sqlite:///{location}"
    engine = sa.create_engine(url)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def version_of(location):
    with connected(location) as raw:
        return int(raw.scalar(sa.select(schema.about.c.value)))


def shape_of(location):
    """The columns and indices of the journal's tables."""
    with connected(location) as raw:
        inspector = sa.inspect(raw)
        return {
            table: (
                {
                    column["name"]: (str(column["type"]), column["nullable"])
                    for column in inspector.get_columns(table)
                },
                sorted(str(index["column_names"]) for index in inspector.get_indexes(table)),
            )
            for table in ("suites", "runs")
        }


@pytest.fixture
def version_1(new_location):
    """A journal as the first version left it, with three runs of two suites."""
    place = new_location()
    script = Path(__file__).with_name("version-1.sql").read_text()
    if "://" not in place:
        Path(place).parent.mkdir(parents=True)
        with sqlite3.connect(place) as raw:
            raw.executescript(script)
        raw.close()
        return place
    with connected(place) as raw:
        schema.about.create(raw)
        schema.STEPS[0](raw)
        for line in script.splitlines():
            if line.startswith("INSERT"):
                raw.exec_driver_sql(line.replace("%", "%%"))
        raw.exec_driver_sql("SELECT setval('runs_sequence_seq', 3)")
    return place


def test_a_journal_of_version_1_is_upgraded_in_place(version_1, new_location):
    assert version_of(version_1) == 1
    for _ in range(2):
        with Journal(version_1) as book:
            assert [one.id for one in book.runs()] == ["a", "b", "c"]
            found = {row.id: row for row in book.suites()}
    assert version_of(version_1) == len(schema.STEPS)
    kept = found["20261101-1200"]
    assert (kept.name, kept.measurements, kept.failures) == ("table8", 1, 1)
    assert kept.definition == '{"models": ["m"]}'
    assert kept.metrics == (Metric.LATENCY,)
    assert found["counted"].metrics == (Metric.INSTRUCTIONS,)
    with Journal(version_1) as book:
        book.append(run("d", suite="new").model_copy(update={"raw": "x" * 100_000}))
    fresh = new_location()
    Journal(fresh).close()
    if "://" in fresh:
        assert shape_of(version_1) == shape_of(fresh)


def test_many_upgrade_a_journal_of_version_1_at_once(version_1):
    def read(_):
        with Journal(version_1) as book:
            return len(book.runs())

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(read, range(6))) == [3] * 6


def test_the_tables_are_those_that_the_steps_make(location):
    Journal(location).close()
    with connected(location) as raw:
        inspector = sa.inspect(raw)
        for table in (schema.suites, schema.runs, schema.tallies):
            made = {column["name"] for column in inspector.get_columns(table.name)}
            assert made == set(table.c.keys())
            indices = {index["name"] for index in inspector.get_indexes(table.name)}
            assert {index.name for index in table.indexes} == {
                name for name in indices if name.startswith("ix_")
            }


def test_a_journal_of_a_newer_version_is_refused(journal, location):
    journal.close()
    with connected(location) as raw:
        raw.exec_driver_sql("UPDATE journal SET value = '99' WHERE key = 'schema'")
    with pytest.raises(UsageError, match=r"newer version.*99") as raised:
        Journal(location)
    assert "upgrade shufflenet-deploy" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_failed_upgrade_changes_nothing(journal, location, monkeypatch):
    journal.append(run("a"))
    journal.close()

    def break_down(connection):
        connection.exec_driver_sql("DROP TABLE runs")
        connection.exec_driver_sql("SELECT no_such_column FROM nowhere")

    steps = schema.STEPS
    monkeypatch.setattr(schema, "STEPS", (*steps, break_down))
    with pytest.raises(UsageError, match="nowhere"):
        Journal(location)
    monkeypatch.setattr(schema, "STEPS", steps)
    with Journal(location) as book:
        assert [one.id for one in book.runs()] == ["a"]


def test_the_environment_names_the_journal(tmp_path, monkeypatch):
    monkeypatch.setenv(journals.JOURNAL_VARIABLE, str(tmp_path / "mine.sqlite"))
    with Journal() as book:
        assert book.location == str(tmp_path / "mine.sqlite")


def test_evaluations_are_kept_once_in_their_order(journal):
    import sample_runs  # noqa: PLC0415 - other processes import this file without the builders

    first, second = (
        sample_runs.evaluation(sample_runs.run().artifact, top1=top1) for top1 in (50, 60)
    )
    for evaluation in (first, second, first):
        journal.append_evaluation(evaluation)
    journal.close()
    with Journal(journal.location) as book:
        assert book.evaluations() == [first, second]
        assert book.runs() == []
