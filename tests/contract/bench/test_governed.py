"""A bench that sets the governor: a real sshd on a machine whose cores are ours."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fake_sysfs import Cpus

import shufflenet_deploy.bench as bench
from shufflenet_deploy import transport
from shufflenet_deploy.bench import Suite
from shufflenet_deploy.errors import ConnectError, TargetError, UsageError
from shufflenet_deploy.journal import Journal
from shufflenet_deploy.target import Target

QUICK = {"warmup-runs": 1, "warmup-secs": 0.0, "min-runs": 5, "min-secs": 0.0, "processes": 2}


@pytest.fixture
def cpus(tmp_path):
    return Cpus.make(tmp_path / "cpu", 1_800_000, 1_800_000)


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """One folder for all tests, so that what is installed there is installed once."""
    return str(tmp_path_factory.mktemp("target") / "ours")


@pytest.fixture
def measured(sshd_with, cpus, tiny_onnx, record_of, tmp_path, ours):
    """Measures the tiny model there; ``before`` is called before each process.

    ``on_export`` is told each cell whose file is asked for.
    """

    def run(before=lambda: None, *, read_only=False, on_export=lambda _: None, **fields):
        # Our own Python has the runtime already.
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        pi = sshd_with(f"SetEnv PATH={path} SHLVL=5", inside=cpus.inside(read_only=read_only))
        suite = Suite.of(
            {
                "models": ["tiny"],
                "resolutions": ["32x32"],
                "baseline": None,
                "governor": "performance",
                "spec": QUICK,
                "retries": 1,
                **fields,
            },
            source="test",
        )

        class Watched(Target):
            def invoke(self, argv, **kwargs):
                before()
                return super().invoke(argv, **kwargs)

        def artifact_of(cell):
            on_export(cell)
            return record_of(tiny_onnx, cell)

        with (
            transport.connect(pi.settings) as link,
            Watched(link, root=ours) as target,
            Journal(tmp_path / "journal.sqlite") as book,
        ):
            return list(
                bench.run(
                    suite,
                    target,
                    book,
                    artifact_of,
                    sleep=lambda _: None,
                )
            )

    return run


def test_the_runs_say_which_governor_they_had_and_it_is_put_back(measured, cpus):
    runs = measured()
    assert [run.kind for run in runs] == ["measurement"] * 2
    for run in runs:
        assert run.tool["environment"] == "system"
        assert run.before.governors == {"0": "performance", "1": "performance"}
    assert cpus.governors == ["ondemand", "ondemand"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_whatever_ends_a_bench_the_governor_is_put_back(measured, cpus, error):
    def fail():
        assert cpus.governors == ["performance", "performance"]
        raise error

    with pytest.raises(error):
        measured(fail)
    assert cpus.governors == ["ondemand", "ondemand"]


def test_after_a_lost_connection_it_is_set_again(measured, cpus):
    seen = []

    def once():
        seen.append(cpus.governors)
        if len(seen) == 1:
            raise ConnectError("cable pulled")

    assert [run.kind for run in measured(once)] == ["measurement"] * 2
    assert seen == [["performance", "performance"]] * 3
    assert cpus.governors == ["ondemand", "ondemand"]


@pytest.mark.parametrize(
    ("fields", "error", "told"),
    [
        ({"read_only": True}, TargetError, "not permitted"),
        ({"governor": "warp"}, UsageError, "no governor 'warp': choose among"),
    ],
)
def test_what_cannot_be_set_is_refused_before_anything_is_exported(measured, fields, error, told):
    exported = []
    with pytest.raises(error, match=told):
        measured(on_export=exported.append, **fields)
    assert exported == []


def test_a_governor_that_can_be_set_is_only_looked_at_first(measured, cpus):
    seen = []
    measured(on_export=lambda _: seen.append(cpus.governors))
    assert seen == [["ondemand", "ondemand"]]
    assert cpus.governors == ["ondemand", "ondemand"]
