"""Predicted latencies: a kind of figure of their own, never to be taken for a measurement."""

from __future__ import annotations

import math

from shufflenet_deploy.records.basics import Precision, Record, ResolutionText

#: The kind of figure this is, in JSON and tables.
KIND = "predicted"


class TimeParts(Record):
    """The parts of a predicted time, in ns. They add up to it."""

    issue: float
    mispredict: float
    l2: float
    l3: float
    dram_bandwidth: float
    dram_latency: float
    barriers: float = 0.0


class LayerPrediction(Record):
    """One layer of a native program: its predicted time and what that is made of."""

    name: str
    operator: str
    predicted_ns: float
    parts: TimeParts


class Prediction(Record):
    """The predicted latency of one inference, with the interval that the truth is expected in.

    ``guessed`` are the board's figures that nobody measured; ``validated`` says that predictions
    for this core were compared with published latencies.
    """

    kind: str = KIND
    board: str
    core: str
    clock_ghz: float
    model: str
    runtime: str
    version: str
    precision: Precision
    resolution: ResolutionText
    threads: int = 1
    predicted_ns: float
    low_ns: float
    high_ns: float
    parts: TimeParts
    instructions: int
    multiply_adds: int
    artifact: str
    guessed: tuple[str, ...] = ()
    validated: bool
    layers: tuple[LayerPrediction, ...] = ()

    @property
    def relative(self) -> float:
        """The larger half-width of the interval over the prediction."""
        return max(self.high_ns - self.predicted_ns, self.predicted_ns - self.low_ns) / (
            self.predicted_ns
        )

    def speedup(self, baseline: Prediction) -> tuple[float, float]:
        """The speedup over another, and the relative half-width of that."""
        ratio = baseline.predicted_ns / self.predicted_ns
        return ratio, math.hypot(self.relative, baseline.relative)
