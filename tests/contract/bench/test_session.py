"""A suite on a real target with real runtimes; faults are injected at the target's face only."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from contextlib import contextmanager

import pytest

import shufflenet_deploy.bench as bench
from shufflenet_deploy.bench import Patience, Suite
from shufflenet_deploy.cli.progress import BenchProgress
from shufflenet_deploy.errors import (
    AuthenticationError,
    ConnectError,
    ExportError,
    MissingRuntimeError,
    TargetError,
    UsageError,
)
from shufflenet_deploy.journal import Journal
from shufflenet_deploy.records import (
    Conditions,
    Failure,
    FailureKind,
    Measurement,
)
from shufflenet_deploy.report.table import Table
from shufflenet_deploy.target import Target
from shufflenet_deploy.transport import CommandResult

QUICK = {
    "warmup-runs": 1,
    "warmup-secs": 0.0,
    "min-runs": 5,
    "min-secs": 0.0,
    "processes": 2,
}


def suite(**changes):
    spec = {**QUICK, **changes.pop("spec", {})}
    fields = {"models": ["tiny"], "resolutions": ["32x32"], "baseline": "large", "retries": 0}
    return Suite.of({**fields, **changes, "spec": spec}, source="test")


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "journal.sqlite") as book:
        yield book


@pytest.fixture
def artifact_of(tiny_onnx, tiny_tflite, onnx_writer, record_of, tmp_path):
    """Real files: the baseline is the same network at a larger size."""
    large = onnx_writer(tmp_path / "large.onnx", size=256)

    def find(cell):
        if cell.format == "tflite":
            return record_of(tiny_tflite, cell)
        return record_of(large if cell.model == "large" else tiny_onnx, cell)

    return find


class Scripted(Target):
    """A target whose ``invoke`` first does what the script says: a result, an error, or None."""

    def __init__(self, transport, root, script):
        super().__init__(transport, root)
        self.script = iter(script)
        self.invocations = 0

    def invoke(self, argv, **kwargs):
        self.invocations += 1
        step = next(self.script, None)
        if isinstance(step, BaseException):
            raise step
        if isinstance(step, CommandResult):
            return step
        return super().invoke(step if step is not None else argv, **kwargs)


@pytest.fixture
def scripted(local_target, tmp_path):
    return lambda *script: Scripted(local_target.transport, str(tmp_path / "target"), script)


def printed(stdout=b"", exit_code=0, stderr=b""):
    return CommandResult(
        argv=("agent",), exit_code=exit_code, stdout=stdout, stderr=stderr, duration_secs=0.1
    )


def failures(runs):
    return [run.outcome for run in runs if isinstance(run.outcome, Failure)]


# --- measuring -----------------------------------------------------------------------------------


def test_every_cell_is_measured_by_every_process(local_target, journal, artifact_of):
    wanted = suite(runtimes=["onnxruntime", "litert"], baseline=None)
    runs = list(bench.run(wanted, local_target, journal, artifact_of))
    assert failures(runs) == []
    assert Counter((run.cell.runtime, run.process) for run in runs) == {
        ("onnxruntime", 1): 1,
        ("onnxruntime", 2): 1,
        ("litert", 1): 1,
        ("litert", 2): 1,
    }
    assert journal.runs() == runs
    for run in runs:
        assert len(run.outcome.samples) == 5
        assert run.artifact.sha256
        assert run.before.at <= run.after.at
        assert run.runtime_version
        assert '"samples_ns"' in run.raw
        assert run.tool["agent_sha256"]


def test_each_cell_is_measured_with_its_own_file(local_target, journal, artifact_of):
    runs = list(bench.run(suite(), local_target, journal, artifact_of))
    for run in runs:
        path = artifact_of(run.cell).path
        reported = json.loads(run.raw)["model"]
        assert reported["bytes"] == path.stat().st_size
        assert reported["file"].endswith(path.suffix)
        assert run.artifact.path == path


def test_over_ssh_the_second_suite_pushes_nothing(ssh_target, journal, artifact_of):
    list(bench.run(suite(), ssh_target, journal, artifact_of))
    pushed = ssh_target.traffic.files_pushed
    assert pushed >= 3
    again = list(bench.run(suite(), ssh_target, journal, artifact_of))
    assert ssh_target.traffic.files_pushed == pushed
    assert failures(again) == []
    assert again[0].target.transport == "ssh"


def test_events_tell_the_story(local_target, journal, artifact_of):
    told = []
    list(bench.run(suite(), local_target, journal, artifact_of, told.append))
    kinds = [type(event).__name__ for event in told if not isinstance(event, bench.Stage)]
    assert kinds == ["Planned", *(["Started", "Finished"] * 4)]
    assert told[[type(event) for event in told].index(bench.Planned)].visits == 4


def test_cool_down_comes_between_processes(local_target, journal, artifact_of):
    pauses = []
    wanted = suite(spec={"cooldown-secs": 7.0})
    list(bench.run(wanted, local_target, journal, artifact_of, sleep=pauses.append))
    assert pauses == [7.0] * 3


@pytest.fixture
def reports(local_target, journal, artifact_of):
    """The agent's output of a real process, with samples and load replaced."""
    one = suite(baseline=None, spec={"processes": 1})
    (run,) = bench.run(one, local_target, journal, artifact_of, suite_id="template")
    report = json.loads(run.raw)
    journal.delete("template")

    def of(sample_ns, *, others_busy_cores=0.0):
        assert "others_busy_cores" in report["sampling"]
        sampling = {**report["sampling"], "others_busy_cores": others_busy_cores}
        changed = {"samples_ns": [sample_ns] * 20, "sampling": sampling}
        return printed(json.dumps({**report, **changed}).encode())

    return of


