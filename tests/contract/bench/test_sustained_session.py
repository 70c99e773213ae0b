"""Models that take turns on a real target with real runtimes, and what is kept of it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from agent_on_disk import AGENT
from fake_sysfs import Cpus

import shufflenet_deploy.bench as bench
from shufflenet_deploy import transport
from shufflenet_deploy.atomic_files import resource
from shufflenet_deploy.bench import Suite
from shufflenet_deploy.journal import Journal
from shufflenet_deploy.records import CrossCheck, FailureKind, Sustained
from shufflenet_deploy.report import cross_check, sustained
from shufflenet_deploy.target import Target

QUICK = {"warmup-runs": 1, "warmup-secs": 0.0, "min-runs": 5, "min-secs": 0.0, "processes": 1}
SCRIPT = resource("device_scripts", "sustained.py")

# Prints what benchmark_model prints, after doing as long as it is told to what it is told to.
PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    const char *graph = NULL;
    int threads = 0, runs = 0;
    for (int i = 1; i < argc; i++) {
        if (!strncmp(argv[i], "--graph=", 8)) graph = argv[i] + 8;
        if (!strncmp(argv[i], "--num_threads=", 14)) threads = atoi(argv[i] + 14);
        if (!strncmp(argv[i], "--num_runs=", 11)) runs = atoi(argv[i] + 11);
    }
    printf("INFO: STARTING!\nINFO: Num threads: [%d]\nINFO: Graph: [%s]\n", threads, graph);
    FILE *model = graph ? fopen(graph, "rb") : NULL;
    char head[8] = {0};
    if (!model || fread(head, 1, 8, model) != 8 || memcmp(head + 4, "TFL3", 4)) {
        fprintf(stderr, "ERROR: Failed to load model %s\n", graph);
        return 1;
    }
    printf("INFO: count=12 first=156 curr=33 min=32 max=156 avg=43.1 std=34\n\n");
    printf("INFO: count=%d first=33 curr=33 min=%d max=39 avg=33.5 std=1\n\n", runs, threads);
    printf("INFO: Inference timings in us: Init: 3501, First inference: 156, "
           "Warmup (avg): 43.1, Inference (avg): 33.5\n");
    return 0;
}
"""


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "journal.sqlite") as book:
        yield book


@pytest.fixture
def artifact_of(tiny_onnx, tiny_tflite, onnx_writer, record_of, tmp_path):
    """The baseline is the same network at a larger size."""
    large = onnx_writer(tmp_path / "large.onnx", size=256)

    def find(cell):
        if cell.format == "tflite":
            return record_of(tiny_tflite, cell)
        return record_of(large if cell.model == "large" else tiny_onnx, cell)

    return find


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A program that prints what benchmark_model prints."""
    folder = tmp_path_factory.mktemp("program")
    (folder / "program.c").write_text(PROGRAM)
    path = folder / "benchmark_model"
    subprocess.run(["gcc", "-o", str(path), str(folder / "program.c")], check=True)
    return path


def suite(**changes):
    spec = {**QUICK, **changes.pop("spec", {})}
    fields = {"models": ["tiny"], "resolutions": ["32x32"], "baseline": "large", "retries": 0}
    return Suite.of({**fields, **changes, "spec": spec}, source="test")


def by_hand(*words, agent=AGENT, inside=()):
    done = subprocess.run(
        [*inside, sys.executable, str(SCRIPT), "--agent", str(agent), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, json.loads(done.stdout)


# --- the script ----------------------------------------------------------------------------------


def test_turns_go_there_and_back_without_a_pause(tiny_tflite, tiny_tflite_int8, tmp_path):
    cpus = Cpus.make(tmp_path / "cpu", 1_800_000, 1_800_000)
    code, told = by_hand(
        *("--secs", 1, "--slice-secs", 0.1, "--trace-secs", 0.3, "--runtime", "litert"),
        *("--model", tiny_tflite, "--also", tiny_tflite_int8, "--threads", 1),
        inside=cpus.inside(),
    )
    assert code == 0, told
    subjects = [one["subject"] for one in told["slices"]]
    assert subjects[:6] == [0, 1, 1, 0, 0, 1]
    for one, following in zip(told["slices"], told["slices"][1:], strict=False):
        # The clock is read between inferences, which here take no longer than reading it.
        assert following["at_ns"] - one["at_ns"] >= 0.1e9
        assert following["at_ns"] >= one["at_ns"] + one["first"] + sum(one["samples"])
    assert told["trace"][0]["at_ns"] == 0
    assert len(told["trace"]) >= 4
    assert all(
        point["frequency_khz"] == {"0": 1_800_000, "1": 1_800_000} for point in told["trace"]
    )


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("--runtime", "litert", "--model", "missing.tflite"), "model-missing"),
        (("--runtime", "torch", "--model", "x"), "usage"),
        ((), "usage"),
    ],
)
def test_what_is_wrong_is_one_object(words, kind):
    code, told = by_hand("--secs", 1, *words)
    assert code == 1
    assert told["error"]["kind"] == kind


# --- the session ---------------------------------------------------------------------------------


def test_each_group_takes_turns_and_the_record_says_all(local_target, journal, artifact_of):
    told = []
    wanted = suite(runtimes=["onnxruntime", "litert"], **{"sustained-secs": 1})
    list(bench.run(wanted, local_target, journal, artifact_of, told.append, suite_id="one"))
    observed = journal.observations("one")
    assert [one.cells[0].runtime for one in observed] == ["onnxruntime", "litert"]
    for one in observed:
        assert isinstance(one, Sustained)
        assert one.failure is None
        assert [cell.model for cell in one.cells] == ["tiny", "large"]
        assert {turn.subject for turn in one.slices} == {0, 1}
        assert one.slices[-1].at_ns < 10e9
        assert len(one.artifacts) == 2
        assert one.runtime_version
        assert one.baseline == "large"
        assert "ranking: " in sustained.summary(one)
    assert [event.secs for event in told if isinstance(event, bench.Sustaining)] == [1, 1]
    # Resumed, nothing is measured again; with another length it is.
    list(bench.run(wanted, local_target, journal, artifact_of, suite_id="one"))
    assert len(journal.observations("one")) == 2
    longer = wanted.model_copy(update={"sustained_secs": 2.0})
    list(bench.run(longer, local_target, journal, artifact_of, suite_id="one"))
    assert len(journal.observations("one")) == 4


def test_a_measurement_that_fails_is_kept_with_its_reason(
    local_target, journal, artifact_of, monkeypatch
):
    from shufflenet_deploy.runtime import sustained as scripts  # noqa: PLC0415

    monkeypatch.setattr(scripts, "command", lambda *_, **__: ("sh", "-c", "kill -KILL $$"))
    wanted = suite(**{"sustained-secs": 2})
    list(bench.run(wanted, local_target, journal, artifact_of, suite_id="one"))
    (one,) = journal.observations("one")
    assert one.failure.kind is FailureKind.OUT_OF_MEMORY
    assert one.slices == ()
    assert [run.kind for run in journal.runs("one")] == ["measurement"] * 2


# --- benchmark_model -----------------------------------------------------------------------------


def test_the_cross_check_runs_on_the_target_with_the_same_file(
    sshd, journal, artifact_of, program, tmp_path
):
    wanted = suite(
        runtimes=["litert", "onnxruntime"],
        baseline=None,
        threads=[2],
        **{"benchmark-model": str(program)},
        spec={"cpus": [0, 1]},
    )

    class Near(Target):
        def environment(self, payload, **kwargs):
            """This machine's Python, which has the runtimes."""
            with transport.connect("local") as here:
                return Target(here).environment(payload, **kwargs)

    with transport.connect(sshd.settings) as link:
        target = Near(link, root=str(tmp_path / "ours"))
        runs = list(bench.run(wanted, target, journal, artifact_of, suite_id="one"))
        list(bench.run(wanted, target, journal, artifact_of, suite_id="one"))
    (one,) = journal.observations("one")
    assert isinstance(one, CrossCheck)
    assert (one.cell.runtime, one.failure) == ("litert", None)
    assert one.aggregate.count == 5
    assert one.aggregate.min_us == 2  # the program's way of saying how many threads it got
    assert one.artifact in one.argv[1]
    assert one.program_sha256 in one.argv[0]
    assert "INFO: Num threads: [2]" in one.raw
    text = cross_check.summary([one], runs)
    ours = cross_check.mean_ns(one, runs)
    assert f"ratio {33_500 / ours:.2f}" in text


