"""A pool as its kernels see it, on every machine."""

from __future__ import annotations

from dataclasses import dataclass

from shufflenet_deploy.export.graph import Pair
from shufflenet_deploy.export.native.int8 import program as steps


@dataclass(frozen=True, kw_only=True)
class Average:
    """A byte of the shifted ``start + sum`` times ``factor``; see ``program.Average``."""

    start: int
    factor: int
    up: int = 0


@dataclass(frozen=True, kw_only=True)
class Window:
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
    average: Average | None = None
    room: int = 0


def windowed(step: steps.Maximum | steps.Average) -> Window:
    """The kernel's view of a step."""
    source, target = step.source, step.target
    average = None
    if isinstance(step, steps.Average):
        average = Average(start=step.start, factor=step.factor, up=step.up)
    return Window(
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
