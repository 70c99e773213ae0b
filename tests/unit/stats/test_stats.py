"""Statistics: what must hold for any samples, and verdicts on runs made to measure."""

from __future__ import annotations

import itertools
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import sample_runs
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from shufflenet_deploy import runtime, stats
from shufflenet_deploy.cli import command_line
from shufflenet_deploy.records import (
    BenchmarkSpec,
    Cell,
    Conditions,
    Core,
    Measurement,
    Metric,
    Precision,
    Resolution,
    Run,
    TargetFacts,
)
from shufflenet_deploy.stats import Verdict, intervals
from shufflenet_deploy.stats.disturbances import Cause, Finding, changing_outputs, disturbances

sample = st.integers(min_value=1_000, max_value=10**10)
samples = st.lists(sample, min_size=1, max_size=40)
processes = st.lists(samples, min_size=1, max_size=4)
few = settings(max_examples=40, deadline=None)


@few
@given(samples)
def test_a_summary_is_ordered_and_within_the_samples(values):
    digest = stats.summary(values)
    figures = [digest.minimum, digest.p10, digest.median, digest.p90, digest.p99, digest.maximum]
    assert all(low <= high * (1 + 1e-12) for low, high in itertools.pairwise(figures))
    assert digest.count == len(values)
    assert 0 <= digest.mad <= digest.maximum - digest.minimum


@few
@given(samples, st.integers(1, 9))
def test_medians_are_those_of_numpy_bit_for_bit(values, columns):
    assert stats.median(values) == float(np.median(values))
    rows = np.resize(np.asarray(values, dtype=np.float64) / 3, (len(values), columns))
    assert np.array_equal(intervals._median(rows), np.median(rows, axis=1))


@few
@given(samples, st.integers(2, 50))
def test_statistics_scale_with_their_unit(values, factor):
    scaled = [value * factor for value in values]
    assert stats.median(scaled) == pytest.approx(stats.median(values) * factor)
    assert stats.mad(scaled) == pytest.approx(stats.mad(values) * factor)
    assert stats.outliers(scaled) == stats.outliers(values)


@few
@given(samples)
def test_outliers_are_flagged_and_kept(values):
    flagged = stats.outliers(values)
    assert len(flagged) <= len(values) / 2
    assert stats.summary(values).count == len(values)


def test_one_sample_far_away_is_the_only_outlier():
    assert stats.outliers([100, 101, 99, 100, 500, 102, 98]) == (4,)
    assert stats.outliers([7, 7, 7]) == ()


@few
@given(processes, processes)
def test_a_ratio_lies_in_its_interval_and_in_what_is_possible(baseline, candidate):
    found = stats.ratio_interval(baseline, candidate, resamples=300)
    assert found.low <= found.estimate <= found.high
    assert found.estimate == pytest.approx(stats.center(candidate) / stats.center(baseline))
    lowest = min(map(min, candidate)) / max(map(max, baseline))
    highest = max(map(max, candidate)) / min(map(min, baseline))
    assert lowest * 0.999999 <= found.low
    assert found.high <= highest * 1.000001


@few
@given(processes)
def test_a_model_is_not_distinguishable_from_itself(group):
    assert not stats.ratio_interval(group, group, resamples=300).distinguishable


@few
@given(processes, processes)
def test_speedup_is_the_inverse_of_the_ratio(baseline, candidate):
    ratio = stats.ratio_interval(baseline, candidate)
    speedup = stats.speedup_interval(baseline, candidate)
    assert speedup.estimate == pytest.approx(1 / ratio.estimate)
    assert speedup.low == pytest.approx(1 / ratio.high)
    assert speedup.distinguishable == ratio.distinguishable


@few
@given(processes, processes, st.integers(2, 1000))
def test_a_ratio_does_not_know_units(baseline, candidate, factor):
    def scaled(group):
        return [[value * factor for value in values] for values in group]

    one = stats.ratio_interval(baseline, candidate, resamples=200)
    other = stats.ratio_interval(scaled(baseline), scaled(candidate), resamples=200)
    assert other.low == pytest.approx(one.low)
    assert other.high == pytest.approx(one.high)


def test_the_same_seed_gives_the_same_interval():
    group = [[100, 110, 130], [105, 99]]
    other = [[50, 52, 54], [49, 60]]
    assert stats.ratio_interval(group, other) == stats.ratio_interval(group, other)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9, 10])
