"""Predictions beside measurements: in the journal, in the table's text, on the page."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from io import StringIO

import pytest
import sample_runs
from command_line import typed
from pydantic import ValidationError

from shufflenet_deploy.journal import Journal
from shufflenet_deploy.records import Prediction, Resolution, StoredPrediction, TimeParts
from shufflenet_deploy.report import predicted_cells, predictions, render
from shufflenet_deploy.report.table import Table

NOW = datetime(2026, 11, 30, tzinfo=UTC)
#: The core of the samples' board.
CORE = sample_runs.PI.core_name()


def prediction(**changes):
    parts = TimeParts(issue=8e6, mispredict=0, l2=1e6, l3=0, dram_bandwidth=1e6, dram_latency=0)
    usual = {
        "board": "a-board",
        "core": CORE,
        "clock_ghz": 1.5,
        "model": "shufflenet-g3-0.5x",
        "runtime": "onnxruntime",
        "version": "1.32.0",
        "precision": "fp32",
        "resolution": Resolution.parse("224x224"),
        "threads": sample_runs.SPEC.threads,
        "predicted_ns": 10e6,
        "low_ns": 7.5e6,
        "high_ns": 12.5e6,
        "parts": parts,
        "instructions": 1000,
        "multiply_adds": 1000,
        "artifact": "ab" * 32,
        "validated": True,
    }
    return Prediction(**usual | changes)


def test_a_prediction_stands_beside_the_measurement_of_its_cell():
    runs = [sample_runs.run(process=one, median=12.5e6) for one in range(3)]
    (one,) = predicted_cells.compared([prediction()], runs)
    assert one.host == runs[0].target.host
    assert one.error == pytest.approx(-0.2, abs=0.01)
    table = Table.from_runs(runs, predicted=[prediction()])
    (row,) = predictions.rows(table)
    assert row[-2:] == ("10.0 (± 25%)", "-20%")
    text = predictions.text(table)
    assert "not measured" in text
    assert "measured ms" in text
    assert "predicted ms" in text
    (part,) = predictions.part(table)
    assert part.rows == (row,)


def test_what_was_not_predicted_takes_no_room():
    table = Table.from_runs([sample_runs.run()])
    assert predictions.text(table) == ""
    assert predictions.part(table) == []
    assert predictions.TITLE not in render.markdown(table)
    (line,) = csv.DictReader(StringIO(render.csv(table)))
    assert line["predicted_ns"] == line["predicted_board"] == ""


def test_every_form_has_predictions_apart_from_what_was_measured():
    runs = [sample_runs.run(process=one, median=12.5e6) for one in range(3)]
    without = Table.from_runs(runs)
    one = Table.from_runs(runs, predicted=[prediction()])
    measured = json.loads(render.json(without))["blocks"][0]["rows"][0]["entries"][0]
    entry = json.loads(render.json(one))["blocks"][0]["rows"][0]["entries"][0]
    (figure,) = entry.pop("predictions")
    assert measured.pop("predictions") == []
    assert entry == measured
    assert (figure["kind"], figure["board"]) == ("predicted", "a-board")
    assert (figure["low_ns"], figure["predicted_ns"], figure["high_ns"]) == (7.5e6, 10e6, 12.5e6)

    (plain,), (line,) = (csv.DictReader(StringIO(render.csv(each))) for each in (without, one))
    assert {name for name in line if line[name] != plain[name]} == {
        f"predicted_{name}" for name in ("board", "ns", "low_ns", "high_ns", "validated")
    }
    assert (line["predicted_board"], float(line["predicted_ns"])) == ("a-board", 10e6)
    two = Table.from_runs(runs, predicted=[prediction(), prediction(board="other")])
    (line,) = csv.DictReader(StringIO(render.csv(two)))
    assert line["predicted_board"] == "a-board; other"
    assert [float(each) for each in line["predicted_low_ns"].split("; ")] == [7.5e6, 7.5e6]

    text, shown = (
        [each for each in render.markdown(table).splitlines() if each] for table in (without, one)
    )
    added = [each for each in shown if each not in text]
    assert text == [each for each in shown if each not in added]
    assert "not measured" in added[0]
    assert "predicted ms" in added[1]
    assert "10.0 (± 25%)" in added[-1]


@pytest.mark.parametrize(
    "changes",
    [
        {"core": "cortex-x9"},
        {"model": "alexnet"},
        {"runtime": "litert"},
        {"precision": "int8"},
        {"resolution": Resolution.parse("64x64")},
        {"threads": sample_runs.SPEC.threads + 1},
    ],
)
def test_a_prediction_of_something_else_does_not(changes):
    runs = [sample_runs.run(process=one) for one in range(3)]
    assert predicted_cells.compared([prediction(**changes)], runs) == []


def test_the_newest_of_a_board_counts_and_boards_stay_apart():
    found = [prediction(), prediction(predicted_ns=11e6), prediction(board="other")]
    shown = predicted_cells.compared(found, [sample_runs.run()])
    assert sorted((one.prediction.board, one.prediction.predicted_ns) for one in shown) == [
        ("a-board", 11e6),
        ("other", 10e6),
    ]


def test_a_journal_keeps_predictions_apart_from_runs_and_hands_them_on(tmp_path):
    stored = StoredPrediction.of(prediction(), NOW)
    with Journal(tmp_path / "one.sqlite") as journal:
        journal.append(sample_runs.run(sha256="ab" * 32))
        journal.append_prediction(stored)
        journal.append_prediction(StoredPrediction.of(prediction(), datetime.now(UTC)))
        assert journal.predictions() == [prediction()]
        assert [run.cell.model for run in journal.runs()] == ["shufflenet-g3-0.5x"]
        lines = list(journal.export_lines(journal.suite("last").id))
    with Journal(tmp_path / "two.sqlite") as other:
        assert other.import_lines(lines, "file")[1] == 0
        assert other.import_lines(lines, "file")[0] == 0
        assert other.predictions() == [prediction()]


def test_a_stored_prediction_keeps_to_bounds():
    fields = StoredPrediction.of(prediction(), NOW).model_dump(mode="json")
    for change in (
        {"predicted_ns": -1},
        {"model": "x\n" * 3},
        {"threads": 10**30},
        {"kind": "run"},
    ):
        with pytest.raises(ValidationError):
            StoredPrediction.model_validate({**fields, "prediction": fields["prediction"] | change})


def test_table_and_report_show_both(tmp_path):
    journal = str(tmp_path / "journal.sqlite")
    with Journal(journal) as book:
        for one in range(3):
            book.append(sample_runs.run(process=one))
        book.append_prediction(StoredPrediction.of(prediction(), NOW))
    assert "Predicted beside measured" in typed("table", "--journal", journal, cwd=tmp_path).stdout
    page = tmp_path / "page.html"
    typed("report", "--journal", journal, "--out", str(page), cwd=tmp_path)
    assert "Predicted beside measured" in page.read_text()