def test_further_arguments_reach_the_program_and_make_another_cross_check(
    local_target, journal, artifact_of, program
):
    fields = {"runtimes": ["litert"], "baseline": None, "benchmark-model": str(program)}
    more = {"benchmark-model-args": ["--use_xnnpack=false", "--label=a b;$HOME"]}
    for changes in (fields, {**fields, **more}, {**fields, **more}):
        list(bench.run(suite(**changes), local_target, journal, artifact_of, suite_id="one"))
    plain, other = journal.observations("one")
    assert plain.argv[-1] == "--use_xnnpack=true"
    assert other.argv == (*plain.argv, "--use_xnnpack=false", "--label=a b;$HOME")
    assert other.failure is None


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("#!/bin/sh\necho 'ERROR: Failed to load model' >&2\nexit 1\n", "Failed to load model"),
        ("#!/bin/sh\nkill -SEGV $$\n", "does not run there"),
        ("\x7fELF of another machine", "does not run there"),
        ("#!/bin/sh\nsleep 30\n", "--timeout"),
    ],
)
def test_a_cross_check_that_fails_leaves_our_figures_alone(
    local_target, journal, artifact_of, tmp_path, script, told
):
    path = tmp_path / "benchmark_model"
    path.write_text(script)
    path.chmod(0o755)
    wanted = suite(
        runtimes=["litert"],
        baseline=None,
        **{"benchmark-model": str(path)},
        spec={"timeout-secs": 20.0 if "sleep" not in script else 5.0},
    )
    list(bench.run(wanted, local_target, journal, artifact_of, suite_id="one"))
    (one,) = journal.observations("one")
    assert one.aggregate is None
    assert told in one.failure.message
    assert [run.kind for run in journal.runs("one")] == ["measurement"]
    assert "failed: " in cross_check.summary([one], journal.runs("one"))


# --- the journal ---------------------------------------------------------------------------------


def test_observations_travel_with_the_runs(local_target, journal, artifact_of, program, tmp_path):
    wanted = suite(runtimes=["litert"], **{"sustained-secs": 1, "benchmark-model": str(program)})
    list(bench.run(wanted, local_target, journal, artifact_of, suite_id="one"))
    lines = list(journal.export_lines("one"))
    assert len(lines) == 1 + 2 + 1 + 2
    with Journal(tmp_path / "other.sqlite") as other:
        assert other.import_lines(lines, "there") == (6, 0)
        assert other.import_lines(lines, "there") == (0, 6)
        assert other.observations("one") == journal.observations("one")
        assert other.runs("one") == journal.runs("one")
    journal.delete("one")
    assert journal.observations() == []