@pytest.mark.parametrize(
    ("medians_us", "rounds"),
    [
        # Two cells take turns. Equal processes are known at once; unequal ones up to the limit.
        ([100, 100, 100, 100], 2),
        ([100, 100, 120, 100, 100, 130, 140, 100], 4),
    ],
)
def test_a_precision_target_adds_rounds_until_it_is_met(
    scripted, journal, artifact_of, reports, medians_us, rounds
):
    target = scripted(*(reports(1000 * value) for value in medians_us))
    wanted = suite(**{"precision-target": 0.02, "max-processes": 4})
    runs = list(bench.run(wanted, target, journal, artifact_of))
    assert Counter(run.process for run in runs) == dict.fromkeys(range(1, rounds + 1), 2)


def test_a_precision_target_goes_on_where_it_was_interrupted(local_target, journal, artifact_of):
    for limit, added in ((3, {1: 2, 2: 2, 3: 2}), (4, {4: 2})):
        wanted = suite(**{"precision-target": 0.0000001, "max-processes": limit})
        runs = list(bench.run(wanted, local_target, journal, artifact_of, suite_id="one"))
        assert Counter(run.process for run in runs) == added


def test_cores_that_do_not_exist_are_refused_first(local_target, journal, artifact_of):
    wanted = suite(spec={"cpus": [4000]})
    with pytest.raises(UsageError, match="no core 4000"):
        list(bench.run(wanted, local_target, journal, artifact_of))
    assert journal.runs() == []


@pytest.fixture
def on_core(local_target, monkeypatch):
    """Makes the target say that it is a 64-bit ARM with these features."""

    def say(*features):
        facts = local_target.facts()
        foreign = facts.model_copy(update={"arch": "aarch64", "features": ("asimd", *features)})
        monkeypatch.setattr(local_target, "facts", lambda: foreign)

    return say


@pytest.mark.parametrize(
    ("features", "there"),
    [(("asimddp", "asimdhp"), ["fp32", "fp16", "int8"]), ((), ["fp32", "int8"])],
)
def test_all_precisions_are_those_of_the_core(local_target, journal, on_core, features, there):
    on_core(*features)
    asked = []

    def refuse(cell):
        asked.append((cell.runtime, cell.precision.value))
        raise ExportError("not in this test")

    wanted = suite(runtimes=["native", "litert"], precisions=["all"], baseline=None)
    list(bench.run(wanted, local_target, journal, refuse))
    native = [("native", precision) for precision in there]
    files = [*native, ("litert", "fp32"), ("litert", "int8")]
    assert asked == sorted(files, key=lambda file: file[1])


