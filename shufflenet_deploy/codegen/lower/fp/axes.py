"""Where the axes of values lie in planar views: maps in their planes, all others in order."""

from __future__ import annotations

from collections.abc import Sequence

from shufflenet_deploy.codegen.ir.planar import PlanarView
from shufflenet_deploy.codegen.lower.walks import COLUMN, MAP, Shape, Steps, row_major


def axis_steps(shape: Sequence[int]) -> Steps:
    """The step of each axis of a value; the channels of a map are consecutive planes."""
    return MAP if len(shape) == len(MAP) else in_order(shape)


def in_order(shape: Sequence[int]) -> Steps:
    """The step of each axis where the elements lie in order, without gaps."""
    return row_major(shape, COLUMN)


def is_dense(view: PlanarView, shape: Shape) -> bool:
    """True if the elements of a value lie in order, without gaps."""
    pairs = zip(shape, axis_steps(shape), in_order(shape), strict=True)
    return all(size == 1 or view.distance(one) == view.distance(two) for size, one, two in pairs)
