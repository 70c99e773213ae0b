"""Steps along the axes of values, and the loops over them."""

from __future__ import annotations

import numpy as np
import pytest

from shufflenet_deploy.codegen.emit.c.loops import merged
from shufflenet_deploy.codegen.lower.walks import (
    COLUMN,
    MAP,
    broadcast,
    common_shape,
    row_major,
    split,
)


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (4, 1, 7), (2, 3, 4, 5)])
def test_row_major_steps_are_the_strides_of_numpy(shape):
    found = row_major(shape, COLUMN)
    strides = np.zeros(shape, np.float32).strides
    assert found == tuple((0, 0, stride // 4) for stride in strides)


@pytest.mark.parametrize(
    ("one", "two", "common"),
    [
        ((6, 4), (2, 12), (2, 3, 4)),
        ((6, 4), (24,), (6, 4)),
        ((1, 6, 1), (3, 1, 2), (3, 2)),
        ((4, 6), (8, 3), (4, 2, 3)),
        ((2, 3), (3, 2), None),
        ((), (1, 1), ()),
    ],
)
def test_the_axes_that_two_shapes_share(one, two, common):
    assert common_shape(one, two) == common
    if common is not None:
        for shape in (one, two):
            known = row_major(shape, COLUMN)
            assert split(known, shape, common) == row_major(common, COLUMN)


def test_axes_that_are_broadcast_have_no_step():
    none = (0, 0, 0)
    assert broadcast(MAP, (3, 1, 5), (2, 3, 4, 5)) == (none, (1, 0, 0), none, (0, 0, 1))


def test_axes_in_a_row_are_one_loop():
    # A map in padded rows: rows cannot be joined, channels of one pixel are gone.
    assert merged((1, 3, 4, 5), (99, 40, 8, 1)) == ((3, 4, 5), ((40, 8, 1),))
    assert merged((3, 4, 5), (20, 5, 1), (20, 5, 1)) == ((60,), ((1,), (1,)))
    assert merged((3, 4, 5), (20, 5, 1), (1, 0, 0)) == ((3, 20), ((20, 1), (1, 0)))
