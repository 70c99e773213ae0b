"""Profiles in the journal: beside the measurements, never among them."""

from __future__ import annotations

import pytest
import sample_runs

from shufflenet_deploy.journal import Journal
from shufflenet_deploy.records import Failure, FailureKind, OperatorTiming, Profile


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "journal.sqlite") as book:
        yield book


@pytest.fixture
def runs():
    return [sample_runs.run("shufflenet-g3-0.5x")]


def profiling(run, **changes):
    """The same cell, profiled."""
    profile = Profile(
        method="a profiler",
        inference=(10, 11),
        operators=(OperatorTiming(name="a", operator="Conv", layer="stem", samples=(8, 9)),),
    )
    fields = {"id": f"{run.id}-profile", "purpose": "profile", "profile": profile}
    return run.model_copy(update={**fields, **changes})


def test_they_are_kept_apart_and_travel_together(journal, runs, tmp_path):
    run = runs[0]
    journal.append(run)
    journal.append(profiling(run))
    assert journal.runs(run.suite) == [run]
    assert journal.profiles(run.suite) == [profiling(run)]
    row = journal.suite(run.suite)
    assert (row.measurements, row.failures) == (1, 0)
    lines = list(journal.export_lines(run.suite))
    with Journal(tmp_path / "other.sqlite") as other:
        assert other.import_lines(lines, "test") == (2, 0)
        assert other.runs() == [run]
        assert other.profiles() == [profiling(run)]
        assert other.delete(run.suite) == 2
        assert other.profiles() == []


def test_a_cell_that_cannot_be_profiled_has_not_failed(journal, runs):
    failure = Failure(kind=FailureKind.UNSUPPORTED, message="no profiler")
    journal.append(profiling(runs[0], profile=None, outcome=failure))
    row = journal.suite(runs[0].suite)
    assert (row.measurements, row.failures) == (0, 0)
    assert journal.runs() == []


def test_the_last_profile_of_a_cell_counts(journal, runs):
    first, second = profiling(runs[0]), profiling(runs[0], id="second")
    journal.append(first)
    journal.append(second)
    assert journal.profiles() == [second]
    assert journal.profiles(every=True) == [first, second]
