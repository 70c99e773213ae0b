"""What counts as one figure, of the instruction counts of several inferences."""

from __future__ import annotations

import pytest

from shufflenet_deploy import board
from shufflenet_deploy.board import fleet
from shufflenet_deploy.cost.counting import MOST_SPREAD, Plan, agreement, count
from shufflenet_deploy.errors import UsageError


def test_the_count_is_the_median_and_the_spread_is_of_it():
    middle, spread = agreement([1000, 1004, 1002, 1001, 1003, 1002, 1002])
    assert middle == 1002
    assert spread == pytest.approx(3 / 1002)


def test_one_interrupted_inference_is_not_a_disagreement():
    middle, spread = agreement([2_500_000] * 6 + [2_560_000])
    assert middle == 2_500_000
    assert spread == 0


def test_two_interrupted_inferences_are():
    _, spread = agreement([2_500_000] * 5 + [2_560_000] * 2)
    assert spread > MOST_SPREAD


def test_a_single_inference_agrees_with_itself():
    assert agreement([7]) == (7, 0)


def test_what_is_counted_is_what_there_is_in_a_runtime_on_a_cpu():
    plan = Plan(runtimes=("native", "onnxruntime==1.32.0"))
    assert plan.precisions_in("native", "cortex-a76") == ("fp32", "fp16", "int8")
    assert plan.precisions_in("native", "cortex-a72") == ("fp32", "int8")
    assert plan.precisions_in("onnxruntime==1.32.0", "cortex-a76") == ("fp32", "int8")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"runtimes": ("native",)}, "cortex-a72 does not compute in fp16"),
        ({"runtimes": ("litert", "native"), "cpus": ("cortex-a76",)}, "litert has none"),
    ],
)
def test_a_precision_by_its_name_must_be_had_everywhere(fields, told):
    with pytest.raises(UsageError, match=told):
        Plan(precisions=("fp32", "fp16"), **fields)


def test_a_mistake_in_the_plan_starts_no_board(monkeypatch, tmp_path):
    """The boards' threads wait for a first file, and end when there will never be one."""
    monkeypatch.setenv(fleet.STATE_VARIABLE, str(tmp_path / "state"))
    told = []
    with pytest.raises(UsageError, match="did you mean"):
        count(Plan(models=("shuflenet",)), out=tmp_path, keep_boards=False, on_stage=told.append)
    assert told == ["exporting shuflenet fp32 for onnxruntime"]
    assert not board.names()
