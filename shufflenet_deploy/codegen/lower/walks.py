"""Loop nests over the elements of values, whatever their layout: what all lowerings of walks share.

Where the axes of a value lie is said by the layouts: ``fp.axes`` and ``int8.axes``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import mul

import numpy as np

from shufflenet_deploy.codegen.ir.element_ops import ORIGIN, Loop, Walk
from shufflenet_deploy.codegen.ir.op import Step
from shufflenet_deploy.network.graph import PadMode
from shufflenet_deploy.network.resampling import Indices

Shape = tuple[int, ...]
Steps = tuple[Step, ...]

#: The steps of channels, rows and columns.
CHANNEL, ROW, COLUMN = MAP = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


def times(step: Step, count: int) -> Step:
    """A step made ``count`` times."""
    return step[0] * count, step[1] * count, step[2] * count


def row_major(shape: Sequence[int], along: Step) -> Steps:
    """The step of each axis of elements in the order of a C array, which are ``along`` apart."""
    sizes = accumulate(reversed(shape[1:]), mul, initial=1)
    return tuple(times(along, size) for size in reversed(list(sizes)))[: len(shape)]


def broadcast(steps: Sequence[Step], shape: Shape, to: Shape) -> Steps:
    """The steps of an operand along the axes of ``to``; none where it is repeated."""
    known = (ORIGIN if size == 1 else step for size, step in zip(shape, steps, strict=True))
    return (*(ORIGIN,) * (len(to) - len(shape)), *known)


def common_shape(one: Shape, two: Shape) -> Shape | None:
    """The shape whose axes, joined, are those of two shapes of equal size.

    Axes of one element are left out. Of (6, 4) and (2, 12) it is (2, 3, 4); (2, 3) and (3, 2)
    have none.
    """
    found: list[int] = []
    left, right = ([size for size in reversed(shape) if size > 1] for shape in (one, two))
    while left and right:
        a, b = left.pop(), right.pop()
        size = min(a, b)
        if a % size or b % size:
            return None
        found.append(size)
        left += [a // size] * (a > size)
        right += [b // size] * (b > size)
    return tuple(found)


def split(steps: Sequence[Step], shape: Shape, finer: Shape) -> Steps:
    """The steps of the axes of ``finer``, whose axes, joined, are those of ``shape``."""
    found: list[Step] = []
    for size, step in zip(shape, steps, strict=True):
        inside = size
        while inside > 1:
            inside //= finer[len(found)]
            found.append(times(step, inside))
    return tuple(found)


def walk(
    counts: Sequence[int], *steps: Sequence[Step], starts: Sequence[Step] | None = None
) -> Walk:
    """Nested loops of so many elements each; ``steps`` are those of each view, loop by loop."""
    return Walk(
        starts=tuple(starts or (ORIGIN,) * len(steps)),
        loops=tuple(
            Loop(count=count, steps=each)
            for count, each in zip(counts, zip(*steps, strict=True), strict=True)
        ),
    )


def blocks(deep: Shape, wide: Shape, block: int) -> tuple[Shape, Steps, Steps]:
    """The loops of a pixel shuffle: their counts, and their steps in its deep and wide maps.

    They go over channels, rows, rows of a block, columns, and columns of a block.
    """
    counts = (wide[0], deep[1], block, deep[2], block)
    in_deep = (times(CHANNEL, block**2), ROW, times(CHANNEL, block), COLUMN, CHANNEL)
    in_wide = (CHANNEL, times(ROW, block), ROW, times(COLUMN, block), COLUMN)
    return counts, in_deep, in_wide


def padded(size: int, before: int, after: int, mode: PadMode) -> Indices:
    """The old pixel of each new one along an axis; -1 is outside."""
    at = np.arange(-before, size + after)
    if mode is PadMode.CONSTANT:
        return np.where((at >= 0) & (at < size), at, -1)
    if mode is PadMode.REPLICATE:
        return np.clip(at, 0, size - 1)
    mirrored: Indices = (size - 1) - np.abs((size - 1) - np.abs(at))
    return mirrored
