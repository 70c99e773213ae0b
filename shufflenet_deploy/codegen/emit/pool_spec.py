"""A pool as its kernels see it, on every machine."""

from __future__ import annotations

from dataclasses import dataclass

from shufflenet_deploy.codegen.ir import int8 as ir
from shufflenet_deploy.network.graph import Pair


@dataclass(frozen=True, kw_only=True)
class AverageConstants:
    """A byte of the shifted ``start + sum`` times ``factor``; see ``program.Average``."""

    start: int
    factor: int
    up: int = 0


@dataclass(frozen=True, kw_only=True)
class PoolSpec:
    """Maximum (``average`` is None) or average over windows; all distances are in bytes.

    ``x`` is given as the first pixel of the first window, border included.
    """

    channels: int
    kernel: Pair
    stride: Pair
    height: int
    width: int
    x_pixel: int
    x_row: int
    y_pixel: int
    y_row: int
    average: AverageConstants | None = None
    room: int = 0


def pool_spec(step: ir.MaxPool | ir.AveragePool) -> PoolSpec:
    """The kernel's view of a step."""
    source, target = step.source, step.target
    average = None
    if isinstance(step, ir.AveragePool):
        average = AverageConstants(start=step.start, factor=step.factor, up=step.up)
    return PoolSpec(
        channels=target.channels,
        kernel=step.kernel,
        stride=step.stride,
        height=target.height,
        width=target.width,
        x_pixel=source.pixel,
        x_row=source.row,
        y_pixel=target.pixel,
        y_row=target.row,
        average=average,
        room=target.room,
    )
