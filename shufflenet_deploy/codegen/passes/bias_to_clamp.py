"""Bias-to-clamp: fold biases into the lower bound of a ReLU.

``max(sum + b, 0)`` is ``max(sum, -b) + b``. Where every reader can absorb that last ``+ b``, the
map is stored offset by ``-b`` per channel: accumulators start from the residual, or from nothing,
and the clamp at zero becomes one at ``-b``. Pointwise convolutions that read an offset map have it
in their bias, and so do those that add to one. Along a chain of ShuffleNet units no residual
addition needs an instruction for its bias.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.ir.op import Op
from shufflenet_deploy.codegen.ir.ops import (
    Clamp,
    Convolution,
    FpConvolution,
    FullyConnected,
    GlobalAveragePool,
)
from shufflenet_deploy.codegen.ir.planar import PlanarProgram, PlanarView
from shufflenet_deploy.network.graph import Activation, FloatArray


def run(program: PlanarProgram, cpu: CpuTarget) -> None:
    """Rewrite the ops of a program that can store offset maps, and those that read them.

    Only on targets with multiply-add by lane: elsewhere a bias costs no instruction.
    """
    if not cpu.fma_by_lane:
        return
    moved = _ChannelOffsets()
    ops = program.ops
    for at, op in enumerate(ops):
        free = all(_can_absorb_offset(ops, reader, at) for reader, at in _readers(ops, at))
        if isinstance(op, Convolution) and _is_pointwise(op):
            ops[at] = _rewrite_convolution(op, moved, free=free)
        elif isinstance(op, FullyConnected):
            by = moved.of(op.source)
            ops[at] = replace(op, bias=(op.bias - op.weight @ by).astype(np.float32))
            moved.put(op.target, 0.0)
        elif isinstance(op, GlobalAveragePool):
            moved.put(op.target, moved.of(op.source))
        else:
            moved.put(op.target, 0.0)


class _ChannelOffsets:
    """The offset of each plane of each buffer."""

    def __init__(self) -> None:
        self._by: dict[tuple[int, int], float] = {}

    def of(self, view: PlanarView) -> FloatArray:
        """Offsets per channel of a view."""
        return np.array([self._by.get((view.buffer, plane), 0.0) for plane in view.planes])

    def put(self, view: PlanarView, by: FloatArray | float) -> None:
        values = np.broadcast_to(by, len(view.planes))
        for plane, value in zip(view.planes, values, strict=True):
            self._by[view.buffer, plane] = float(value)


def _is_pointwise(op: FpConvolution) -> bool:
    return op.window.taps == (0,) and op.window.planes_per_channel == 1


def _rewrite_convolution(op: FpConvolution, moved: _ChannelOffsets, *, free: bool) -> FpConvolution:
    out, per_group = op.weight.shape[:2]
    groups = np.arange(out) // (out // op.groups)
    read = moved.of(op.source).reshape(op.groups, per_group)[groups]
    bias = op.bias - (op.weight[:, :, 0] * read).sum(axis=1)
    for other in op.sources[1:]:
        bias = bias - moved.of(other)
    if free and op.epilogue.activation is Activation.RELU:
        moved.put(op.target, -bias)
        clamp_min = (-bias).astype(np.float32)
        none = np.zeros_like(op.bias)
        epilogue = Clamp(activation=Activation.NONE, clamp_min=clamp_min)
        return replace(op, bias=none, epilogue=epilogue)
    moved.put(op.target, 0.0)
    return replace(op, bias=bias.astype(np.float32))


def _readers(ops: list[Op[PlanarView]], at: int) -> list[tuple[Op[PlanarView], int]]:
    """The ops that read what op ``at`` writes."""
    target = ops[at].target
    left, found = set(target.planes), []
    for later in range(at + 1, len(ops)):
        op = ops[later]
        if any(_overlaps(one, target, left) for one in op.sources):
            found.append((op, later))
        if op.target.buffer == target.buffer and _same_planes(op.target, target):
            left -= set(op.target.planes)
        if not left:
            break
    return found


def _overlaps(one: PlanarView, target: PlanarView, planes: set[int]) -> bool:
    """True if a view has any of the ``planes`` of a target, or lies over them in other planes."""
    if one.buffer != target.buffer:
        return False
    return not _same_planes(one, target) or not planes.isdisjoint(one.planes)


def _same_planes(one: PlanarView, two: PlanarView) -> bool:
    return one.layout.channel_stride == two.layout.channel_stride


def _can_absorb_offset(ops: list[Op[PlanarView]], op: Op[PlanarView], at: int) -> bool:
    """True if an op can absorb the offset of its source into its bias."""
    if isinstance(op, GlobalAveragePool):
        return all(_can_absorb_offset(ops, reader, later) for reader, later in _readers(ops, at))
    return isinstance(op, FullyConnected) or (isinstance(op, Convolution) and _is_pointwise(op))
