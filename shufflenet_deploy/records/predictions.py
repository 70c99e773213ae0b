"""Predicted latencies: a kind of figure of their own, never to be taken for a measurement."""

from __future__ import annotations

import hashlib
import math
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field

from shufflenet_deploy.bounded import Count, Moment, Name, Size
from shufflenet_deploy.records.basics import Precision, Record, ResolutionText, RunId, Sha256

#: The kind of figure this is, in JSON and tables.
KIND = "predicted"
Nanoseconds = Annotated[float, Field(ge=0, le=1e15)]
_ID_DIGITS = 32


class TimeParts(Record):
    """The parts of a predicted time, in ns. They add up to it."""

    issue: Nanoseconds
    mispredict: Nanoseconds
    l2: Nanoseconds
    l3: Nanoseconds
    dram_bandwidth: Nanoseconds
    dram_latency: Nanoseconds
    barriers: Nanoseconds = 0.0


class LayerPrediction(Record):
    """One layer of a native program: its predicted time and what that is made of."""

    name: Name
    operator: Name
    predicted_ns: Nanoseconds
    parts: TimeParts


class Prediction(Record):
    """The predicted latency of one inference, with the interval that the truth is expected in.

    ``guessed`` are the board's figures that nobody measured; ``validated`` says that predictions
    for this core were compared with published latencies.
    """

    kind: Literal["predicted"] = "predicted"
    board: Name
    core: Name
    clock_ghz: Annotated[float, Field(gt=0, le=100)]
    model: Name
    runtime: Name
    version: Name
    precision: Precision
    resolution: ResolutionText
    threads: Count = 1
    predicted_ns: Annotated[float, Field(gt=0, le=1e15)]
    low_ns: Nanoseconds
    high_ns: Nanoseconds
    parts: TimeParts
    instructions: Size
    multiply_adds: Size
    artifact: Sha256
    guessed: tuple[Name, ...] = ()
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


class StoredPrediction(Record):
    """A prediction as a journal keeps it: beside measurements, never among them.

    The same prediction has the same ``id`` whenever it is made; its layers are not kept.
    """

    kind: Literal["prediction"] = "prediction"
    id: RunId
    at: Moment
    prediction: Prediction

    @classmethod
    def of(cls, prediction: Prediction, at: datetime) -> Self:
        """A prediction that was made at a time with a zone."""
        kept = prediction.model_copy(update={"layers": ()})
        digest = hashlib.sha256(kept.model_dump_json().encode()).hexdigest()
        return cls(id=digest[:_ID_DIGITS], at=at, prediction=kept)
