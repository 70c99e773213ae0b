"""Explanation of a failed validation: limits, top-1 agreement, and the fix where known."""

from __future__ import annotations

from typing import Any

import pytest

from shufflenet_deploy.export.image_set import SHIPPED_SOURCE
from shufflenet_deploy.export.parity import unusable
from shufflenet_deploy.export.shortfall import predicts, reasons
from shufflenet_deploy.records import Parity


def parity(**changes: Any) -> Parity:
    figures = {
        "inputs": 12, "max_abs_diff": 0.4, "sqnr_db": 7.2, "cosine": 0.99, "top1_agreement": 1.0,
        "passed": False, "reason": "SQNR 7.2, minimum 10", **changes,
    }  # fmt: skip
    return Parity(**figures)


def test_a_file_that_agrees_is_not_called_wrong() -> None:
    explanation = reasons(parity())
    assert explanation == (
        "SQNR 7.2, minimum 10; it predicts the same class as PyTorch for 100% of 12 images"
    )


@pytest.mark.parametrize(
    ("calibrated", "cure"),
    [
        ((SHIPPED_SOURCE, 16), "calibrated with the shipped photographs: give --calib"),
        (("mine", 3), "calibrated with 3 images: give --calib"),
        (("mine", 1), "calibrated with 1 image: give --calib"),
    ],
)
def test_own_images_are_the_cure(calibrated: tuple[str, int], cure: str) -> None:
    assert cure in reasons(parity(), calibrated=calibrated)


def test_there_is_no_cure_where_enough_own_images_did_not_help() -> None:
    assert "--calib" not in reasons(parity(), calibrated=("mine", 100))


def test_a_file_without_scores_predicts_nothing() -> None:
    assert predicts(unusable(8, "it cannot be loaded")) == ""
    assert reasons(unusable(8, "it cannot be loaded")) == "it cannot be loaded"
