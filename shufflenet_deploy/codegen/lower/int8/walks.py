"""Loop nests over the elements of values: where each logical axis lies in a view."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shufflenet_deploy.codegen.ir.elements import Loop, Step, Walk

ORIGIN: Step = (0, 0, 0)
#: Values of more axes lie flat, as vectors.
MOST_AXES = 3


def size_of(shape: Sequence[int]) -> tuple[int, int, int]:
    """Channels, height and width of a value's view."""
    if len(shape) > MOST_AXES:
        return int(np.prod(shape)), 1, 1
    channels, height, width = (*shape, 1, 1, 1)[:MOST_AXES]
    return channels, height, width


def axis_steps(shape: Sequence[int]) -> tuple[Step, ...]:
    """The step of each axis in the view of a value.

    Up to three axes are channels, rows and columns. Values of more lie flat in the order of a C
    array, as the channels of one pixel.
    """
    if len(shape) <= MOST_AXES:
        return ((1, 0, 0), (0, 1, 0), (0, 0, 1))[: len(shape)]
    return flat_steps(shape)


def flat_steps(shape: Sequence[int]) -> tuple[Step, ...]:
    """The step of each axis in a vector that has the elements in the order of a C array."""
    return tuple((int(np.prod(shape[axis + 1 :])), 0, 0) for axis in range(len(shape)))


def times(step: Step, count: int) -> Step:
    """A step made ``count`` times."""
    return step[0] * count, step[1] * count, step[2] * count


def walk(
    counts: Sequence[int], *steps: Sequence[Step], starts: Sequence[Step] | None = None
) -> Walk:
    """Nested loops of so many elements each; ``steps`` are those of each view, loop by loop."""
    loops = tuple(
        Loop(count=count, steps=each)
        for count, each in zip(counts, zip(*steps, strict=True), strict=True)
        if count != 1
    )
    # One loop is left even for a single element.
    return Walk(
        starts=tuple(starts or (ORIGIN,) * len(steps)),
        loops=loops or (Loop(count=1, steps=(ORIGIN,) * len(steps)),),
    )


def unrolled(size: tuple[int, int, int]) -> Walk:
    """The walk that makes a vector of a map, channel by channel."""
    return walk(size, axis_steps(size), flat_steps(size))