def test_files_of_one_network_are_made_one_after_the_other(local_target, journal):
    """Loading, tracing and calibration are done once and reused by the next export."""
    asked = []

    def refuse(cell):
        asked.append((cell.model, cell.precision.value))
        raise ExportError("not in this test")

    wanted = suite(runtimes=["native", "litert", "onnxruntime"], precisions=["fp32", "int8"])
    list(bench.run(wanted, local_target, journal, refuse))
    assert len(asked) == 12
    assert asked == sorted(asked)
    assert len(set(asked)) == 4


def test_a_precision_that_the_core_has_not_is_refused_first(
    local_target, journal, on_core, artifact_of
):
    on_core()
    wanted = suite(runtimes=["native"], precisions=["fp32", "fp16"])
    with pytest.raises(UsageError, match="does not compute in fp16"):
        list(bench.run(wanted, local_target, journal, artifact_of))
    assert journal.suites() == []


# --- failing cells -------------------------------------------------------------------------------


def test_a_failed_export_is_a_row_and_the_others_go_on(local_target, journal, artifact_of):
    def sometimes(cell):
        if cell.model == "tiny":
            raise ExportError("cannot convert Frobnicate")
        return artifact_of(cell)

    runs = list(bench.run(suite(), local_target, journal, sometimes))
    assert [(run.cell.model, run.kind) for run in runs] == [
        ("tiny", "failure"),
        ("large", "measurement"),
        ("large", "measurement"),
    ]
    assert runs[0].outcome.kind is FailureKind.EXPORT
    assert runs[0].artifact is None


def test_a_runtime_that_cannot_be_had_is_a_row(local_target, journal, artifact_of, monkeypatch):
    def refuse(payload, **_):
        raise MissingRuntimeError(f"no wheel for {payload(local_target.facts()).name}")

    monkeypatch.setattr(local_target, "environment", refuse)
    runs = list(bench.run(suite(), local_target, journal, artifact_of))
    assert {(run.process, run.outcome.kind) for run in runs} == {(1, FailureKind.RUNTIME_MISSING)}
    assert len(runs) == 2


def test_a_disk_that_is_full_fails_the_cell_only(local_target, journal, artifact_of, monkeypatch):
    install = local_target.install

    def full(path, **kwargs):
        if path.name == "large.onnx":
            raise TargetError("the disk of local has 3 MB free")
        return install(path, **kwargs)

    monkeypatch.setattr(local_target, "install", full)
    runs = list(bench.run(suite(), local_target, journal, artifact_of))
    assert [(run.cell.model, run.kind) for run in runs] == [
        ("large", "failure"),
        ("tiny", "measurement"),
        ("tiny", "measurement"),
    ]


def test_a_corrupt_model_is_not_tried_again(
    local_target, journal, tiny_onnx, record_of, tmp_path, artifact_of
):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(tiny_onnx.read_bytes()[:500])

    def find(cell):
        return record_of(broken, cell) if cell.model == "tiny" else artifact_of(cell)

    runs = list(bench.run(suite(), local_target, journal, find))
    (failed,) = [run for run in runs if run.kind == "failure"]
    assert failed.process == 1
    assert "broken.onnx" in failed.outcome.message
    assert failed.after is not None
    assert len(runs) == 3


def test_a_model_that_hangs_is_killed_and_not_tried_again(scripted, journal, artifact_of):
    target = scripted(("sleep", "60"))
    wanted = suite(baseline=None, retries=2, spec={"timeout-secs": 1.0})
    runs = list(bench.run(wanted, target, journal, artifact_of))
    assert [run.outcome.kind for run in runs] == [FailureKind.TIMEOUT]
    assert "--timeout" in runs[0].outcome.message
    assert target.invocations == 1


