"""``bench --host board``: its immediate warning, and its small number of inferences."""

from __future__ import annotations

import pytest

from shufflenet_deploy.board import BoardSettings, manager
from shufflenet_deploy.cli.bench_suite import make_suite
from shufflenet_deploy.cli.emulator import FEW_INFERENCES, board_of, notices
from shufflenet_deploy.records import BenchmarkSpec


@pytest.fixture(autouse=True)
def no_boards(tmp_path, monkeypatch):
    monkeypatch.setenv(manager.STATE_VARIABLE, str(tmp_path))


def board(**fields) -> BoardSettings:
    return BoardSettings(**{"name": "default", "cpu": "cortex-a72", **fields})


def test_latencies_of_an_emulator_mean_nothing():
    warning, stays = notices(board(), deterministic=False)
    assert "warning: board default is emulated" in warning
    assert "do not predict any device" in warning
    assert stays.endswith("switch it off with: shufflenet-deploy board down")


def test_counts_and_boards_of_the_host_s_own_cores_need_no_warning():
    for there, counting in ((board(deterministic=True), True), (board(cpu="host"), False)):
        (stays,) = notices(there, deterministic=counting)
        assert "stays up" in stays


def test_a_board_is_named_as_it_is_switched_off():
    assert notices(board(name="second"), deterministic=False)[-1].endswith("down --name second")


@pytest.mark.parametrize("host", ["local", "pi", "adb:board", "ann@board:22"])
def test_other_hosts_are_no_boards(host):
    assert board_of(host, deterministic=False) is None


def test_a_board_that_is_going_to_be_started_is_known():
    there = board_of("board:x", deterministic=True)
    assert (there.name, there.deterministic) == ("x", True)


def spec_of(base=None, given=None, *, fresh=True) -> BenchmarkSpec:
    return make_suite(base or {}, {}, given or {}, [], fresh=fresh, defaults=FEW_INFERENCES).spec


def test_few_inferences_are_made_unless_more_are_asked_for():
    few = spec_of()
    assert (few.min_runs, few.processes, few.warmup_runs) == (2, 2, 0)
    assert few.min_runs < BenchmarkSpec().min_runs
    assert spec_of(given={"min_runs": 50}).min_runs == 50


def test_a_suite_s_own_figures_stand():
    assert spec_of({"spec": {"min_runs": 7, "processes": 4}}).min_runs == 7
