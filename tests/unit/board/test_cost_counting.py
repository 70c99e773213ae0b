"""What counts as one figure, of the instruction counts of several inferences."""

from __future__ import annotations

import pytest

from shufflenet_deploy.cost.counting import MOST_SPREAD, agreement


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
