"""What fails a suite: with ``all`` runtimes not what a target cannot have."""

from __future__ import annotations

from pathlib import Path

import pytest
import sample_runs

from shufflenet_deploy import runtime
from shufflenet_deploy.bench import Suite
from shufflenet_deploy.bench.lacking import failed_runs, is_excused
from shufflenet_deploy.codegen.cpu_target import for_facts
from shufflenet_deploy.errors import MissingRuntimeError, UnavailableError
from shufflenet_deploy.records import Failure, FailureKind, Run

LOGS = Path(__file__).parent / "logs"


def suite(*runtimes: str) -> Suite:
    return Suite(models=("shufflenet-g3-0.5x",), resolutions=("224x224",), runtimes=runtimes)


def lacking() -> Run:
    """As the agent told it of PyPI's wheel, which has no such provider."""
    name = "onnxruntime-xnnpack"
    report = runtime.get(name).parse((LOGS / f"{name}.json").read_text())
    return sample_runs.run(runtime=name, outcome=report.outcome)


def crashed() -> Run:
    failure = Failure(kind=FailureKind.CRASHED, message="the runtime crashed (SIGILL)")
    return sample_runs.run(runtime="mnn", outcome=failure)


def test_what_one_of_all_runtimes_lacks_is_no_failure() -> None:
    measured = sample_runs.run()
    assert failed_runs(suite("all"), [measured, lacking()]) == []
    assert failed_runs(suite("all"), [measured, lacking(), crashed()]) == [crashed()]


def test_a_runtime_that_is_named_must_be_there() -> None:
    asked = suite("onnxruntime", "onnxruntime-xnnpack")
    assert failed_runs(asked, [sample_runs.run(), lacking()]) == [lacking()]


def test_nothing_measured_is_a_failure_whatever_was_asked_for() -> None:
    assert failed_runs(suite("all"), [lacking()]) == [lacking()]
    assert failed_runs(suite("all"), []) == []


def test_only_the_last_attempt_counts() -> None:
    late = sample_runs.run(runtime="mnn", round_secs=60)
    assert failed_runs(suite("all"), [crashed(), late]) == []


def test_a_process_that_is_no_longer_asked_for_fails_nothing() -> None:
    asked = suite("onnxruntime", "mnn")
    last = asked.spec.processes
    for process, failed in ((last, True), (last + 1, False)):
        late = crashed().model_copy(update={"process": process})
        assert bool(failed_runs(asked, [sample_runs.run(), late])) is failed
    more = asked.model_copy(update={"precision_target": 0.02})
    assert failed_runs(more, [sample_runs.run(), late]) == [late]


@pytest.mark.parametrize("kind", list(FailureKind))
def test_what_was_tried_and_failed_is_never_excused(kind: FailureKind) -> None:
    excused = is_excused(suite("all"), Failure(kind=kind, message="so it is"))
    assert excused is (kind in {FailureKind.RUNTIME_MISSING, FailureKind.UNAVAILABLE})
    assert not is_excused(suite("mnn"), Failure(kind=kind, message="so it is"))


def test_no_wheel_and_no_code_are_told_from_what_failed() -> None:
    old = sample_runs.PI.model_copy(update={"arch": "armv6l", "libc": "glibc 2.28"})
    with pytest.raises(MissingRuntimeError, match="no wheel for"):
        runtime.get("onnxruntime").payload(old)
    with pytest.raises(UnavailableError, match="no native code"):
        for_facts(old.model_copy(update={"arch": "riscv64"}))
