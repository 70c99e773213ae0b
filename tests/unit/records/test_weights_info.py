"""Origin of weights: stored as fields, and read from the display text of older records."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from shufflenet_deploy.records import WeightsInfo, WeightsKind

SEEDED = {"sha256": "0" * 64, "layout": "none", "trained": False}
LOADED = {"sha256": "0" * 64, "layout": "megvii", "trained": True}


def test_seeded_weights_keep_their_seed():
    made = WeightsInfo.seeded(7, sha256="0" * 64)
    assert (made.kind, made.seed, made.path, made.trained) == (WeightsKind.SEEDED, 7, None, False)
    assert made.source == "untrained (seed 7): latency only"
    assert WeightsInfo.model_validate_json(made.model_dump_json()) == made


def test_weights_of_a_checkpoint_keep_its_path():
    made = WeightsInfo.checkpoint("/data/untrained (seed 3).pth", sha256="1", layout="megvii")
    assert (made.kind, made.seed, made.trained) == (WeightsKind.CHECKPOINT, None, True)
    assert made.path == made.source == "/data/untrained (seed 3).pth"
    assert WeightsInfo.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    ("stored", "kind", "seed", "path"),
    [
        ({**SEEDED, "source": "untrained (seed 7): latency only"}, "seeded", 7, None),
        ({**SEEDED, "source": "untrained (seed -2): latency only"}, "seeded", -2, None),
        ({**SEEDED, "source": "something else"}, "seeded", None, None),
        ({**SEEDED, "source": f"untrained (seed {'9' * 40}): x"}, "seeded", None, None),
        ({**LOADED, "source": "w.pth"}, "checkpoint", None, "w.pth"),
        ({**LOADED, "source": "untrained (seed 1)"}, "checkpoint", None, "untrained (seed 1)"),
    ],
)
def test_records_without_these_fields_are_read(stored, kind, seed, path):
    found = WeightsInfo.model_validate(stored)
    assert (found.kind, found.seed, found.path) == (kind, seed, path)
    assert found.source == stored["source"]


@pytest.mark.parametrize("source", [None, 3, ["untrained (seed 1)"]])
def test_a_source_that_is_no_text_is_an_error_of_that_field(source):
    with pytest.raises(ValidationError, match="source"):
        WeightsInfo.model_validate({**SEEDED, "source": source})
