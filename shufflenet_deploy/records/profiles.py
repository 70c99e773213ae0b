"""Profiles: per-operator samples of a runtime's own profiler, attributed to layers."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from shufflenet_deploy.bounded import Size, Span, Text
from shufflenet_deploy.records.basics import Record


class LayerKind(StrEnum):
    """Kind of a layer, as far as its cost is concerned."""

    CONVOLUTION = "convolution"
    POINTWISE = "1x1 convolution"
    DEPTHWISE = "depthwise"
    SHUFFLE = "shuffle"
    POOL = "pool"
    JOIN = "add, concat"
    DENSE = "fully connected"
    OTHER = "other"


class LayerWork(Record):
    """One layer of a network, with the multiply-adds that the paper counts of it."""

    name: Text
    kind: LayerKind
    multiply_adds: Size


class OperatorTiming(Record):
    """One operator that a runtime executed, in every profiled inference, in ``Metric.unit``.

    ``layer`` is the layer of the network it does the work of; None where the runtime added it
    between layers (another memory layout, another number format) or the file names no layers.
    """

    name: Text
    operator: Text
    layer: Text | None = None
    samples: tuple[Span, ...] = Field(min_length=1)


class Profile(Record):
    """Per-operator timings by the runtime's own profiler, in a process of their own.

    ``inference`` is the runtime's own figure for each whole inference, in ``Metric.unit``;
    ``operators`` stand in the order in which they ran. ``layers`` are those of the network, empty
    where they cannot be derived from the file's names.
    """

    method: Text
    inference: tuple[Span, ...] = Field(min_length=1)
    operators: tuple[OperatorTiming, ...]
    layers: tuple[LayerWork, ...] = ()
