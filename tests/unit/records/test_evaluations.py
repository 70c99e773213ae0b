"""Evaluations whose counts cannot be of one set of images are refused."""

from __future__ import annotations

import pytest
import sample_runs
from pydantic import ValidationError

from shufflenet_deploy.records import Evaluation

SOUND = sample_runs.evaluation(sample_runs.run("alexnet").artifact).model_dump(mode="json")


def test_what_eval_stores_is_read_back():
    assert Evaluation.model_validate(SOUND).pairing.pictures == 100


@pytest.mark.parametrize(
    ("part", "counts"),
    [
        ("file", {"top1": 2**53, "top5": 2**53}),
        ("file", {"top1": 99, "top5": 98}),
        ("file", {"top5": 101}),
        ("module", {"tied": 101}),
        ("module", {"pictures": 99, "top5": 99}),
        ("pairing", {"both_right": 57}),
        ("pairing", {"same_class": 101}),
        ("data", {"pictures": 10**10}),
    ],
)
def test_impossible_counts_are_refused(part, counts):
    wrong = {**SOUND, part: {**SOUND[part], **counts}}
    with pytest.raises(ValidationError, match=r"images|less than or equal"):
        Evaluation.model_validate(wrong)
