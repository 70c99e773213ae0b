"""Analysis of sustained measurements, on synthetic ones with a known result."""

from __future__ import annotations

from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from shufflenet_deploy import stats
from shufflenet_deploy.analysis.sustained import analyse, throttling
from shufflenet_deploy.records import (
    BenchmarkSpec,
    Cell,
    Core,
    Failure,
    FailureKind,
    Precision,
    Resolution,
    Sustained,
    TargetFacts,
    TracePoint,
    TurnSamples,
)
from shufflenet_deploy.report import sustained as report

SECS = 600
FACTS = TargetFacts(
    host="pi",
    transport="ssh",
    arch="aarch64",
    os="Debian 12",
    kernel="Linux 6.1",
    cpu="Cortex-A72",
    cores=(Core(index=0), Core(index=1)),
)


def cell(model):
    return Cell(
        model=model,
        runtime="litert",
        format="tflite",
        precision=Precision.FP32,
        resolution=Resolution.parse("224"),
    )


def measured(courses, *, trace=(), secs=SECS, **fields):
    """Models take turns of a second; ``courses`` are their latencies in ms at a time in s."""
    generator = np.random.default_rng(0)
    slices = []
    for turn in range(secs):
        subject = turn % len(courses)
        middle_ms = list(courses.values())[subject](turn)
        samples = middle_ms * 1e6 * np.exp(generator.normal(0, 0.01, 20))
        slices.append(
            TurnSamples(
                subject=subject,
                at_ns=turn * 10**9,
                first=round(middle_ms * 1.5e6),
                samples=tuple(round(one) for one in samples),
            )
        )
    defaults = {
        "id": "one",
        "suite": "s",
        "started_at": datetime(2026, 11, 25, tzinfo=UTC),
        "cells": tuple(map(cell, courses)),
        "artifacts": ("0" * 64,) * len(courses),
        "baseline": "alexnet",
        "duration_secs": secs,
        "runtime_version": "2.3.0",
        "target": FACTS,
        "spec": BenchmarkSpec(),
        "slices": tuple(slices),
        "trace": tuple(trace),
    }
    return Sustained(**{**defaults, **fields})


def level(ms):
    return lambda _: ms


def steps(before_ms, after_ms, at_secs=300):
    return lambda at: before_ms if at < at_secs else after_ms


def points(khz_at, **fields):
    return [
        TracePoint(at_ns=at * 10**9, frequency_khz={"0": khz_at(at), "1": 1_800_000}, **fields)
        for at in range(0, SECS, 2)
    ]


def test_a_steady_board_holds_everything():
    found = analyse(measured({"a": level(10), "alexnet": level(40)}))
    assert found.window_secs == 60
    assert not any(one.slowdown.distinguishable for one in found.courses)
    (speedup,) = found.speedups
    assert speedup.first.low < 4.0 < speedup.first.high
    assert not speedup.change.distinguishable
    assert found.overtaking == ()
    assert found.fastest_first == found.fastest_last == (cell("a"), cell("alexnet"))
    assert found.throttling is None


def test_how_much_each_slowed_and_what_that_did_to_the_speedup():
    found = analyse(measured({"a": steps(10, 12), "alexnet": steps(40, 60)}))
    slowdowns = {one.cell.model: one.slowdown for one in found.courses}
    assert slowdowns["a"].low < 1.2 < slowdowns["a"].high
    assert slowdowns["alexnet"].low < 1.5 < slowdowns["alexnet"].high
    (speedup,) = found.speedups
    assert speedup.change.low < 1.25 < speedup.change.high
    assert speedup.change.distinguishable


def test_a_model_that_overtakes_another():
    found = analyse(measured({"a": steps(10, 30), "b": level(20), "alexnet": level(40)}))
    assert found.overtaking == ((cell("a"), cell("b")),)
    assert report.ranking(found) == "changes: b overtakes a"


def test_an_order_within_the_noise_is_no_change():
    found = analyse(measured({"a": level(10), "b": level(10), "alexnet": level(40)}))
    assert found.overtaking == ()
    assert not report.ranking(found).startswith("changes")


@pytest.mark.parametrize(
    ("trace", "at_secs", "reason"),
    [
        (points(lambda at: 1_800_000 if at < 132 else 1_200_000), 132,
         "core 0 fell from 1800 to 1200 MHz"),
        # One low note is a moment, not a state.
        (points(lambda at: 1_200_000 if at == 132 else 1_800_000), None, ""),
        # A core that starts slowly is not being throttled.
        (points(lambda at: 600_000 if at < 4 else 1_800_000), None, ""),
        ([TracePoint(at_ns=at * 10**9, throttled=0x4 if at >= 90 else 0) for at in range(SECS)], 90,
         "the firmware reports throttled"),
        # What happened before we began is the past; what happened between two notes is not.
        ([TracePoint(at_ns=at * 10**9, throttled=0x50000) for at in range(SECS)], None, ""),
        ([TracePoint(at_ns=at * 10**9, throttled=0x40000 if at >= 70 else 0) for at in range(99)],
         70, "the firmware reports throttled"),
    ],
)  # fmt: skip
def test_when_throttling_began(trace, at_secs, reason):
    onset = throttling(measured({"a": level(10)}, trace=trace))
    assert (onset.at_secs if onset else None) == at_secs
    assert (onset.reason if onset else "") == reason


