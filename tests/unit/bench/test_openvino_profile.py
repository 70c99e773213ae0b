"""OpenVINO's counters hold means of all inferences; a profile is that of the timed ones."""

from __future__ import annotations

from importlib import import_module

import pytest
from agent_on_disk import agent

openvino = import_module(f"{agent.__name__}.engines.openvino")
failures = import_module(f"{agent.__name__}.failures")

#: (name, operator, kernel, mean ns) after three inferences of warm-up.
WARM = [("a", "Convolution", "jit", 100_000), ("b", "Reshape", "ref", 0)]


def test_the_warm_up_is_subtracted():
    # Three of 100 us each and six of 10 us are nine of 40 us.
    after = [("a", "Convolution", "jit", 40_000), ("b", "Reshape", "ref", 0)]
    found = openvino.summary([12_000] * 6, WARM, after)
    (operator,) = found["operators"]
    assert operator["operator"] == "Convolution (jit)"
    assert operator["ns"] == [10_000] * 6
    assert found["inference_ns"] == [12_000] * 6


def test_other_nodes_than_before_are_a_failure():
    with pytest.raises(failures.Failed, match="other operators"):
        openvino.summary([12_000], WARM, WARM[:1])
