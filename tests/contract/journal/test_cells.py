"""Cells of a journal, the runs of one of them, suites from an index, and twenty writers at once."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sample_runs
import sqlalchemy as sa

from shufflenet_deploy.journal import Journal, MeasuredCell, schema, suites
from shufflenet_deploy.journal.rows import run_row
from shufflenet_deploy.records import Failure, FailureKind, Metric

SMALL, ALEXNET = "shufflenet-g3-0.5x", "alexnet"
WRITERS, RUNS_EACH = 20, 4


@pytest.fixture
def location(new_location):
    return new_location()


@pytest.fixture
def journal(location):
    with Journal(location) as book:
        yield book


def nights(model=SMALL, *, count=3, host="pi", **changes):
    target = sample_runs.PI.model_copy(update={"host": host})
    for number in range(count):
        run = sample_runs.run(model, suite=f"night-{number}", target=target, **changes)
        yield run.model_copy(update={"started_at": run.started_at + timedelta(days=number)})


def test_cells_are_told_apart_by_host_metric_and_options(journal):
    counted = sample_runs.SPEC.model_copy(update={"metric": Metric.INSTRUCTIONS})
    for runs in (
        nights(),
        nights(host="pi5"),
        nights(ALEXNET, options={"head": "none"}),
        nights(ALEXNET, options={"head": "fixed"}),
        nights(count=1, spec=counted, process=1),
    ):
        for run in runs:
            journal.append(run)
    found = {(one.host, one.cell.model, one.metric) for one in journal.cells()}
    assert len(journal.cells()) == 5
    assert ("pi5", SMALL, Metric.LATENCY) in found
    assert ("pi", SMALL, Metric.INSTRUCTIONS) in found


def test_the_runs_of_a_cell_are_read_alone_and_since_a_time(journal):
    made = [*nights()]
    for run in (*made, *nights(ALEXNET), *nights(host="pi5")):
        journal.append(run)
    cell = MeasuredCell.of(made[0])
    assert journal.runs_of(cell) == made
    assert journal.runs_of(cell, since=made[1].started_at) == made[1:]
    assert journal.runs_of(cell, since=made[2].started_at + timedelta(seconds=1)) == []


def test_the_newest_suites_of_a_cell_are_read_alone(journal):
    made = [*nights()]
    for run in (*made, *nights(ALEXNET), *nights(host="pi5")):
        journal.append(run)
    cell = MeasuredCell.of(made[0])
    assert journal.runs_of(cell, suites=2) == made[1:]
    assert journal.runs_of(cell, suites=9) == made
    assert journal.runs_of(cell, since=made[1].started_at, suites=1) == made[2:]
    assert journal.suites_of(cell) == len({run.suite for run in made}) == 3
    assert journal.suites_of(cell, since=made[1].started_at) == 2


def test_the_newest_suites_are_found_wherever_they_stand(journal):
    """Some are noted and some are only runs, as an older version or an import leaves them."""
    order = [5, 0, 3, 1, 4, 2]
    made = list(nights(count=len(order)))
    for number in order:
        journal.append(made[number])
    with journal._writer.begin() as connection:
        for number in (1, 4):
            connection.execute(
                schema.suites.insert().values(
                    id=f"night-{number}",
                    name="nightly",
                    host="pi",
                    created_at=made[number].started_at.isoformat(),
                    definition="{}",
                    imported=0,
                )
            )
    newest_first = [f"night-{number}" for number in reversed(range(len(order)))]
    assert [one.id for one in journal.suites(4)] == newest_first[:4]
    assert [one.id for one in journal.suites()] == newest_first
    assert journal.suite().id == newest_first[0]


def test_the_last_suite_is_the_newest_that_can_be_read(journal):
    for run in nights(count=9):
        journal.append(run)
    with journal._writer.begin() as connection:
        damaged = [f"night-{number}" for number in range(2, 9)]
        tallies = schema.tallies
        connection.execute(
            tallies.update().where(tallies.c.suite.in_(damaged)).values(measurements=-1, host="\n")
        )
    complaints = []
    with Journal(journal.address, on_damaged=complaints.append) as book:
        assert book.suite().id == "night-1"
    assert len(complaints) == len(damaged)
    assert all("suite 'night-" in one for one in complaints)


def test_profiles_are_no_history(journal):
    run = next(nights())
    journal.append(run.model_copy(update={"purpose": "profile"}))
    assert journal.runs_of(MeasuredCell.of(run)) == []


def test_cells_go_with_the_last_of_their_runs(journal):
    for run in (*nights(count=2), *nights(ALEXNET, count=1)):
        journal.append(run)
    journal.delete("night-0")
    assert [one.cell.model for one in journal.cells()] == [SMALL]
    journal.delete("night-1")
    assert journal.cells() == []


def test_imported_runs_have_cells_too(journal, new_location):
    for run in nights():
        journal.append(run)
    with Journal(new_location()) as other:
        other.import_lines(journal.export_lines(), "x")
        assert other.cells() == journal.cells()
        assert len(other.runs_of(other.cells()[0])) == 3


def test_a_key_stands_for_the_same_cell_in_every_version():
    """It is stored: what it is computed of never changes."""
    cell = MeasuredCell.of(sample_runs.run(ALEXNET, options={"head": "none"}))
    assert cell.key == "a2f4d3edf2e46ac34ce8102e0f6ca191"


def test_an_older_journal_learns_its_cells(location):
    with Journal(location) as book:
        made = [*nights(), *nights(ALEXNET)]
        for run in made:
            book.append(run)
    url = location if "://" in location else f"sqlite:///{location}"
    engine = sa.create_engine(url)
    with engine.begin() as raw:
        for statement in (
            "DROP INDEX ix_runs_cell",
            "DROP INDEX ix_runs_listed",
            "ALTER TABLE runs DROP COLUMN cell",
            "DROP TABLE cells",
            "DROP TABLE tallies",
            "CREATE INDEX ix_runs_suite ON runs (suite)",
            "UPDATE journal SET value = '5'",
            "UPDATE runs SET record = 'damaged' WHERE sequence = 1",
        ):
            raw.exec_driver_sql(statement)
    engine.dispose()
    complaints: list[str] = []
    with Journal(location, on_damaged=complaints.append) as book:
        cells = {one.cell.model: one for one in book.cells()}
        assert book.runs_of(cells[SMALL]) == made[1:3]
        assert book.runs_of(cells[ALEXNET]) == made[3:]
        assert len(book.suites()) == 3
        assert book.suite().id == "night-2"
    assert complaints == []


def test_twenty_writers_at_once_lose_nothing(location):
    Journal(location).close()
    runs = [
        [
            sample_runs.run(SMALL, suite=f"suite-{writer % 3}", process=writer * RUNS_EACH + number)
            for number in range(RUNS_EACH)
        ]
        for writer in range(WRITERS)
    ]

    def write(mine):
        with Journal(location) as book:
            for run in mine:
                book.open_suite(id=run.suite, name="n", host="pi", definition="{}")
                book.append(run)

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, runs))
    with Journal(location) as book:
        kept = {run.id: run for run in book.runs()}
        assert kept == {run.id: run for mine in runs for run in mine}
        assert [row.measurements for row in book.suites()] != []
        assert sum(row.measurements for row in book.suites()) == WRITERS * RUNS_EACH
        assert len(book.cells()) == 1


def test_the_list_of_suites_reads_no_runs(journal):
    """There may be a million: the list and the last suite come from the tallies and the notes."""
    for run in nights():
        journal.append(run)
    said: list[str] = []
    sa.event.listen(journal._engine, "before_cursor_execute", lambda *given: said.append(given[2]))
    assert len(journal.suites()) == 3
    assert journal.suite().measurements == 1
    assert not [statement for statement in said if re.search(r"\bruns\b", statement)]
    assert schema.tallies.name in " ".join(said)


def test_tallies_are_what_counting_gives(journal, new_location):
    """However runs came and went; a writer of an older version is caught up with on resuming."""
    made = [*nights(), *nights(ALEXNET)]
    failure = Failure(kind=FailureKind.CRASHED, message="no")
    for number, run in enumerate(made):
        journal.append(
            run.model_copy(update={"started_at": sample_runs.START - timedelta(hours=number)})
        )
    journal.append(made[0].model_copy(update={"id": "failed", "outcome": failure}))
    lines = [*journal.export_lines()]
    journal.delete("night-1")
    with Journal(new_location()) as other:
        other.import_lines(lines, "lines")
        for book in (journal, other):
            kept = tallies(book)
            with book._writing() as connection:
                suites.recount(connection)
            assert kept == tallies(book)
    counted = {row.suite: (row.measurements, row.failures) for row in kept}
    assert counted == {"night-0": (2, 1), "night-1": (2, 0), "night-2": (2, 0)}
    with journal._writing() as connection:
        connection.execute(schema.runs.insert().values(**{**run_row(made[2]), "id": "unheard"}))
    journal.open_suite(id="night-2", name="n", host="pi", definition="")
    assert journal.suite("night-2").measurements == 3


def tallies(book):
    with book._engine.connect() as connection:
        return sorted(connection.execute(sa.select(schema.tallies)).all())
