"""An int8 convolution as the tiles of every machine see it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ConvSpec:
    """Where a convolution reads and stores; all distances are in bytes.

    ``rows`` are where the contiguous runs of ``run`` bytes of inputs begin, relative to a pixel.
    Outputs come in ``groups`` of ``outputs``; the inputs of a group begin ``group_step`` behind
    those of the one before. ``x`` is what is read, ``y`` the result, ``r`` what is added to it.
    ``room`` is how many bytes behind the last output may be overwritten.
    """

    rows: tuple[int, ...]
    run: int
    groups: int
    outputs: int
    group_step: int
    height: int
    width: int
    x_pixel: int
    x_row: int
    y_pixel: int
    y_row: int
    r_pixel: int = 0
    r_row: int = 0
    overwrite_slack: int = 0
