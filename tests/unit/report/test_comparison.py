"""Comparison of two suites: statuses, intervals, and the conditions named."""

from __future__ import annotations

import json

import pytest
import sample_runs
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import Failure, FailureKind
from shufflenet_deploy.report import comparison_render as render
from shufflenet_deploy.report.comparison import ChangeStatus, SuiteComparison, parse_threshold

MODEL = "shufflenet-g3-0.5x"


def suite(name: str, median: float, *, noise: float = 0.01, processes: int = 5, **changes):
    return [
        sample_runs.run(MODEL, suite=name, process=n, median=median, noise=noise, **changes)
        for n in range(processes)
    ]


def verdict(before: float, after: float, *, noise: float = 0.01, threshold: float = 0.05):
    found = SuiteComparison.of(
        suite("a", before, noise=noise), suite("b", after, noise=noise), threshold=threshold
    )
    return found.changes[0].verdict


@pytest.mark.parametrize(
    ("after", "noise", "expected"),
    [
        (10e6, 0.01, ChangeStatus.SAME),
        (10.3e6, 0.002, ChangeStatus.SLOWER),
        (12e6, 0.01, ChangeStatus.REGRESSION),
        (8e6, 0.01, ChangeStatus.FASTER),
        (10.6e6, 0.5, ChangeStatus.SAME),
    ],
)
def test_the_verdict(after, noise, expected):
    assert verdict(10e6, after, noise=noise) is expected


def test_the_threshold_decides_what_is_a_regression():
    assert verdict(10e6, 11e6, threshold=0.2) is ChangeStatus.SLOWER
    assert verdict(10e6, 11e6, threshold=0.0) is ChangeStatus.REGRESSION


def test_the_ratio_is_that_of_the_costs_and_lies_in_its_interval():
    (change,) = SuiteComparison.of(suite("a", 10e6), suite("b", 12e6)).changes
    assert sample_runs.close(change.ratio, 1.2)
    assert 1.1 < change.low <= change.ratio <= change.high < 1.3
    assert sample_runs.close(change.control.median, 10e6)
    assert change.control.processes == 5
    assert change.control.samples == 200


@given(
    before=st.floats(1e5, 1e9),
    factor=st.floats(0.2, 5),
    noise=st.floats(0, 0.2),
    threshold=st.floats(0, 0.5),
)
@settings(max_examples=30, deadline=None)
def test_turning_the_sides_turns_the_verdict(before, factor, noise, threshold):
    one, other = suite("a", before, noise=noise), suite("b", before * factor, noise=noise)
    there = SuiteComparison.of(one, other, threshold=threshold).changes[0]
    back = SuiteComparison.of(other, one, threshold=threshold).changes[0]
    assert sample_runs.close(there.ratio * back.ratio, 1.0, 1e-9)
    slower = {ChangeStatus.SLOWER, ChangeStatus.REGRESSION}
    assert {there.verdict, back.verdict} != {ChangeStatus.FASTER}
    assert not {there.verdict, back.verdict} <= slower


def test_instructions_are_exact_to_the_last():
    def counted(name, extra):
        runs = sample_runs.counted(MODEL, suite=name)
        return [
            run.model_copy(
                update={
                    "outcome": run.outcome.model_copy(
                        update={"samples": tuple(n + extra for n in run.outcome.samples)}
                    )
                }
            )
            for run in runs
        ]

    (same,) = SuiteComparison.of(counted("a", 0), counted("b", 0)).changes
    assert (same.ratio, same.verdict) == (1.0, ChangeStatus.SAME)
    (more,) = SuiteComparison.of(counted("a", 0), counted("b", 1000)).changes
    assert more.verdict is ChangeStatus.SLOWER
    assert "Minstr" in render.terminal(SuiteComparison.of(counted("a", 0), counted("b", 1000)))


def test_time_and_instructions_have_nothing_in_common():
    with pytest.raises(UsageError, match=r"no cell in common.*latency.*instructions"):
        SuiteComparison.of(suite("a", 10e6), sample_runs.counted(MODEL, suite="b"))


