"""Parsing of TFLite's ``benchmark_model`` output, in the forms of its versions."""

from __future__ import annotations

import pytest

from shufflenet_deploy.errors import ParseError
from shufflenet_deploy.records import Aggregate, BenchmarkSpec
from shufflenet_deploy.runtime import benchmark_model

# As benchmark_model.cc and stats_calculator.h of TensorFlow 2.4 print it.
OLD = """\
STARTING!
Min num runs: [50]
Min runs duration (seconds): [1]
Num threads: [1]
Graph: [model.tflite]
Loaded model model.tflite
The input model file size (MB): 3.34914
Initialized session in 3.501ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=12 first=156677 curr=33205 min=32578 max=156677 avg=43268.1 std=34197

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
count=51 first=33228 curr=33130 min=32687 max=33239 avg=33071.8 std=129

Inference timings in us: Init: 3501, First inference: 156677, Warmup (avg): 43268.1, Inference (avg): 33071.8
Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE.
Memory footprint delta from the start of the tool (MB): init=4.58984 overall=7.82031
"""  # noqa: E501
# Since then lines begin with their severity, and since 2.16 percentiles follow.
NEW = "".join(f"INFO: {line}\n" if line else "\n" for line in OLD.splitlines())
NEWER = NEW.replace("std=34197", "std=34197 p5=32578 median=33205 p95=156677").replace(
    "std=129", "std=129 p5=32690 median=33100 p95=33230"
)
EXPECTED = Aggregate(
    count=51,
    average_us=33071.8,
    min_us=32687,
    max_us=33239,
    std_us=129,
    first_us=156677,
    init_us=3501,
)


@pytest.mark.parametrize("printed", [OLD, NEW, NEWER, NEW.replace("\n", "\r\n")])
def test_every_version(printed):
    assert benchmark_model.parse(printed) == EXPECTED


def test_samples_that_are_all_alike():
    printed = NEW.replace(
        "count=51 first=33228 curr=33130 min=32687 max=33239 avg=33071.8 std=129",
        "count=51 curr=33000(all same)",
    )
    found = benchmark_model.parse(printed)
    assert (found.count, found.min_us, found.max_us, found.std_us) == (51, 33000, 33000, 0)


def test_a_single_sample_and_a_long_one():
    printed = NEW.replace(
        "count=51 first=33228 curr=33130 min=32687 max=33239 avg=33071.8 std=129",
        "count=1 curr=1234567",
    ).replace("Inference (avg): 33071.8", "Inference (avg): 1.23457e+06")
    found = benchmark_model.parse(printed)
    assert (found.count, found.average_us, found.max_us) == (1, 1234570.0, 1234567)


@pytest.mark.parametrize(
    ("printed", "told"),
    [
        ("", "printed no 'Inference timings in us'"),
        ("INFO: STARTING!\nERROR: Failed to load model model.tflite\n", "Failed to load model"),
        ("INFO: STARTING!\nERROR: Could not apply XNNPACK: failed\n", "failed"),
        (NEW.partition("INFO: Inference timings")[0], "printed no 'Inference timings in us'"),
        (NEW.replace("count=", "n="), "printed no statistics"),
    ],
)
def test_output_without_a_result_says_why(printed, told):
    with pytest.raises(ParseError, match=told):
        benchmark_model.parse(printed)


def test_it_is_asked_for_what_our_own_processes_do():
    spec = BenchmarkSpec(threads=4, warmup_runs=0, min_runs=7, min_secs=0.5, max_secs=20)
    assert benchmark_model.command("/x/benchmark_model", "/x/m.tflite", spec) == (
        "/x/benchmark_model",
        "--graph=/x/m.tflite",
        "--num_threads=4",
        "--warmup_runs=1",
        "--warmup_min_secs=0.5",
        "--num_runs=7",
        "--min_secs=0.5",
        "--max_secs=20",
        "--use_xnnpack=true",
    )
