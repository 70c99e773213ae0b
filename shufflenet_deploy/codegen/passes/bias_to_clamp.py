"""Biases that become the least values of what is stored, where nothing is to be added for them.

``max(sum + b, 0)`` is ``max(sum, -b) + b``. Where every reader of a map can do without that last
``+ b``, the map is stored moved by ``-b``, channel by channel: a convolution's sums then begin as
what it adds, or as nothing, and the maximum with zero is one with ``-b``. A pointwise convolution
that reads a moved map has it in its bias, and so has one that adds to a moved map. Along a chain
of ShuffleNet units no vector of a residual sum needs an instruction for its bias.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from shufflenet_deploy.codegen.ir.planar import (
    BufferView,
    Convolution,
    FullyConnected,
    GlobalAveragePool,
    PlanarOp,
    PlanarProgram,
)
from shufflenet_deploy.network.graph import Activation, FloatArray


def run(program: PlanarProgram) -> None:
    """Replace the steps of a program that can store moved maps, and those that read them."""
    moved = _ChannelOffsets()
    steps = program.steps
    for at, step in enumerate(steps):
        free = all(_can_absorb_offset(steps, reader, at) for reader, at in _readers(steps, at))
        if isinstance(step, Convolution) and _is_pointwise(step):
            steps[at] = _rewrite_convolution(step, moved, free=free)
        elif isinstance(step, FullyConnected):
            by = moved.of(step.source)
            steps[at] = replace(step, bias=(step.bias - step.weight @ by).astype(np.float32))
            moved.put(step.target, 0.0)
        elif isinstance(step, GlobalAveragePool):
            moved.put(step.target, moved.of(step.source))
        else:
            moved.put(step.target, 0.0)


class _ChannelOffsets:
    """By how much each plane of each buffer is moved."""

    def __init__(self) -> None:
        self._by: dict[tuple[int, int], float] = {}

    def of(self, place: BufferView) -> FloatArray:
        """For each channel."""
        return np.array([self._by.get((place.buffer, plane), 0.0) for plane in place.planes])

    def put(self, place: BufferView, by: FloatArray | float) -> None:
        values = np.broadcast_to(by, len(place.planes))
        for plane, value in zip(place.planes, values, strict=True):
            self._by[place.buffer, plane] = float(value)


def _is_pointwise(step: Convolution) -> bool:
    return step.taps == (0,) and step.spread == 1


def _rewrite_convolution(step: Convolution, moved: _ChannelOffsets, *, free: bool) -> Convolution:
    out, per_group = step.weight.shape[:2]
    groups = np.arange(out) // (out // step.groups)
    read = moved.of(step.source).reshape(step.groups, per_group)[groups]
    bias = step.bias - (step.weight[:, :, 0] * read).sum(axis=1)
    for other in step.sources[1:]:
        bias = bias - moved.of(other)
    if free and step.activation is Activation.RELU:
        moved.put(step.target, -bias)
        floors = (-bias).astype(np.float32)
        none = np.zeros_like(step.bias)
        return replace(step, bias=none, floors=floors, activation=Activation.NONE)
    moved.put(step.target, 0.0)
    return replace(step, bias=bias.astype(np.float32))


def _readers(steps: list[PlanarOp], at: int) -> list[tuple[PlanarOp, int]]:
    """The steps that read what step ``at`` writes."""
    target = steps[at].target
    left, found = set(target.planes), []
    for later in range(at + 1, len(steps)):
        step = steps[later]
        if any(one.buffer == target.buffer and left & set(one.planes) for one in step.sources):
            found.append((step, later))
        if step.target.buffer == target.buffer:
            left -= set(step.target.planes)
        if not left:
            break
    return found


def _can_absorb_offset(steps: list[PlanarOp], step: PlanarOp, at: int) -> bool:
    """Whether a step can make up for what its source is moved by."""
    if isinstance(step, GlobalAveragePool):
        return all(
            _can_absorb_offset(steps, reader, later) for reader, later in _readers(steps, at)
        )
    return isinstance(step, FullyConnected) or (
        isinstance(step, Convolution) and _is_pointwise(step)
    )