def test_without_sensors_the_samples_are_used():
    both = measured({"a": steps(10, 13), "alexnet": steps(40, 52)})
    onset = throttling(both)
    assert abs(onset.at_secs - 300) <= 2
    assert "reports no frequencies" in onset.reason
    assert throttling(measured({"a": steps(10, 13), "alexnet": level(40)})) is None
    assert throttling(measured({"a": lambda at: 13 if at == 300 else 10})) is None


def test_a_short_measurement_compares_thirds_and_a_slow_model_has_its_one_turn():
    found = analyse(measured({"a": level(10), "alexnet": level(40)}, secs=9))
    assert found.window_secs == 3
    lone = measured({"a": level(10), "alexnet": level(40)}, secs=3)
    assert len(analyse(lone).courses) == 2


def test_the_summary_tells_all_of_it():
    trace = points(lambda at: 1_800_000 if at < 132 else 1_200_000)
    text = report.summary(measured({"a": steps(10, 12), "alexnet": steps(40, 60)}, trace=trace))
    first, *lines = text.splitlines()
    assert first.startswith("sustained for 10 min: litert 2.3.0 · fp32 · 224x224 · 1 thread · pi")
    assert "10.0 -> 12.0 ms, " in lines[0]
    assert "slower" in lines[0]
    assert "speedup 4.0" in lines[2]
    assert "higher" in lines[2]
    assert "ranking: holds: a < alexnet" in lines[3]
    assert "throttling: began after 132 s: core 0 fell" in lines[4]


def test_a_failure_is_reported_and_draws_nothing():
    failed = measured(
        {"a": level(10)},
        slices=(),
        failure=Failure(kind=FailureKind.OUT_OF_MEMORY, message="memory ran out"),
    )
    assert report.summary(failed).endswith("failed: memory ran out")
    assert report.charts(failed, "x") == ()
    with pytest.raises(ValueError, match="nothing to compare"):
        analyse(failed)


@pytest.mark.parametrize("width", [None, 800])
def test_the_chart_is_an_svg_with_every_model_and_trace(width):
    trace = points(lambda at: 1_800_000 if at < 132 else 1_200_000, temperature_c={"cpu": 61.5})
    (chart,) = report.charts(
        measured({"a": steps(10, 12), "alexnet": level(40)}, trace=trace), "block-1"
    )
    svg = ET.fromstring(chart.draw(width))
    assert svg.get("height") == str(chart.height)
    texts = [node.text or "" for node in svg.iter("{http://www.w3.org/2000/svg}text")]
    for label in ("a, ms", "alexnet, ms", "fastest core, MHz", "hottest sensor, °C"):
        assert label in texts
    paths = [node.get("d") for node in svg.iter("{http://www.w3.org/2000/svg}path")]
    assert sum(path.count("L") + 1 for path in paths if not path.endswith("Z")) == 600 + 600
    for path in paths:
        numbers = path.replace("M", " ").replace("L", " ").replace("Z", " ").split()
        assert all(-1 <= float(one) <= 1001 for one in numbers)


def test_the_change_of_a_speedup_needs_samples():
    with pytest.raises(ValueError, match="positive"):
        stats.speedup_change_interval(([[1]], [[1]]), ([[1]], [[0]]))


def test_the_chart_has_numbers_on_both_axes_and_names_every_line():
    found = measured(
        {"a": steps(10, 12), "alexnet": steps(40, 60)},
        trace=points(lambda at: 1_800_000 if at < 300 else 600_000, temperature_c={"cpu": 60.0}),
    )
    (chart,) = report.charts(found, "s1")
    assert chart.name == "s1-litert-fp32-1thread-sustained"
    assert {key.tone for key in chart.keys} == {"measured", "baseline", "onset"}
    ticks = [
        one.text for one in ET.fromstring(chart.draw(700)).iter() if one.get("class") == "tick"
    ]
    assert {"0 s", "400 s"} <= set(ticks)
    values = [float(text) for text in ticks if not text.endswith(" s")]
    for low, high in ((9, 13), (35, 65), (50, 70)):
        assert len([value for value in values if low <= value <= high]) >= 2
