"""An int8 convolution as the tiles of every instruction set see it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ConvSpec:
    """Addressing of a convolution; all distances are in bytes.

    ``rows`` are offsets of the contiguous runs of ``run`` input bytes, relative to a pixel. Outputs
    come in ``groups`` of ``outputs``; a group's inputs begin ``group_step`` after those of the one
    before. ``x`` is the source, ``y`` the result, ``r`` the residual. ``overwrite_slack`` bytes
    after the last output may be overwritten.
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
