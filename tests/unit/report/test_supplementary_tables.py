"""Inferences at a rate and images end to end: their figures, for terminal and page."""

from __future__ import annotations

import pytest
import sample_runs

from shufflenet_deploy.cli import supplementary
from shufflenet_deploy.records import Failure, FailureKind, Paced, Pipeline
from shufflenet_deploy.report import paced, pipelines

RATE_HZ, MS = 100.0, 1_000_000
FAILED = Failure(kind=FailureKind.CRASHED, message="the runtime crashed")


def shared(process=1, **changes):
    """The fields that every observation takes from a run of its cell."""
    run = sample_runs.run("alexnet", process=process, median=4 * MS, noise=0.0)
    fields = {
        "id": run.id,
        "suite": run.suite,
        "started_at": run.started_at,
        "process": process,
        "cell": run.cell,
        "artifact": "0" * 64,
        "target": run.target,
        "spec": run.spec,
    }
    return fields | changes


def at_rate(latencies_ms, calls_ms, **changes):
    return Paced(
        **shared(**changes),
        rate_hz=RATE_HZ,
        latency=tuple(round(one * MS) for one in latencies_ms),
        inference=tuple(round(one * MS) for one in calls_ms),
    )


def end_to_end(decode_ms, pipe_ms, infer_ms, **changes):
    stages = {"decode": decode_ms, "infer": infer_ms, "pipe": pipe_ms}
    totals = [sum(parts) for parts in zip(decode_ms, infer_ms, pipe_ms, strict=True)]
    return Pipeline(
        **shared(**changes),
        images=2,
        images_sha256="0" * 64,
        stages={name: tuple(one * MS for one in values) for name, values in stages.items()},
        total=tuple(one * MS for one in totals),
    )


def test_a_deadline_is_the_next_arrival():
    found = paced.PacedFigures.of([at_rate([5, 6, 7, 12], [5, 5, 6, 6])])
    assert found is not None
    assert (found.samples, found.missed, found.keeps_up) == (4, 1, True)
    assert found.p50 == 6.5 * MS
    assert found.inference == 5.5 * MS
    assert paced.figures(at_rate([5], [5]))["p99_ns"] == 5 * MS


def test_who_takes_longer_than_a_period_does_not_keep_up():
    slow = at_rate([11, 22, 33], [11, 11, 11])
    text = paced.summary([slow], [])
    assert "does not keep up: images queue, and latency grows with time" in text
    (section,) = paced.part([slow], [])
    assert section.title == "At 100 inferences per second"
    assert "3/3" in section.rows[0]


def test_the_same_cell_back_to_back_stands_beside():
    run = sample_runs.run("alexnet", median=4 * MS, noise=0.0)
    lines = paced.summary([at_rate([5, 6], [5, 5])], [run]).splitlines()
    assert lines[1].split() == ["p50", "p90", "p99", "missed", "inference", "back", "to", "back"]
    assert lines[-1].split()[-1].lstrip("~") == "4.00"


@pytest.mark.parametrize("kind", ["paced", "pipeline"])
def test_a_failure_says_why_and_has_no_figures(kind):
    if kind == "paced":
        failed = at_rate([], []).model_copy(update={"failure": FAILED})
        text, found = paced.summary([failed], []), paced.figures(failed)
    else:
        failed = end_to_end([], [], []).model_copy(update={"failure": FAILED})
        text, found = pipelines.summary([failed]), pipelines.figures(failed)
    assert "failed: the runtime crashed" in text
    assert found == {}


def test_stages_are_medians_of_the_processes_medians():
    ones = [
        end_to_end([1, 2, 3], [0, 0, 0], [4, 4, 4], process=1),
        end_to_end([3, 4, 5], [0, 0, 0], [4, 6, 8], process=2),
    ]
    (section,) = pipelines.part(ones)
    # Nobody had a pipe, and a stage that took no time has no column.
    assert section.header == ("cell", "decode", "infer", "together", "per s")
    assert section.rows[0][1:] == ("3.00", "5.00", "8.00", "125.0")
    assert "2 images by turns" in section.text
    assert pipelines.figures(ones[0])["total_ns"] == 6 * MS
    assert pipelines.part([]) == []


def test_a_native_program_has_a_pipe():
    text = pipelines.summary([end_to_end([1, 1], [1, 1], [2, 2])])
    assert "pipe" in text
    assert "250" in text


def test_equal_cells_of_several_hosts_are_told_apart():
    other = sample_runs.PI.model_copy(update={"host": "pi2"})
    paces = [at_rate([5], [5]), at_rate([8], [8], target=other)]
    pipes = [end_to_end([1], [0], [2]), end_to_end([3], [0], [4], target=other)]
    assert supplementary.newest([*paces, *pipes]) == [*paces, *pipes]
    name = "alexnet 224x224 fp32 onnxruntime"
    for text in (paced.summary(paces, []), pipelines.summary(pipes)):
        assert f"pi: {name}" in text
        assert f"pi2: {name}" in text
    assert "pi: " not in paced.summary(paces[:1], [])
    hosts = [supplementary.described(one, [])["host"] for one in (*paces, *pipes)]
    assert hosts == ["pi", "pi2", "pi", "pi2"]