@pytest.mark.parametrize(
    ("number", "kind", "told"),
    [
        ("KILL", FailureKind.OUT_OF_MEMORY, "memory"),
        ("SEGV", FailureKind.CRASHED, "SIGSEGV"),
        ("ILL", FailureKind.CRASHED, "SIGILL"),
    ],
)
def test_an_agent_that_dies_by_a_signal(scripted, journal, artifact_of, number, kind, told):
    target = scripted(("sh", "-c", f"kill -{number} $$"))
    runs = list(bench.run(suite(baseline=None), target, journal, artifact_of))
    assert [run.outcome.kind for run in runs] == [kind]
    assert told in runs[0].outcome.message


@pytest.mark.parametrize(
    ("result", "kind", "told"),
    [
        (printed(b"all is well"), FailureKind.PARSE, "all is well"),
        (printed(b""), FailureKind.PARSE, "nothing"),
        (printed(b"{}\n{}"), FailureKind.PARSE, "JSON"),
        (
            printed(b"", 1, b"Traceback\nModuleNotFoundError: x\n"),
            FailureKind.CRASHED,
            "ModuleNotFoundError: x",
        ),
    ],
)
def test_malformed_output_is_kept_raw_with_its_reason(
    scripted, journal, artifact_of, result, kind, told
):
    runs = list(bench.run(suite(baseline=None), scripted(result), journal, artifact_of))
    assert runs[0].outcome.kind is kind
    assert told in runs[0].outcome.message
    assert runs[0].raw == result.text
    assert "\n" not in runs[0].outcome.message


# --- transients ----------------------------------------------------------------------------------


def test_a_lost_connection_is_made_again_and_the_process_with_it(scripted, journal, artifact_of):
    target = scripted(ConnectError("cable pulled"), ConnectError("cable pulled"))
    pauses, told = [], []
    runs = list(
        bench.run(
            suite(baseline=None, retries=2),
            target,
            journal,
            artifact_of,
            told.append,
            sleep=pauses.append,
        )
    )
    assert [run.kind for run in runs] == ["measurement"] * 2
    assert target.invocations == 4
    assert len(pauses) == 2
    assert pauses[0] < pauses[1]
    assert sum(isinstance(event, bench.Retrying) for event in told) == 2


def test_a_connection_that_stays_lost_ends_the_session_with_its_runs_kept(
    scripted, journal, artifact_of
):
    target = scripted(None, *[ConnectError("cable pulled")] * 9)
    with pytest.raises(ConnectError, match="cable pulled"):
        list(
            bench.run(
                suite(retries=1), target, journal, artifact_of, suite_id="one", sleep=lambda _: None
            )
        )
    assert [run.kind for run in journal.runs("one")] == ["measurement", "failure"]
    target.script = iter(())
    resumed = list(bench.run(suite(retries=1), target, journal, artifact_of, suite_id="one"))
    assert len(resumed) == 3
    assert Counter((run.cell.model, run.process) for run in journal.runs("one")) == {
        ("tiny", 1): 1,
        ("tiny", 2): 1,
        ("large", 1): 1,
        ("large", 2): 1,
    }
    assert failures(journal.runs("one")) == []


class Restarting:
    """A link that goes down when a program is run over it and comes back after some attempts."""

    def __init__(self, link, attempts, error):
        self._link, self._left, self._error = link, attempts, error

    def __getattr__(self, name):
        return getattr(self._link, name)

    def __enter__(self):
        if self._left:
            self._left -= 1
            raise self._error
        return self._link.__enter__()


@pytest.mark.parametrize("error", [ConnectError("no answer"), AuthenticationError("booting up")])
def test_a_target_that_restarts_is_waited_for_and_that_is_told(
    scripted, journal, artifact_of, error
):
    target = scripted(ConnectError("rebooting"))
    target.transport = Restarting(target.transport, 12, error)
    pauses, told = [], []
    wanted = suite(baseline=None, retries=1)
    runs = list(bench.run(wanted, target, journal, artifact_of, told.append, sleep=pauses.append))
    assert [run.kind for run in runs] == ["measurement"] * 2
    away = [event for event in told if isinstance(event, bench.Away)]
    assert len(away) == 12
    assert away[-1].waited_secs >= 40
    assert {str(event.error) for event in away} == {str(error)}
    assert max(pauses) <= 5


