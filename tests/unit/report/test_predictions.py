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
from sample_runs import prediction

from shufflenet_deploy.journal import Journal
from shufflenet_deploy.records import Resolution, StoredPrediction
from shufflenet_deploy.report import boards_render, predicted_cells, predictions, render
from shufflenet_deploy.report.boards import BoardTables
from shufflenet_deploy.report.render import Rendering
from shufflenet_deploy.report.table import Table

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def test_a_prediction_stands_beside_the_measurement_of_its_cell():
    runs = [sample_runs.run(process=one, median=12.5e6) for one in range(3)]
    (one,) = predicted_cells.compared([prediction()], runs)
    assert one.host == runs[0].target.host
    assert one.error == pytest.approx(-0.2, abs=0.01)
    table = Table.from_runs(runs, predicted=[prediction()])
    (row,) = predictions.rows(table)
    assert row[-2:] == ("10.0 (± 25%)", "-20%")
    text = render.terminal(table)
    assert "not measured" in text
    assert "measured ms" in text
    assert "predicted ms" in text
    (part,) = predictions.part(table)
    assert part.rows == (row,)


def test_what_was_not_predicted_takes_no_room():
    table = Table.from_runs([sample_runs.run()])
    assert predictions.part(table) == []
    for form in (render.terminal, render.markdown, render.latex):
        assert predictions.TITLE not in form(table)
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

    added = what_is_added(render.markdown(without), render.markdown(one))
    assert "not measured" in added[0]
    assert "predicted ms" in added[1]
    assert "10.0 (± 25%)" in added[-1]
    added = what_is_added(render.latex(without), render.latex(one))
    assert r"\caption{Predicted beside measured.}" in added
    (cells,) = [each.split(" & ") for each in added if "10.0" in each]
    assert cells[-1] == r"{-}20\% \\"
    assert cells[-2] == r"10.0 (\ensuremath{\pm} 25\%)"
    assert any(each.startswith(r"\quad onnxruntime fp32, pi & & a") for each in added)
    assert "not measured" in " ".join(added)


@pytest.fixture
def two_boards():
    """One cell on two hosts, and a prediction of its kind of core."""
    hosts = [sample_runs.PI.model_copy(update={"host": name}) for name in ("pi3", "pi4")]
    runs = [
        sample_runs.run(process=process, target=host, median=ms * 1e6)
        for host, ms in zip(hosts, (8.0, 12.5), strict=True)
        for process in range(3)
    ]
    return [
        BoardTables.of(Table.from_runs(runs, predicted=predicted))
        for predicted in ([], [prediction()])
    ]


def test_tables_by_host_have_predictions_in_every_form(two_boards):
    without, one = two_boards
    rows = predictions.rows_by_board(one)
    assert [(row[2], row[-2], row[-1]) for row in rows] == [
        ("pi3", "10.0 (± 25%)", "+25%"),
        ("pi4", "10.0 (± 25%)", "-20%"),
    ]
    for form in (Rendering.TERMINAL, Rendering.MARKDOWN, Rendering.LATEX):
        shown = boards_render.render(one, form)
        assert len(what_is_added(boards_render.render(without, form), shown)) >= 4
        assert shown.count(predictions.TITLE) == 1
    first, second = csv.DictReader(StringIO(boards_render.render(one, Rendering.CSV)))
    assert float(first["predicted_ns"]) == float(second["predicted_ns"]) == 10e6
    (plain, _) = csv.DictReader(StringIO(boards_render.render(without, Rendering.CSV)))
    assert plain["predicted_ns"] == plain["predicted_board"] == ""
    assert first["median"] == plain["median"]
    figures = json.loads(boards_render.render(one, Rendering.JSON))["tables"][0]["rows"][0]
    assert [len(each["predictions"]) for each in figures["figures"]] == [1, 1]


def what_is_added(text, shown):
    """The lines that a text has more than another; what the other has stands in it unchanged."""
    before, after = ([each for each in one.splitlines() if each] for one in (text, shown))
    added = [each for each in after if each not in before]
    kept = iter(each for each in after if each not in added)
    assert all(each in kept for each in before)
    return added


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