def test_conditions_that_differ_are_named_and_no_others():
    other = sample_runs.PI.model_copy(update={"host": "pi5", "kernel": "6.12"})
    states = {
        name: sample_runs.conditions(
            sample_runs.START, governors={"cpu0": "ondemand"}, frequency_khz={"cpu0": 600_000}
        )
        for name in ("before", "after")
    }
    changed = suite("b", 10e6, target=other, runtime_version="1.40.0", sha256="f" * 64, **states)
    found = SuiteComparison.of(suite("a", 10e6), changed)
    shown = {one.condition: (one.control, one.treatment) for one in found.differences}
    assert shown.pop("file (sha256)")[1] == "f" * 12
    assert shown == {
        "host": ("pi", "pi5"),
        "kernel": ("6.6.31", "6.12"),
        "runtime version": ("1.32.0", "1.40.0"),
        "governor": ("performance", "ondemand"),
        "MHz": ("1800", "600"),
    }
    assert SuiteComparison.of(suite("a", 10e6), suite("b", 10e6)).differences == ()


def test_a_frequency_that_wavers_is_the_same_condition():
    state = sample_runs.conditions(sample_runs.START, frequency_khz={"cpu0": 1_810_000})
    found = SuiteComparison.of(suite("a", 10e6), suite("b", 10e6, before=state, after=state))
    assert found.differences == ()


def test_a_version_is_a_condition_unless_one_suite_has_several():
    pinned = suite("b", 10e6, runtime="onnxruntime==1.30")
    pinned = [run.model_copy(update={"cell": run.cell.model_copy(
        update={"format": sample_runs.run().cell.format})}) for run in pinned]  # fmt: skip
    (change,) = SuiteComparison.of(suite("a", 10e6), pinned).changes
    assert change.runtime == "onnxruntime"
    both = [*pinned, *suite("b", 11e6)]
    changes = SuiteComparison.of(suite("a", 10e6), both).changes
    assert {(one.runtime, one.verdict is ChangeStatus.MISSING) for one in changes} == {
        ("onnxruntime", False),
        ("onnxruntime==1.30", True),
    }


def test_what_fails_now_is_a_regression_and_what_is_not_measured_is_said():
    failed = suite("b", 1, outcome=Failure(kind=FailureKind.TIMEOUT, message="300 s are over"))
    gone = [sample_runs.run("alexnet", suite="a", process=n) for n in range(3)]
    new = [sample_runs.run("mobilenet-1.0", suite="b", process=n) for n in range(3)]
    found = SuiteComparison.of([*suite("a", 10e6), *gone], [*failed, *new])
    by_model = {change.model: change for change in found.changes}
    assert by_model[MODEL].verdict is ChangeStatus.FAILED
    assert by_model[MODEL].remarks == ("treatment: timeout: 300 s are over",)
    assert [change.model for change in found.regressions] == [MODEL]
    assert by_model["alexnet"].verdict is ChangeStatus.MISSING
    assert "treatment: not measured" in by_model["alexnet"].remarks
    assert "control: not measured" in by_model["mobilenet-1.0"].remarks
    for text in (render.terminal(found, width=200), render.markdown(found)):
        assert "treatment: not measured: alexnet 224x224" in text
        assert "1 failed, 2 not in both" in text


HOT = sample_runs.conditions(sample_runs.START, throttled=4)


@pytest.mark.parametrize("tainted", ["control", "treatment", "both"])
@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_tainted_cells_make_no_verdict(tainted, factor):
    cold, hot = {}, {"after": HOT}
    control, treatment = {
        "control": (hot, cold),
        "treatment": (cold, hot),
        "both": (hot, hot),
    }[tainted]
    found = SuiteComparison.of(
        suite("a", 10e6, sha256="1" * 64, **control),
        suite("b", 10e6 * factor, sha256="2" * 64, **treatment),
    )
    assert found.changes[0].verdict is ChangeStatus.TAINTED
    assert found.regressions == ()
    assert found.tainted == found.changes
    assert sample_runs.close(found.changes[0].ratio, factor)
    for text in (render.terminal(found, width=120), render.markdown(found)):
        assert "1 cell: 1 not judged (tainted)" in " ".join(text.split())


UNEQUAL = {
    name: sample_runs.conditions(
        sample_runs.START, governors={"cpu0": "powersave"}, frequency_khz={"cpu0": 600_000}
    )
    for name in ("before", "after")
}


def test_the_same_file_under_unequal_conditions_is_no_regression():
    (change,) = SuiteComparison.of(suite("a", 10e6), suite("b", 30e6, **UNEQUAL)).changes
    assert change.verdict is ChangeStatus.SLOWER
    (remark,) = change.remarks
    assert remark.startswith("the same file and runtime under unequal conditions: ")
    assert remark.endswith(
        "governor performance → powersave; MHz 1800 → 600: these differ, not the model"
    )
    (same,) = SuiteComparison.of(suite("a", 10e6), suite("b", 10e6, **UNEQUAL)).changes
    assert same.verdict is ChangeStatus.SAME
    assert "unequal conditions" in same.remarks[0]


