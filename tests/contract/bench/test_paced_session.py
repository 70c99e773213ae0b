"""A bench with --rate and --background-load on a real target, and what is kept and shown of it."""

from __future__ import annotations

import json

import pytest

from shufflenet_deploy import bench
from shufflenet_deploy.bench import Suite, process
from shufflenet_deploy.bench import paced as bench_paced
from shufflenet_deploy.cli import supplementary
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.journal import Journal
from shufflenet_deploy.records import FailureKind, Paced
from shufflenet_deploy.report import paced
from shufflenet_deploy.report.html import html
from shufflenet_deploy.report.table import Table

QUICK = {"warmup-runs": 1, "warmup-secs": 0.0, "min-runs": 5, "min-secs": 0.0, "processes": 2}


def suite(**changes):
    spec = {**QUICK, **changes.pop("spec", {})}
    fields = {"models": ["tiny"], "resolutions": ["32x32"], "baseline": None, "retries": 0}
    return Suite.of({**fields, "rate-hz": 200, **changes, "spec": spec}, source="test")


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "journal.sqlite") as book:
        yield book


@pytest.fixture
def artifact_of(tiny_onnx, tiny_tflite, record_of):
    return lambda cell: record_of(tiny_tflite if cell.format == "tflite" else tiny_onnx, cell)


def test_every_runtime_infers_at_a_rate_and_none_of_it_is_in_the_table(
    local_target, journal, artifact_of, tmp_path
):
    wanted = suite(runtimes=["onnxruntime", "litert"], spec={"background-load": 1})
    runs = list(bench.run(wanted, local_target, journal, artifact_of, suite_id="one"))
    found = journal.observations("one")
    assert [one.kind for one in found] == ["paced"] * 4
    assert {(one.cell.runtime, one.process) for one in found} == {
        *((name, process) for name in ("onnxruntime", "litert") for process in (1, 2))
    }
    for one in found:
        assert isinstance(one, Paced)
        assert (one.failure, one.rate_hz, len(one.latency)) == (None, 200, 5)
        assert all(a >= b for a, b in zip(one.latency, one.inference, strict=True))
        assert one.spec.background_load == 1
        assert one.missed == sum(latency > 5_000_000 for latency in one.latency)
    table = Table.from_runs(runs, baseline="")
    samples = [
        process.samples for _, cell in table.blocks[0].entries() for process in cell.processes
    ]
    assert not {one.inference for one in found} & set(samples)
    assert all(block.setting.background_load == 1 for block in table.blocks)
    text = paced.summary(found, runs)
    assert "at 200 inferences per second, beside 1 busy process:" in text
    assert text.count("/10") == 2  # two processes of five arrivals, in each of two lines
    page = html(table, parts=paced.part(found, runs))
    assert "At 200 inferences per second" in page
    assert "1 busy process" in page
    # It travels with the runs.
    lines = list(journal.export_lines("one"))
    with Journal(tmp_path / "other.sqlite") as other:
        assert other.import_lines(lines, "there") == (len(lines), 0)
        assert other.observations("one") == found


def test_a_resumed_suite_adds_what_is_missing_only(local_target, journal, artifact_of):
    for processes in (1, 1, 2):
        wanted = suite(spec={"processes": processes})
        list(bench.run(wanted, local_target, journal, artifact_of, suite_id="one"))
    assert [one.process for one in journal.observations("one")] == [1, 2]
    other = suite(**{"rate-hz": 100}, spec={"processes": 1})
    list(bench.run(other, local_target, journal, artifact_of, suite_id="one"))
    assert [one.rate_hz for one in journal.observations("one")] == [200, 200, 100]
    kept = supplementary.newest(journal.observations("one"))
    assert [(one.rate_hz, one.process) for one in kept] == [(200, 1), (200, 2), (100, 1)]


def test_json_has_the_figures_and_not_the_samples(local_target, journal, artifact_of):
    list(bench.run(suite(), local_target, journal, artifact_of, suite_id="one"))
    one = journal.observations("one")[0]
    described = supplementary.described(one, journal.runs("one"))
    assert described["samples"] == 5
    assert described["p50_ns"] <= described["p90_ns"] <= described["p99_ns"] <= max(one.latency)
    assert json.dumps(described)
    assert "latency" not in described


def test_a_cell_that_cannot_be_measured_at_the_rate_says_why(
    local_target, journal, artifact_of, monkeypatch
):
    monkeypatch.setattr(bench_paced, "start", _started_with_a_wrong_option)
    list(bench.run(suite(), local_target, journal, artifact_of, suite_id="one"))
    (one,) = journal.observations("one")  # no second process after a failure
    assert one.failure.kind is FailureKind.TARGET
    text = paced.summary([one], journal.runs("one"))
    assert "failed: unrecognized arguments: --no-such-option" in text


def _started_with_a_wrong_option(ready, context, spec, argv, **kwargs):
    return process.start(ready, context, spec, (*argv, "--no-such-option"), **kwargs)


def test_samples_beside_a_load_are_another_protocol(local_target, journal, artifact_of):
    for load in (0, 1):
        wanted = suite(**{"rate-hz": None}, spec={"background-load": load, "processes": 1})
        list(bench.run(wanted, local_target, journal, artifact_of, suite_id="one"))
    plain, loaded = journal.runs("one", every=True)
    assert plain.sampling != loaded.sampling
    assert plain.outcome.background_busy_cores in (None, 0.0)


@pytest.mark.parametrize("rate", [0, -1, 2e6, "fast"])
def test_what_is_no_rate(rate):
    with pytest.raises(UsageError, match="rate-hz"):
        suite(**{"rate-hz": rate})
