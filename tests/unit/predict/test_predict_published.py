"""The model of cores and memory against published latencies of three networks, from kept counts.

``tests/data/prediction`` has counts of ncnn's benchmark for each core and release, which
``benchmarks/prediction --keep`` writes; that program has the other networks too.
"""

from __future__ import annotations

import gzip
import json
import statistics
from pathlib import Path

import pytest

from shufflenet_deploy.cores import core
from shufflenet_deploy.predict.counts import Counts
from shufflenet_deploy.predict.latency import Memory, predicted, timed

ROOT = Path(__file__).parents[3]
COUNTS = ROOT / "tests/data/prediction"
FIGURES = ROOT / "benchmarks/prediction/public_figures.json"


def errors(network):
    """Predicted over published minus one, by board and core."""
    chains, found = {}, {}
    for row in json.loads(FIGURES.read_text())["rows"]:
        name = f"{network}-{row['core']}-{row['ncnn_wheel']}"
        model = core(row["core"])
        if name not in chains:
            text = gzip.decompress((COUNTS / f"{name}.gz").read_bytes()).decode("ascii")
            chains[name] = timed(Counts.parse(text), model)
        memory = Memory(clock_ghz=row["ghz"], **row["memory"])
        ours = predicted(chains[name], model, memory).total_ns / 1e6
        found[row["board"], row["core"]] = ours / row["ms_min"][network] - 1
    return found


@pytest.mark.parametrize(
    ("network", "median", "largest"),
    [("shufflenet", 0.065, 0.23), ("mobilenet", 0.06, 0.28), ("alexnet", 0.08, 0.25)],
)
def test_no_change_makes_predictions_worse(network, median, largest):
    """A percent more than today. One board runs another program of AlexNet than was predicted."""
    found = errors(network)
    assert len(found) == 14
    if network == "alexnet":
        (other,) = (key for key in found if "MSM8916" in key[0])
        assert found.pop(other) > 0.5
    sizes = sorted(map(abs, found.values()))
    assert statistics.median(sizes) < median
    assert sizes[-1] < largest