@pytest.mark.parametrize(
    ("error", "least_secs", "most_secs"),
    [(ConnectError("no answer"), 300, 330), (AuthenticationError("go away"), 50, 90)],
)
def test_a_target_that_does_not_come_back_is_given_up_once(
    scripted, journal, artifact_of, error, least_secs, most_secs
):
    target = scripted(ConnectError("rebooting"))
    target.transport = Restarting(target.transport, 10**6, error)
    pauses = []
    with pytest.raises(ConnectError, match=str(error)):
        list(
            bench.run(
                suite(baseline=None, retries=9), target, journal, artifact_of, sleep=pauses.append
            )
        )
    assert least_secs <= sum(pauses) <= most_secs


def test_the_wait_for_a_restart_is_shown_once_a_minute(capsys):
    progress = BenchProgress(quiet=True)
    for waited_secs in range(0, 150, 5):
        progress.show(
            bench.Away(
                host="pi",
                error=ConnectError("no answer"),
                waited_secs=waited_secs,
                longest_secs=300,
            )
        )
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 3
    assert shown[0] == "waiting for pi to come back (0 s, at most 300 s): no answer"


def test_the_lock_is_held_while_measuring_and_given_back(
    scripted, local_target, journal, artifact_of, monkeypatch
):
    held = []

    @contextmanager
    def exclusive(**_):
        held.append("taken")
        yield
        held.append("given back")

    target = scripted(ConnectError("cable pulled"))
    monkeypatch.setattr(target, "exclusive", exclusive)
    wanted = suite(baseline=None, retries=1)
    list(bench.run(wanted, target, journal, artifact_of, sleep=lambda _: None))
    assert held == ["taken", "given back"] * 2


def test_another_bench_on_the_target_is_waited_for_or_told(local_target, journal, artifact_of):
    at_once = Patience(lock_wait_secs=0.0)
    with (
        local_target.exclusive(),
        pytest.raises(TargetError, match="is measuring for"),
    ):
        list(bench.run(suite(), local_target, journal, artifact_of, patience=at_once))
    assert journal.suites() == []


def test_a_disturbed_process_is_measured_again(scripted, journal, artifact_of, monkeypatch):
    disturbed = iter([True, False])
    target = scripted()
    told = []
    from shufflenet_deploy.runtime.agent_protocol import AgentRuntime  # noqa: PLC0415

    parse = AgentRuntime.parse

    def throttled(self, raw):
        report = parse(self, raw)
        if not next(disturbed, False):
            return report
        hot = Conditions(at=report.after.at, throttled=0x4)
        return type(report)(
            outcome=report.outcome,
            runtime_version=report.runtime_version,
            before=report.before,
            after=hot,
        )

    monkeypatch.setattr(AgentRuntime, "parse", throttled)
    wanted = suite(baseline=None, retries=1, spec={"processes": 1})
    list(bench.run(wanted, target, journal, artifact_of, told.append))
    tainted = [event for event in told if isinstance(event, bench.Tainted)]
    assert [event.finding.cause.value for event in tainted][:1] == ["throttled"]
    assert target.invocations == len(tainted) + 1 == 2
    assert len(journal.runs(every=True)) == 2
    assert [run.after.throttled for run in journal.runs()] == [None]


def test_a_worse_retry_does_not_replace_the_first_attempt(
    scripted, journal, artifact_of, reports, local_target
):
    cores = len(local_target.facts().cores)
    busy = [cores, 2 * cores, 3 * cores]
    target = scripted(*(reports(1_000_000 * one, others_busy_cores=one) for one in busy))
    wanted = suite(baseline=None, retries=2, spec={"processes": 1})
    list(bench.run(wanted, target, journal, artifact_of, suite_id="one"))
    assert target.invocations == 3
    (counts,) = journal.runs("one")
    assert counts.outcome.others_busy_cores == cores
    kept = journal.runs("one", every=True)
    assert [run.outcome.others_busy_cores for run in kept] == busy
    ((_, entry),) = Table.from_runs(kept, baseline="").blocks[0].entries()
    assert entry.estimate.median == 1_000_000 * cores


# --- resuming ------------------------------------------------------------------------------------


