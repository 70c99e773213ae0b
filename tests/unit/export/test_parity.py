"""Parity of logits: the figures, and the tolerances of each precision."""

from __future__ import annotations

import numpy as np
import pytest

from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.export.parity import compare_logits, sqnr_db
from shufflenet_deploy.export.request import Tolerances
from shufflenet_deploy.records import Parity, Precision

LOGITS = np.array([[3.0, 4.0, 0.0]], np.float32)


def result(
    got: np.ndarray, *, precision: Precision = Precision.INT8, trained: bool = True
) -> Parity:
    return compare_logits(
        [LOGITS], [got], precision=precision, tolerances=Tolerances(), trained=trained
    )


def test_sqnr_is_signal_power_over_noise_power() -> None:
    assert sqnr_db(LOGITS, LOGITS + np.float32([[0.5, 0, 0]])) == pytest.approx(20.0)
    assert sqnr_db(LOGITS, LOGITS) == 200.0
    assert sqnr_db(LOGITS * 0, LOGITS) == -200.0


def test_figures_of_a_good_file() -> None:
    parity = result(LOGITS + np.float32([[0.5, 0, 0]]))
    assert parity.passed
    assert parity.max_abs_diff == 0.5
    assert parity.sqnr_db == pytest.approx(20.0)
    assert parity.cosine == pytest.approx((3.5 * 3 + 16) / (5 * np.hypot(3.5, 4)))
    assert parity.top1_agreement == 1.0


def test_the_worst_image_decides() -> None:
    parity = compare_logits(
        [LOGITS, LOGITS],
        [LOGITS, LOGITS + np.float32([[0, 0, 2.5]])],
        precision=Precision.INT8,
        tolerances=Tolerances(),
        trained=True,
    )
    assert parity.sqnr_db == pytest.approx(6.02, abs=0.01)
    assert not parity.passed
    assert "SQNR 6.02, minimum 10" in parity.reason


def test_agreement_counts_for_trained_weights_only() -> None:
    other_class = np.array([[3.9, 3.8, 0.0]], np.float32)
    assert result(other_class, trained=False).passed
    trained = result(other_class)
    assert not trained.passed
    assert trained.reason == "top-1 agreement 0, minimum 0.6"


def test_fp32_is_judged_relative_to_the_largest_score() -> None:
    assert result(LOGITS * np.float32(1.0001), precision=Precision.FP32).passed
    off = result(LOGITS + np.float32([[0.1, 0, 0]]), precision=Precision.FP32)
    assert "max abs diff / largest logit 0.025, limit 0.001" in off.reason


@pytest.mark.parametrize(
    ("trained", "passes", "fails", "reason"),
    [
        (True, 0.15, 0.17, "SQNR 29.4, minimum 30"),
        (False, 1.2, 1.4, "SQNR 11.1, minimum 12"),
    ],
)
def test_fp16_has_tolerances_of_its_own(
    *, trained: bool, passes: float, fails: float, reason: str
) -> None:
    def off_by(difference: float) -> Parity:
        logits = LOGITS + np.float32([[difference, 0, 0]])
        return result(logits, precision=Precision.FP16, trained=trained)

    assert off_by(passes).passed
    assert off_by(fails).reason.startswith(reason)
    assert "cosine" in off_by(5.0).reason


def test_fp16_may_change_one_class_of_eight() -> None:
    alike = [np.array([[3.0, 4.0, 3.99]], np.float32)] * 8
    changed = np.array([[3.0, 3.99, 4.0]], np.float32)

    def of(number: int, *, trained: bool = True) -> Parity:
        got = [changed] * number + alike[number:]
        return compare_logits(
            alike, got, precision=Precision.FP16, tolerances=Tolerances(), trained=trained
        )

    assert of(1).passed
    assert of(2).reason == "top-1 agreement 0.75, minimum 0.85"
    assert of(8, trained=False).passed


def test_scores_that_are_no_numbers_fail() -> None:
    parity = result(np.array([[np.nan, 1, 2]], np.float32))
    assert not parity.passed
    assert "not finite" in parity.reason


def test_another_number_of_scores_is_an_error() -> None:
    with pytest.raises(ExportError, match="gives 2 values where the model gives 3"):
        result(LOGITS[:, :2])
