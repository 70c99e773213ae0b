"""Predictions: validity, top-k counts, cache, thresholds, confidence intervals of proportions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shufflenet_deploy.accuracy.evaluate import contingency_table, top_k_counts
from shufflenet_deploy.accuracy.prediction_cache import Prediction, PredictionCache
from shufflenet_deploy.accuracy.thresholds import Threshold
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.stats.proportions import mcnemar, wilson

FACTS = {"file": "0" * 64}


def answer(*classes: int) -> Prediction:
    return Prediction(classes=classes)


def test_the_best_five_classes_best_first() -> None:
    scores = np.float32([0, 5, 1, 4, 2, 3, -1])
    assert Prediction.of(scores) == answer(1, 3, 5, 4, 2)


def test_of_equal_scores_the_lower_class_wins_and_it_is_told() -> None:
    assert Prediction.of(np.float32([1, 3, 3])) == Prediction(classes=(1, 2, 0), tied=True)
    assert not Prediction.of(np.float32([1, 1, 3])).tied


def test_scores_that_are_no_numbers_are_no_answer() -> None:
    broken = Prediction.of(np.float32([1, np.nan, 3]))
    assert broken == answer()
    assert top_k_counts([2], [broken]).top1 == 0
    assert contingency_table([2], [broken], [broken]).same_class == 0


def test_counting() -> None:
    module = [answer(0, 1), answer(1, 0), answer(2, 1), answer(2, 0)]
    file = [answer(0, 1), answer(0, 1), answer(1, 2), answer(2, 0)]
    labels = [0, 1, 1, 0]
    assert top_k_counts(labels, file).model_dump() == {
        "pictures": 4,
        "top1": 2,
        "top5": 4,
        "tied": 0,
    }
    assert contingency_table(labels, module, file).model_dump() == {
        "both_right": 1,
        "only_module_right": 1,
        "only_file_right": 1,
        "both_wrong": 1,
        "same_class": 2,
    }


def test_answers_are_kept_and_a_torn_line_is_not_missed(tmp_path: Path) -> None:
    first = PredictionCache(tmp_path, FACTS)
    first.add({"a": Prediction(classes=(3, 1), tied=True), "b": answer()})
    with first.path.open("a") as stream:
        stream.write('\n{"c":[0,1')
    again = PredictionCache(tmp_path, FACTS)
    assert again["a"] == Prediction(classes=(3, 1), tied=True)
    assert again["b"] == answer()
    assert "c" not in again
    again.add({"c": answer(7)})
    assert PredictionCache(tmp_path, FACTS)["c"] == answer(7)


def test_answers_are_those_of_one_network_only(tmp_path: Path) -> None:
    PredictionCache(tmp_path, FACTS).add({"a": answer(1)})
    assert "a" not in PredictionCache(tmp_path, {"file": "1" * 64})
    assert "a" not in PredictionCache(tmp_path, FACTS, fresh=True)
    assert "a" not in PredictionCache(tmp_path, FACTS)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_is_that_of_the_literature(
    successes: int, trials: int, low: float, high: float
) -> None:
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(0, 60_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share(counts: tuple[int, int]) -> None:
    low, high = wilson(*counts)
    assert 0 <= low <= high <= 1
    if counts[1]:
        assert low <= counts[0] / counts[1] <= high


def test_mcnemar_is_a_binomial_test() -> None:
    assert mcnemar(0, 0) == 1
    assert mcnemar(5, 5) == 1
    assert mcnemar(0, 5) == pytest.approx(2 / 32)
    assert mcnemar(8, 1) == mcnemar(1, 8) == pytest.approx(2 * (1 + 9) / 512)


def test_mcnemar_of_many_images_is_as_the_exact_one_and_takes_no_time() -> None:
    assert mcnemar(5_101, 4_900) == pytest.approx(mcnemar(5_100, 4_900), rel=0.05)
    assert mcnemar(10**9, 10**9) == 1
    assert mcnemar(10**9, 0) == 0
    assert mcnemar(3000, 2000) < 1e-40


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("top1", "is no threshold"),
        ("top2=5", "is no threshold"),
        ("top1=a", "is no threshold"),
        ("top1=101", "is no threshold"),
        ("top1=0.55", "write top1=55"),
    ],
)
def test_floors_that_are_none(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Threshold.parse(text)


def test_floors_are_percent() -> None:
    assert Threshold.parse("top1=55") == Threshold.parse(" top1 = 55% ")
    assert Threshold.parse("top5=0.5%").percent == 0.5