@pytest.mark.parametrize("changed", [{"sha256": "f" * 64}, {"runtime_version": "1.40.0"}])
def test_another_file_or_runtime_may_regress_whatever_else_differs(changed):
    (change,) = SuiteComparison.of(suite("a", 10e6), suite("b", 30e6, **UNEQUAL, **changed)).changes
    assert change.verdict is ChangeStatus.REGRESSION
    assert change.remarks == ()


def test_a_resumed_suite_is_compared_with_all_of_its_processes():
    grown = sample_runs.SPEC.model_copy(update={"processes": 5})
    specs = [sample_runs.SPEC] * 3 + [grown] * 2
    more = [
        sample_runs.run(MODEL, suite="b", process=process, median=10e6, spec=spec)
        for process, spec in enumerate(specs)
    ]
    (change,) = SuiteComparison.of(suite("a", 10e6), more).changes
    assert change.treatment.processes == 5
    assert SuiteComparison.of(suite("a", 10e6), more).differences == ()


def test_a_worse_retry_does_not_take_part():
    again = [sample_runs.run(MODEL, suite="b", process=n, median=30e6, after=HOT) for n in (0, 1)]
    (change,) = SuiteComparison.of(suite("a", 10e6), [*suite("b", 10e6), *again]).changes
    assert change.verdict is ChangeStatus.SAME


def test_what_cannot_be_trusted_is_remarked():
    hot = sample_runs.conditions(sample_runs.START, throttled=4)
    found = SuiteComparison.of(suite("a", 10e6), suite("b", 12e6, after=hot, processes=1))
    remarks = found.changes[0].remarks
    assert remarks[0] == "treatment: tainted: throttled"
    assert "one process" in remarks[1]
    text = render.terminal(found, width=120)
    assert "!12" in text
    assert "throttled" in text


def test_only_the_last_attempt_and_the_newest_file_count():
    first = [
        sample_runs.run(MODEL, suite="b", process=n, median=90e6, sha256="1" * 64) for n in (0, 1)
    ]
    found = SuiteComparison.of(suite("a", 10e6), [*first, *suite("b", 10e6)])
    assert found.changes[0].verdict is ChangeStatus.SAME
    assert found.changes[0].treatment.processes == 5


@pytest.mark.parametrize(
    ("runs", "shown"),
    [([], "holds no runs"), ([*suite("x", 1e6), *suite("y", 1e6)], "holds 2 suites")],
)
def test_a_side_is_one_suite(runs, shown):
    with pytest.raises(UsageError, match=shown):
        SuiteComparison.of(suite("a", 10e6), runs)


@pytest.mark.parametrize(
    ("text", "share"), [("5%", 0.05), ("0.05", 0.05), ("0", 0), (" 2.5 % ", 0.025)]
)
def test_thresholds(text, share):
    assert parse_threshold(text) == share


@pytest.mark.parametrize("text", ["", "5 percent", "-1%", "100%", "2"])
def test_what_is_no_threshold(text):
    with pytest.raises(UsageError, match="not a threshold"):
        parse_threshold(text)


@pytest.fixture(scope="module")
def whole():
    hot = sample_runs.conditions(sample_runs.START, throttled=4)
    return SuiteComparison.of(
        sample_runs.table8(suite="a"), sample_runs.table8(suite="b", after=hot)
    )


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_terminal_is_never_exceeded_and_no_figure_is_cut(whole, width):
    text = render.terminal(whole, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert "\x1b" not in text
    for change in whole.changes:
        assert f"{change.ratio:.3f}" in text


def test_markdown_is_a_table_with_the_result_first(whole):
    text = render.markdown(whole)
    assert text.startswith("**15 cells: ")
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    assert sum(token.type == "tr_open" for token in tokens) == len(whole.changes) + 1


def test_json_is_complete_and_versioned(whole):
    shown = json.loads(whole.model_dump_json())
    assert shown["schema_version"] == 1
    assert shown["control"]["suite"] == "a"
    assert {"ratio", "low", "high", "verdict", "control", "treatment"} <= shown["changes"][0].keys()
    assert shown["differences"] == []


def test_cells_that_differ_in_weights_alone_are_told_apart():
    sides = [
        [sample_runs.run(suite=name, median=1e6, options={"weights": f"{name}.pth"})]
        for name in ("before", "after")
    ]
    with pytest.raises(UsageError, match=r"weights=before\.pth.*weights=after\.pth"):
        SuiteComparison.of(*sides)
