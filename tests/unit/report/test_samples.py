"""One row per sample: every form is read back by the programs people use, equal to the journal."""

from __future__ import annotations

import json
import sys
from datetime import datetime

import pandas as pd
import polars as pl
import pytest
import sample_runs
import samples_page
from command_line import typed

from shufflenet_deploy.journal import Journal
from shufflenet_deploy.records import Failure, FailureKind, Measurement
from shufflenet_deploy.report import sample_files
from shufflenet_deploy.report.sample_columns import Kind, columns
from shufflenet_deploy.report.table import Table

READERS = {
    "csv": (pd.read_csv, lambda path: pl.read_csv(path, infer_schema_length=None)),
    "parquet": (pd.read_parquet, pl.read_parquet),
    "json": (pd.read_json, lambda path: pl.DataFrame(json.loads(path.read_text()), strict=False)),
    "jsonl": (
        lambda path: pd.read_json(path, lines=True),
        lambda path: pl.read_ndjson(path, infer_schema_length=None),
    ),
}


@pytest.fixture(scope="module")
def runs():
    """Two models, three processes each, one measured twice, one that failed."""
    made = [
        sample_runs.run(model, process=process, suite="one", count=5)
        for process in range(3)
        for model in ("shufflenet-g3-0.5x", "alexnet")
    ]
    # Disturbed: the first attempt at this process is replaced.
    busy = made[0].outcome.model_copy(update={"others_busy_cores": 3.5})
    attempt = made[0].model_copy(update={"id": "disturbed", "outcome": busy})
    failed = sample_runs.run(
        "mobilenet-1.0",
        suite="one",
        outcome=Failure(kind=FailureKind.TIMEOUT, message="too slow"),
    )
    return [attempt, *made, failed]


@pytest.fixture(scope="module")
def journal(runs, tmp_path_factory):
    path = tmp_path_factory.mktemp("samples") / "journal.sqlite"
    with Journal(path) as book:
        for run in runs:
            book.append(run)
        for run in sample_runs.table8(suite="two")[:2]:
            book.append(run)
    return path


def export(journal, *words):
    return typed("runs", "export", *words, "--journal", journal, cwd=journal.parent)


@pytest.mark.parametrize("form", READERS)
def test_pandas_and_polars_read_every_sample_with_its_conditions(journal, runs, tmp_path, form):
    path = tmp_path / f"samples.{form}"
    done = export(journal, "one", "--out", path, "--samples")
    assert (done.returncode, done.stderr) == (0, f"35 samples written to {path}\n")
    measured = [run for run in runs if isinstance(run.outcome, Measurement)]
    expected = [(run, *pair) for run in measured for pair in enumerate(run.outcome.samples)]
    names = [column.name for column in columns()]
    for read in READERS[form]:
        table = read(path)
        # Objects of JSON have no order.
        assert sorted(table.columns) == sorted(names)
        rows = table.to_dicts() if isinstance(table, pl.DataFrame) else table.to_dict("records")
        for row, (run, place, value) in zip(rows, expected, strict=True):
            assert (row["sample"], row["value"], row["unit"]) == (place, value, "ns")
            assert row["counted"] == (run.id != "disturbed")
            assert (row["cell_model"], row["process"]) == (run.cell.model, run.process)
            assert row["cell_resolution"] == "224x224"
            assert row["spec_min_secs"] == run.spec.min_secs
            assert row["artifact_parity_passed"] is True
            assert json.loads(row["before_governors"]) == run.before.governors
            assert row["after_load_1min"] == run.after.load_1min
            assert _time(row["started_at"]) == run.started_at


def _time(value):
    return value if isinstance(value, datetime) else datetime.fromisoformat(str(value))


def test_the_page_s_recipe_gives_the_medians_of_the_table(journal, runs, tmp_path):
    path = tmp_path / "samples.parquet"
    export(journal, "one", "--out", path)
    rows = pd.read_parquet(path)
    rows = rows[rows.counted]
    process = rows.groupby(["cell_model", "cell_resolution", "process"]).value.median()
    found = process.groupby(level=[0, 1]).median()
    (block,) = Table.from_runs(runs, baseline="alexnet").blocks
    of_table = {row.model: row.entries[0].estimate for row in block.rows}
    medians = {model: one.median for model, one in of_table.items() if one is not None}
    assert medians == {model: pytest.approx(value) for (model, _), value in found.items()}


def test_parquet_is_typed(journal, tmp_path):
    path = tmp_path / "samples.parquet"
    export(journal, "--out", path)
    found = pl.read_parquet(path)
    assert set(found["suite"]) == {"one", "two"}
    kinds = {
        Kind.INTEGER: pl.Int64,
        Kind.NUMBER: pl.Float64,
        Kind.BOOLEAN: pl.Boolean,
        Kind.TIME: pl.Datetime("us", "UTC"),
    }
    assert found.schema == {one.name: kinds.get(one.kind, pl.String) for one in columns()}


def test_rows_go_to_standard_output_too(journal):
    lines = export(journal, "two", "--samples").stdout.splitlines()
    document = json.loads(export(journal, "two", "--samples", "--json").stdout)
    assert document["samples"] == [json.loads(line) for line in lines]
    assert len(lines) == 80


def test_json_lines_without_samples_are_records_that_import_reads(journal, tmp_path):
    path = tmp_path / "runs.jsonl"
    assert export(journal, "one", "--out", path).stderr == f"8 records written to {path}\n"
    done = typed("runs", "import", path, "--journal", "other.sqlite", cwd=tmp_path)
    assert done.stdout == "8 records added, 0 were already there\n"


@pytest.mark.parametrize("form", READERS)
def test_a_suite_without_samples_is_an_empty_table(form, tmp_path):
    path = tmp_path / f"empty.{form}"
    assert sample_files.write([], path, form) == 0
    if form == "parquet":
        assert len(pd.read_parquet(path)) == 0
    elif form == "json":
        assert json.loads(path.read_text()) == []


def test_an_unknown_ending_is_refused_and_nothing_is_written(journal, tmp_path):
    done = export(journal, "--out", tmp_path / "samples.xlsx")
    assert done.returncode == 2
    assert "choose among .csv, .parquet, .jsonl, .json" in str(done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_without_pyarrow_the_line_says_what_to_install(journal, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = export(journal, "--out", tmp_path / "samples.parquet")
    assert done.returncode == 2
    assert "pip install 'shufflenet-deploy[parquet]', or write a .csv file" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_run_is_named_once_and_the_rest_is_written(journal, tmp_path):
    import sqlite3  # noqa: PLC0415

    copy = tmp_path / "damaged.sqlite"
    copy.write_bytes(journal.read_bytes())
    with sqlite3.connect(copy) as database:
        database.execute("UPDATE runs SET record = '{}' WHERE id = 'disturbed'")
    database.close()
    done = export(copy, "one", "--out", tmp_path / "samples.csv")
    assert done.returncode == 0
    assert done.stderr.count("not a record of this version") == 1
    assert "30 samples" in done.stderr


def test_the_page_is_written_from_the_records():
    assert samples_page.PAGE.read_text() == samples_page.page(), "run: python docs/samples_page.py"


def test_every_column_has_a_name_of_its_own_and_a_meaning():
    names = [column.name for column in columns()]
    assert len(names) == len(set(names))
    assert [one.name for one in columns() if not samples_page.meaning(one)] == []
