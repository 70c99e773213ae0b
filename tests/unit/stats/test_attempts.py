"""Selection of the attempt that counts, and pooling of the processes of a cell."""

from __future__ import annotations

import itertools
import random

import pytest
import sample_runs

from shufflenet_deploy.records import SCHEDULE, BenchmarkSpec, Failure, FailureKind, Run
from shufflenet_deploy.stats import attempts
from shufflenet_deploy.stats.attempts import CellRuns

MODEL = "shufflenet-g3-0.5x"
LIMIT_KHZ = 1_800_000
CRASHED = Failure(kind=FailureKind.CRASHED, message="no")


def attempt(name: str, *, process: int = 1, busy: float = 0.0, **changes) -> Run:
    """One attempt called ``name``, while others kept so many cores busy."""
    made = sample_runs.run(MODEL, process=process, **changes)
    outcome = made.outcome
    if not isinstance(outcome, Failure):
        outcome = outcome.model_copy(update={"others_busy_cores": busy})
    return made.model_copy(update={"id": name, "outcome": outcome})


def slowed(share: float):
    """Conditions after a process during which the clock fell by a share."""
    khz = {"cpu0": round(LIMIT_KHZ * (1 - share))}
    return sample_runs.conditions(sample_runs.START, frequency_khz=khz)


def names(runs) -> list[str]:
    return [run.id for run in runs]


@pytest.mark.parametrize(
    ("tried", "counts"),
    [
        (("bad 3.0", "worse 4.0"), "bad 3.0"),
        (("worse 4.0", "bad 3.0"), "bad 3.0"),
        (("bad 3.0", "quiet 0.0"), "quiet 0.0"),
        (("quiet 0.0", "bad 3.0"), "quiet 0.0"),
        (("first 0.0", "second 0.1"), "first 0.0"),
        (("bad 2.0", "worse 4.0", "best 1.9"), "best 1.9"),
    ],
)
def test_the_least_disturbed_attempt_counts(tried, counts):
    runs = [attempt(name, busy=float(name.split()[1])) for name in tried]
    assert names(attempts.counted(runs)) == [counts]


def test_fewer_causes_go_before_milder_ones():
    twice = attempt("load and clock", busy=1.6, after=slowed(0.06))
    once = attempt("much load", busy=4.0)
    assert names(attempts.counted([twice, once])) == ["much load"]


def test_of_one_cause_the_milder_counts():
    runs = [attempt("half", after=slowed(0.5)), attempt("tenth", after=slowed(0.1))]
    assert names(attempts.counted(runs)) == ["tenth"]


def test_the_figure_never_decides():
    """Whatever the latencies are, the order of the attempts decides among equally quiet ones."""
    for fast, slow in itertools.permutations(("fast", "slow"), 2):
        medians = {"fast": 1e6, "slow": 90e6}
        runs = [attempt(name, median=medians[name]) for name in (fast, slow)]
        assert names(attempts.counted(runs)) == [fast]


def test_a_failure_does_not_take_the_place_of_a_measurement():
    runs = [attempt("measured", busy=4.0), attempt("failed", outcome=CRASHED)]
    assert names(attempts.counted(runs)) == ["measured"]
    assert names(CellRuns.of(runs).failed) == ["failed"]
    later = [*runs, attempt("again", busy=4.0)]
    assert CellRuns.of(later).failed == ()
    assert names(attempts.counted([attempt("one", outcome=CRASHED), runs[1]])) == ["failed"]


def test_the_newest_file_and_protocol_decide_first():
    old = attempt("old", sha256="1" * 64)
    new = attempt("new", sha256="2" * 64, busy=4.0)
    assert names(attempts.counted([old, new])) == ["new"]
    longer = attempt("longer", spec=sample_runs.SPEC.model_copy(update={"min_runs": 99}), busy=4.0)
    assert names(attempts.counted([new, longer])) == ["longer"]


#: Values of the fields that are no numbers.
_OTHERS = {
    "cpus": (1,),
    "metric": "instructions",
    "shapes": (("x", (1, 3)),),
    "energy": True,
}


def test_what_schedules_a_suite_decides_no_samples():
    spec = BenchmarkSpec(processes=9, cooldown_secs=7, timeout_secs=1)
    assert spec.protocol == BenchmarkSpec().protocol
    for name in BenchmarkSpec.model_fields:
        other = _OTHERS.get(name, 77)
        changed = BenchmarkSpec.model_validate({name: other})
        assert (changed.protocol == BenchmarkSpec().protocol) is (name in SCHEDULE), name


def test_processes_added_later_are_put_together_with_the_first():
    grown = sample_runs.SPEC.model_copy(update={"processes": 5, "timeout_secs": 9.0})
    runs = [attempt(f"{n}", process=n, spec=sample_runs.SPEC if n < 3 else grown) for n in range(5)]
    found = CellRuns.of(runs)
    assert names(found.kept) == ["0", "1", "2", "3", "4"]
    assert found.otherwise == ()


def test_every_attempt_is_accounted_for():
    generator = random.Random(5)
    for _ in range(40):
        runs = [
            attempt(
                f"{place}",
                process=generator.randrange(3),
                busy=generator.choice((0.0, 2.0, 4.0)),
                sha256=generator.choice(("1" * 64, "2" * 64)),
                **({"outcome": CRASHED} if generator.random() < 0.3 else {}),
            )
            for place in range(generator.randrange(1, 8))
        ]
        found = CellRuns.of(runs)
        processes = {run.process for run in runs}
        counted = attempts.counted(runs)
        assert {run.process for run in counted} == processes
        assert len(counted) == len(processes)
        measuring = [run for run in counted if not isinstance(run.outcome, Failure)]
        assert len(found.kept) + len(found.otherwise) == len(measuring)
        assert len({run.sampling for run in found.kept}) < 2
        assert not set(names(found.kept)) & set(names(found.replaced))
        again = attempts.counted(counted)
        assert names(again) == names(counted)