def test_the_short_cut_to_resampled_medians_has_their_distribution(count):
    generator = np.random.default_rng(5)
    values = np.sort(generator.normal(size=count))
    quick = intervals._resampled_medians(values, 40_000, generator)
    slow = np.median(generator.choice(values, size=(40_000, count)), axis=1)
    for share in (0.025, 0.2, 0.5, 0.8, 0.975):
        # Compare ranks, as the distributions have few steps.
        assert np.mean(quick <= np.quantile(slow, share)) == pytest.approx(
            np.mean(slow <= np.quantile(slow, share)), abs=0.012
        )


def test_a_95_percent_interval_holds_the_truth_about_as_often():
    generator = np.random.default_rng(11)
    held, trials = 0, 200
    for _ in range(trials):
        # Processes differ by 3 %, samples within by 2 %; the true ratio is 0.5.
        baseline = [generator.normal(1000 * m, 20, 30) for m in generator.normal(1, 0.03, 6)]
        candidate = [generator.normal(500 * m, 10, 30) for m in generator.normal(1, 0.03, 6)]
        found = stats.ratio_interval(baseline, candidate, resamples=1000)
        held += found.low <= 0.5 <= found.high
    assert 0.88 <= held / trials <= 1.0


def test_more_processes_narrow_the_interval():
    generator = np.random.default_rng(2)

    def group(count):
        return [generator.normal(1000 * m, 20, 30) for m in generator.normal(1, 0.03, count)]

    assert stats.interval(group(40)).precision < stats.interval(group(4)).precision


def test_samples_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="positive"):
        stats.ratio_interval([[0, 1]], [[1]])
    with pytest.raises(ValueError, match="positive"):
        stats.ratio_interval([[1]], [[]])
    with pytest.raises(ValueError, match="no processes"):
        stats.ratio_interval([], [[1]])
    with pytest.raises(ValueError, match="no samples"):
        stats.median([])


BENCH_OPTIONS = {
    option for parameter in typer.main.get_command(command_line()).commands["bench"].params
    for option in parameter.opts
}  # fmt: skip

# --- verdicts ------------------------------------------------------------------------------------

CELL = Cell(
    model="m",
    runtime="onnxruntime",
    format="onnx",
    precision=Precision.FP32,
    resolution=Resolution(height=224, width=224),
)
FACTS = TargetFacts(
    host="pi",
    transport="ssh",
    arch="aarch64",
    os="Debian 12",
    kernel="6.1",
    cpu="Cortex-A72",
    cores=tuple(Core(index=index) for index in range(4)),
)
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
QUIET = tuple(10_000_000 + 1000 * (index % 7) for index in range(60))


def run(samples=QUIET, *, process=1, before=None, after=None, spec=None, **fields):
    return Run(
        id=str(process),
        suite="s",
        started_at=NOW,
        process=process,
        cell=CELL,
        artifact=None,
        target=FACTS,
        spec=spec or BenchmarkSpec(),
        before=Conditions(at=NOW, **(before or {})),
        after=Conditions(at=NOW, **(after or {})),
        outcome=Measurement(samples=samples, first=1, load=1, **fields),
    )


def causes(*runs):
    judged = stats.stability(runs)
    assert all(finding.message for finding in judged.findings)
    # Each says what to type, with options that there are.
    for finding in judged.findings:
        assert "bench " in finding.remedy
        for option in re.findall(r"--[a-z-]+", finding.remedy):
            assert option in BENCH_OPTIONS, option
    return judged.verdict, [finding.cause for finding in judged.findings]


def test_quiet_samples_are_stable():
    assert causes(run(), run(process=2)) == (Verdict.STABLE, [])
    assert stats.stability([run()]).text == "stable"


@pytest.mark.parametrize(
    ("before", "after", "cause"),
    [
        ({}, {"throttled": 0x4}, Cause.THROTTLED),
        ({"throttled": 0x1}, {"throttled": 0x50001}, Cause.THROTTLED),
        ({"throttled": 0x0}, {"throttled": 0x10000}, Cause.THROTTLED),
        (
            {"frequency_khz": {"0": 1_500_000}},
            {"frequency_khz": {"0": 1_000_000}},
            Cause.FREQUENCY,
        ),
        ({"swap_used_bytes": 0}, {"swap_used_bytes": 64 << 20}, Cause.SWAP),
    ],
)
def test_conditions_taint(before, after, cause):
    assert causes(run(before=before, after=after)) == (Verdict.TAINTED, [cause])


def test_throttling_of_the_past_does_not_taint():
    past = {"throttled": 0x50000}
    assert causes(run(before=past, after=past)) == (Verdict.STABLE, [])