def test_a_suite_resumed_with_more_processes_counts_all_of_them(local_target, journal, artifact_of):
    list(bench.run(suite(), local_target, journal, artifact_of, suite_id="one"))
    wider = suite(spec={"processes": 4, "cooldown-secs": 0.001, "timeout-secs": 99.0})
    added = list(bench.run(wider, local_target, journal, artifact_of, suite_id="one"))
    assert Counter(run.process for run in added) == {3: 2, 4: 2}
    (block,) = Table.from_runs(journal.runs("one", every=True), baseline="large").blocks
    for _, entry in block.entries():
        assert sorted(one.process for one in entry.processes) == [1, 2, 3, 4]
        assert not any("protocol" in block.notes[mark - 1] for mark in entry.marks)
    assert json.loads(journal.suite("one").definition)["spec"]["processes"] == 4


def test_an_export_that_is_interrupted_leaves_no_suite(local_target, journal, artifact_of):
    def interrupted(cell):
        if cell.model == "large":
            raise KeyboardInterrupt
        return artifact_of(cell)

    with pytest.raises(KeyboardInterrupt):
        list(bench.run(suite(), local_target, journal, interrupted, suite_id="one"))
    assert journal.suites() == []
    list(bench.run(suite(), local_target, journal, artifact_of, suite_id="one"))
    assert [row.id for row in journal.suites()] == ["one"]


@pytest.mark.parametrize("finished", [0, 3])
def test_an_interrupted_suite_goes_on_where_it_stopped(scripted, journal, artifact_of, finished):
    target = scripted(*[None] * finished, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        list(bench.run(suite(), target, journal, artifact_of, suite_id="one"))
    assert len(journal.runs("one")) == finished
    told = []
    resumed = list(bench.run(suite(), target, journal, artifact_of, told.append, suite_id="one"))
    assert len(resumed) == 4 - finished
    (planned,) = [event for event in told if isinstance(event, bench.Planned)]
    assert (planned.visits, planned.skipped) == (4 - finished, finished)
    assert len(journal.runs("one")) == 4
    assert list(bench.run(suite(), target, journal, artifact_of, suite_id="one")) == []


def test_a_changed_file_or_protocol_is_measured_again(
    local_target, journal, artifact_of, onnx_writer, record_of, tmp_path
):
    list(bench.run(suite(), local_target, journal, artifact_of, suite_id="one"))
    other = onnx_writer(tmp_path / "other.onnx", seed=9)

    def changed(cell):
        return record_of(other, cell) if cell.model == "tiny" else artifact_of(cell)

    again = list(bench.run(suite(), local_target, journal, changed, suite_id="one"))
    assert [run.cell.model for run in again] == ["tiny", "tiny"]
    more = suite(spec={"min-runs": 6})
    assert len(list(bench.run(more, local_target, journal, changed, suite_id="one"))) == 4
    wider = suite(spec={"min-runs": 6, "processes": 3})
    assert {
        run.process for run in bench.run(wider, local_target, journal, changed, suite_id="one")
    } == {3}


def test_failures_are_tried_once_more_when_resumed(scripted, journal, artifact_of):
    crash = printed(b"", 139)
    target = scripted(crash)
    wanted = suite(baseline=None)
    assert len(list(bench.run(wanted, target, journal, artifact_of, suite_id="one"))) == 1
    resumed = list(bench.run(wanted, target, journal, artifact_of, suite_id="one"))
    assert all(isinstance(run.outcome, Measurement) for run in resumed)
    assert len(resumed) == 2
    assert failures(journal.runs("one")) == []


def test_the_order_of_every_round_interleaves(local_target, journal, artifact_of):
    wanted = suite(models=["tiny", "other"], spec={"processes": 2})
    runs = list(bench.run(wanted, local_target, journal, artifact_of))
    rounds = [list(group) for _, group in itertools.groupby(runs, key=lambda run: run.process)]
    assert [len(one) for one in rounds] == [3, 3]
    assert [one[0].cell.model == "large" for one in rounds] == [True, False]
    assert [one[-1].cell.model == "large" for one in rounds] == [False, True]
