"""Histories of cells: points, taints, changes of conditions, steps, and what is printed of them."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import numpy as np
import pytest
import sample_runs

from shufflenet_deploy.journal import MeasuredCell
from shufflenet_deploy.records import Failure, FailureKind, Metric
from shufflenet_deploy.report import history_text
from shufflenet_deploy.report.history import history

MODEL = "shufflenet-g3-0.5x"
MS = 1e6


def night(number, *, factor=1.0, kernel="6.6.31", processes=2, **changes):
    """The runs of a cell in one suite of a nightly series, 12 ms with 1 % of noise."""
    level = 12 * MS * factor * float(np.exp(np.random.default_rng(number).normal(0.0, 0.01)))
    made = []
    for process in range(processes):
        run = sample_runs.run(
            MODEL, suite=f"night-{number:03}", process=process, median=level, count=20, **changes
        )
        moment = run.started_at + timedelta(days=number)
        target = run.target.model_copy(update={"kernel": kernel})
        made.append(run.model_copy(update={"started_at": moment, "target": target}))
    return made


def nights(*groups):
    return [run for group in groups for run in group]


def of(runs, **options):
    return history(MeasuredCell.of(runs[0]), runs, **options)


@pytest.fixture(scope="module")
def slower():
    """Thirty nights, slower by 10 % from the twentieth on, when a new kernel came."""
    return nights(
        *(night(number) for number in range(20)),
        *(night(number, factor=1.1, kernel="6.12.1") for number in range(20, 30)),
    )


def test_a_slowdown_is_found_with_what_changed_there(slower):
    found = of(slower)
    (step,) = found.steps
    assert step.point.suite == "night-020"
    assert step.is_slower
    assert step.change.low < 1.1 < step.change.high
    assert [change.text for change in step.changes] == ["kernel 6.6.31 → 6.12.1"]
    assert found.slowdown is step
    assert [point.suite for point in found.points if point.changes] == ["night-020"]


def test_a_slowdown_that_was_mended_is_none(slower):
    mended = nights(slower, *(night(number, kernel="6.12.1") for number in range(30, 40)))
    found = of(mended)
    assert [step.is_slower for step in found.steps] == [True, False]
    assert found.slowdown is None


def test_tainted_suites_are_shown_and_not_judged():
    hot = sample_runs.conditions(sample_runs.START, throttled=4)
    runs = nights(
        *(night(number) for number in range(20)),
        *(night(number, factor=1.3, after=hot) for number in range(20, 25)),
    )
    found = of(runs)
    assert len(found.points) == 25
    assert len(found.judged) == 20
    assert found.steps == ()
    assert {point.state for point in found.points[20:]} == {"tainted"}


def test_a_failed_suite_is_a_point_without_a_figure():
    crash = Failure(kind=FailureKind.TIMEOUT, message="no answer in 300 s")
    found = of(nights(night(0), night(1, outcome=crash), night(2)))
    assert [point.state for point in found.points][1] == "failed"
    assert found.points[1].center is None
    assert found.points[1].text == "failed: no answer in 300 s"
    # Conditions are compared with the last suite that measured.
    assert found.points[2].changes == ()


def test_points_are_in_the_order_of_time_however_they_were_imported(slower):
    assert of(slower[::-1]).points[0].suite == "night-000"


def test_a_suite_says_the_same_as_its_table(slower):
    from shufflenet_deploy.report.table import Table  # noqa: PLC0415

    (block,) = Table.from_runs(night(3)).blocks
    point = of(slower).points[3]
    assert point.center == block.rows[0].entries[0].estimate.median


def test_every_change_of_a_count_is_a_step():
    spec = sample_runs.SPEC.model_copy(update={"metric": Metric.INSTRUCTIONS})
    runs = []
    for number, count in enumerate((100, 100, 101)):
        one = sample_runs.run(
            MODEL,
            suite=f"n{number}",
            median=count * MS,
            noise=0.0,
            spec=spec,
            before=None,
            after=None,
        )
        runs.append(one.model_copy(update={"started_at": one.started_at + timedelta(days=number)}))
    found = of(runs)
    assert [step.index for step in found.steps] == [2]
    assert not found.is_too_short
    assert "Minstr" in history_text.terminal([found])


def test_the_terminal_shows_the_line_its_marks_and_its_steps(slower):
    text = history_text.terminal([of(slower)], width=78)
    lines = text.splitlines()
    assert lines[0] == f"{MODEL} · 224x224 · fp32 · onnxruntime · 1 thread on pi"
    assert lines[1] == "  30 suites, 2026-11-24 to 2026-12-23"
    assert len(lines[2].strip()) == 30
    assert lines[3].index(history_text.SLOWER) == 2 + 20
    assert "night-020: slower by 10" in text
    assert "kernel 6.6.31 → 6.12.1" in " ".join(text.split())
    assert text.count("night-02") >= 8
    assert "at most 1 % of histories" in " ".join(text.split())


def test_more_suites_than_columns_share_them(slower):
    text = history_text.terminal([of(slower)], width=19)
    (bars,) = [line for line in text.splitlines() if re.fullmatch(r"  [▁-█]+", line)]
    assert len(bars.strip()) == 15


def test_short_histories_say_so():
    text = history_text.terminal([of(nights(*(night(number) for number in range(3))))])
    assert "too few for steps: 10 that are judged are needed" in " ".join(text.split())


def test_json_has_every_point_with_its_interval(slower):
    document = json.loads(json.dumps(history_text.as_json([of(slower)])))
    (one,) = document["histories"]
    assert document["slower"] == 1
    assert one["last_step"] == "slower"
    assert len(one["points"]) == 30
    assert all(point["low"] <= point["median"] <= point["high"] for point in one["points"])
    assert one["steps"][0]["changes"][0]["condition"] == "kernel"
