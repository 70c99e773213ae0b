"""All runtimes on a target that has two of them: rows with reasons, and what of it is a failure."""

from __future__ import annotations

import pytest

from shufflenet_deploy import bench, runtime
from shufflenet_deploy.bench import Suite
from shufflenet_deploy.bench.lacking import failed_runs
from shufflenet_deploy.errors import UnavailableError
from shufflenet_deploy.journal import Journal
from shufflenet_deploy.records import FailureKind

QUICK = {"warmup-runs": 1, "warmup-secs": 0.0, "min-runs": 3, "min-secs": 0.0, "processes": 1}


def suite(*runtimes):
    fields = {"models": ["tiny"], "resolutions": ["32x32"], "baseline": None, "retries": 0}
    return Suite.of({**fields, "runtimes": [*runtimes], "spec": QUICK}, source="test")


@pytest.fixture
def measured(local_target, tmp_path, tiny_onnx, record_of):
    """The runs of a suite; there are no files but those of ONNX."""

    def artifact_of(cell):
        if cell.format != "onnx":
            raise UnavailableError(f"there are no {cell.format} files of {cell.model}")
        return record_of(tiny_onnx, cell)

    def measure(asked):
        with Journal(tmp_path / "journal.sqlite") as journal:
            return list(bench.run(asked, local_target, journal, artifact_of))

    return measure


def test_what_the_target_cannot_have_is_a_row_and_no_failure(measured):
    asked = suite("all")
    runs = measured(asked)
    assert {run.cell.runtime for run in runs} == {*runtime.names()}
    (good,) = [run for run in runs if run.kind == "measurement"]
    assert good.cell.runtime == "onnxruntime"
    kinds = {run.cell.runtime: run.outcome.kind for run in runs if run is not good}
    # PyPI's wheel is built without the provider, which its engine tells.
    assert kinds.pop("onnxruntime-xnnpack") is FailureKind.RUNTIME_MISSING
    assert set(kinds.values()) == {FailureKind.UNAVAILABLE}
    assert failed_runs(asked, runs) == []


def test_a_runtime_that_was_named_is_a_failure(measured):
    asked = suite("onnxruntime", "onnxruntime-xnnpack")
    (failed,) = failed_runs(asked, measured(asked))
    assert failed.cell.runtime == "onnxruntime-xnnpack"
