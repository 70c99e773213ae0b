"""A pool as the int8 kernels of every instruction set see it."""

from __future__ import annotations

from dataclasses import dataclass

from shufflenet_deploy.codegen.ir import ops as ir
from shufflenet_deploy.network.graph import Pair


@dataclass(frozen=True, kw_only=True)
class AverageConstants:
    """Fixed-point constants of an average; see ``ir.AveragePool``."""

    start: int
    multiplier: int
    left_shift: int = 0


@dataclass(frozen=True, kw_only=True)
class PoolSpec:
    """Max (``average`` is None) or average pool; all distances are in bytes.

    ``x`` is the first pixel of the first window, border included.
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
    overwrite_slack: int = 0


def pool_spec(step: ir.MaxPool | ir.AveragePool) -> PoolSpec:
    """The kernel's view of a pool op."""
    source, target = step.source, step.target
    average = None
    if isinstance(step, ir.AveragePool):
        average = AverageConstants(
            start=step.start, multiplier=step.multiplier, left_shift=step.left_shift
        )
    return PoolSpec(
        channels=target.channels,
        kernel=step.kernel,
        stride=step.stride,
        height=target.height,
        width=target.width,
        x_pixel=source.pixel_stride,
        x_row=source.row_stride,
        y_pixel=target.pixel_stride,
        y_row=target.row_stride,
        average=average,
        overwrite_slack=target.overwrite_slack,
    )
