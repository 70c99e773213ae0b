"""Strides of the axes of values, and the shapes that two values share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import mul

from shufflenet_deploy.codegen.ir.map_ops import Strides
from shufflenet_deploy.codegen.ir.planar import PlanarView

Shape = tuple[int, ...]


def row_major(shape: Sequence[int]) -> Strides:
    """The strides of elements in order."""
    sizes = accumulate(reversed(shape[1:]), mul, initial=1)
    return tuple(reversed(list(sizes)))[-len(shape) :] if shape else ()


def strides_of(view: PlanarView, shape: Shape) -> Strides:
    """The strides of a value's axes in its buffer; its channels are consecutive planes."""
    if len(shape) == 3:
        return view.layout.channel_stride, view.layout.row_stride, 1
    return row_major(shape)


def is_dense(view: PlanarView, shape: Shape) -> bool:
    """True if the elements lie in order, without gaps."""
    pairs = zip(shape, strides_of(view, shape), row_major(shape), strict=True)
    return all(size == 1 or one == two for size, one, two in pairs)


def broadcast(strides: Strides, shape: Shape, to: Shape) -> Strides:
    """The strides of an operand along the axes of ``to``: 0 where it has one element, or none."""
    aligned = [0] * (len(to) - len(shape))
    return (
        *aligned,
        *(0 if size == 1 else stride for size, stride in zip(shape, strides, strict=True)),
    )


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


def split_strides(strides: Strides, shape: Shape, finer: Shape) -> Strides:
    """The strides of the axes of ``finer``, whose axes, joined, are those of ``shape``."""
    found: list[int] = []
    for size, stride in zip(shape, strides, strict=True):
        inside = size
        while inside > 1:
            inside //= finer[len(found)]
            found.append(stride * inside)
    return tuple(found)
