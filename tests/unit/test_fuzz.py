"""A few trials of each kind of hostile input; ``python tests/fuzz`` makes as many as one likes."""

from __future__ import annotations

import kinds
import pytest
import runner

_TRIALS = 12
#: Each of these runs several commands.
_FEWER = {"import": 4, "row": 6}
#: Changed when a kind has found nothing for long.
_SEED = 19


@pytest.mark.parametrize("kind", sorted(kinds.KINDS))
def test_hostile_input_is_taken_or_refused_in_one_line(kind):
    trials = _FEWER.get(kind, _TRIALS)
    outcome = runner.run([kind], trials, _SEED)[kind]
    assert outcome.faults == []
    assert outcome.counts["accepted"] + outcome.counts["refused"] == trials
