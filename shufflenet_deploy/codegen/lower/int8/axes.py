"""Where the axes of values lie in NHWC views: up to three in a map, more in a vector."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from shufflenet_deploy.codegen.ir.element_ops import Walk
from shufflenet_deploy.codegen.lower.walks import CHANNEL, MAP, Steps, row_major, walk

#: Values of more axes lie flat, as vectors.
MOST_AXES = len(MAP)


def size_of(shape: Sequence[int]) -> tuple[int, int, int]:
    """Channels, height and width of a value's view."""
    if len(shape) > MOST_AXES:
        return prod(shape), 1, 1
    channels, height, width = (*shape, 1, 1, 1)[:MOST_AXES]
    return channels, height, width


def axis_steps(shape: Sequence[int]) -> Steps:
    """The step of each axis in the view of a value.

    Up to three axes are channels, rows and columns. Values of more lie flat in the order of a C
    array, as the channels of one pixel.
    """
    return MAP[: len(shape)] if len(shape) <= MOST_AXES else flat_steps(shape)


def flat_steps(shape: Sequence[int]) -> Steps:
    """The step of each axis in a vector that has the elements in the order of a C array."""
    return row_major(shape, CHANNEL)


def unrolled(size: tuple[int, int, int]) -> Walk:
    """The walk that makes a vector of a map, channel by channel."""
    return walk(size, axis_steps(size), flat_steps(size))
