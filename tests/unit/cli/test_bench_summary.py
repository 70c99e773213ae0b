"""What ``bench`` ends with: its table, and what was predicted of the same cells."""

from __future__ import annotations

import csv
import json

import pytest
import sample_runs

from shufflenet_deploy.bench import Suite
from shufflenet_deploy.cli.bench_run import BenchResult
from shufflenet_deploy.cli.bench_summary import TABLE_FILES, BenchSummary
from shufflenet_deploy.journal import Journal
from shufflenet_deploy.records import StoredPrediction
from shufflenet_deploy.report.predictions import TITLE
from shufflenet_deploy.target import TransferStats

SUITE = "lab"


@pytest.fixture(params=[False, True], ids=["measured", "predicted, too"])
def summary(request, tmp_path):
    """Of a bench of one model on a board, and whether its journal has a prediction of it."""
    runs = [sample_runs.run(process=process, suite=SUITE) for process in range(3)]
    (model,) = {run.cell.model for run in runs}
    suite = Suite.of(
        {"models": [model], "runtimes": ["onnxruntime"], "resolutions": ["224x224"]}, source="test"
    )
    with Journal(tmp_path / "journal.sqlite") as journal:
        for run in runs:
            journal.append(run)
        if request.param:
            one = StoredPrediction.of(sample_runs.prediction(), sample_runs.START)
            journal.append_prediction(one)
        result = BenchResult.read(journal, suite, SUITE, "pi", TransferStats())
    return request.param, BenchSummary(result)


def test_the_table_and_its_files_have_predictions_in_columns_of_their_own(
    summary, tmp_path, capsys
):
    predicted, shown = summary
    shown.show(as_json=False, out=tmp_path)
    assert capsys.readouterr().out.count(TITLE) == predicted
    markdown, tidy, stored = (tmp_path / name for name in TABLE_FILES)
    assert markdown.read_text().count(TITLE) == predicted
    (line,) = csv.DictReader(tidy.read_text().splitlines())
    assert bool(line["predicted_ns"]) == predicted
    (block,) = json.loads(stored.read_text())["blocks"]
    assert len(block["rows"][0]["entries"][0]["predictions"]) == predicted


def test_its_json_has_them_too(summary, capsys):
    predicted, shown = summary
    shown.show(as_json=True, out=None)
    (block,) = json.loads(capsys.readouterr().out)["table"]["blocks"]
    assert len(block["rows"][0]["entries"][0]["predictions"]) == predicted