def test_other_load_taints_when_it_takes_our_cores():
    assert causes(run(others_busy_cores=0.4)) == (Verdict.STABLE, [])
    assert causes(run(others_busy_cores=3.0)) == (Verdict.TAINTED, [Cause.LOAD])


def test_samples_shorter_than_the_clock_can_tell_taint():
    quick = tuple(500 + index % 3 for index in range(60))
    assert causes(run(quick, clock_resolution_ns=100)) == (Verdict.TAINTED, [Cause.CLOCK])


def test_flaws_of_the_samples_make_noise():
    few_samples = run((10_000_000, 10_001_000), spec=BenchmarkSpec(max_secs=0.02))
    assert causes(few_samples) == (Verdict.NOISY, [Cause.FEW_SAMPLES])
    drifting = tuple(10_000_000 + 20_000 * index for index in range(60))
    assert causes(run(drifting)) == (Verdict.NOISY, [Cause.DRIFT])
    spikes = tuple(30_000_000 if index % 10 == 0 else 10_000_000 for index in range(60))
    assert causes(run(spikes))[1] == [Cause.OUTLIERS]
    wide = tuple(10_000_000 + 4_000_000 * (index % 2) for index in range(60))
    assert causes(run(wide))[1] == [Cause.SPREAD]


def test_processes_that_disagree_make_noise():
    slow = tuple(value * 13 // 10 for value in QUIET)
    verdict, found = causes(run(), run(slow, process=2))
    assert (verdict, found) == (Verdict.NOISY, [Cause.PROCESSES])


def test_one_tainted_process_taints_the_cell_and_comes_first():
    slow = tuple(value * 13 // 10 for value in QUIET)
    verdict, found = causes(run(), run(slow, process=2, others_busy_cores=4.0))
    assert verdict is Verdict.TAINTED
    assert found == [Cause.LOAD, Cause.PROCESSES]


def test_instructions_are_judged_by_agreement_alone():
    counted = BenchmarkSpec(metric=Metric.INSTRUCTIONS, min_runs=3)
    alike = run((31_844_000, 31_845_000), spec=counted, others_busy_cores=4.0)
    assert causes(alike) == (Verdict.STABLE, [])
    other = run((32_844_000, 32_845_000), spec=counted, process=2)
    assert causes(alike, other)[1] == [Cause.PROCESSES]


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize(
    ("threads", "granted", "told"),
    [
        (4, None, None),
        (8, None, "8 threads share 4 cores"),
        (4, (2, 3), "4 threads share 2 cores"),
        (2, (3,), "2 threads share 1 core"),
        (1, (3,), None),
    ],
)
def test_threads_that_share_cores_are_found(metric, threads, granted, told):
    spec = BenchmarkSpec(metric=metric, min_runs=3, threads=threads)
    one = run(spec=spec, cpus=granted)
    crowded = one.model_copy(update={"cell": one.cell.model_copy(update={"threads": threads})})
    found = stats.stability([crowded])
    messages = [one.message for one in found.findings if one.cause is Cause.OVERSUBSCRIBED]
    assert messages == ([told] if told else [])
    assert found.verdict is (Verdict.NOISY if told else Verdict.STABLE)


def changing(process):
    """A process as the agent told of an engine that overwrites its input."""
    raw = (Path(__file__).parents[1] / "bench" / "logs" / "changing-outputs.json").read_text()
    report = runtime.get("onnxruntime").parse(raw)
    spec = BenchmarkSpec(min_runs=5)
    return sample_runs.run(
        process=process, spec=spec, outcome=report.outcome, before=report.before, after=report.after
    )


def test_outputs_that_change_taint_a_cell_and_are_not_measured_again():
    runs = [changing(0), changing(1)]
    judged = stats.stability(runs)
    assert judged.verdict is Verdict.TAINTED
    assert judged.findings[0].cause is Cause.OUTPUTS
    assert stats.is_tainted(runs)
    assert not disturbances(runs[0])
    assert changing_outputs(runs[0])
    older = runs[0].outcome.model_copy(update={"outputs_repeat": None})
    assert not changing_outputs(runs[0].model_copy(update={"outcome": older}))


def test_every_cause_of_the_documentation_is_one_of_ours():
    page = (Path(__file__).parents[3] / "docs" / "measurement.md").read_text()
    listed = re.findall(r"^\| (tainted|noisy) \| ([a-z ]+) \|", page, re.MULTILINE)
    assert {cause for _, cause in listed} == {cause.value for cause in Cause}
    for verdict, cause in listed:
        finding = Finding(cause=Cause(cause), message="", remedy="")
        assert finding.tainting is (verdict == "tainted"), cause
