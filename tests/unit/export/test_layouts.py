"""Orders of axes: the same tensor read as a permuted or reshaped value."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from shufflenet_deploy.export.tflite.layouts import permuted, reshaped, usual_order


def test_only_maps_have_their_channels_last():
    assert [usual_order(rank) for rank in range(5)] == [
        (),
        (0,),
        (0, 1),
        (1, 2, 0),
        (0, 1, 2, 3),
    ]


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_a_permuted_value_is_the_same_tensor(order, axes):
    value = np.arange(24).reshape(2, 3, 4)
    tensor = value.transpose(order)
    moved = value.transpose(axes)
    assert (moved.transpose(permuted(order, axes)) == tensor).all()


SHAPES = [
    ((2, 3, 4), (2, 12)),
    ((2, 3, 4), (6, 4)),
    ((2, 3, 4), (24,)),
    ((2, 3, 4), (3, 2, 4)),
    ((4, 1, 1), (4,)),
    ((4, 6), (2, 2, 3, 2)),
    ((1, 6, 4), (6, 4, 1)),
    ((2, 12), (2, 3, 4)),
    ((4, 6), (1, 1, 4, 6)),
    ((1, 1), ()),
    ((), (1, 1)),
    ((2, 1, 3), (1, 2, 3, 1)),
]


@pytest.mark.parametrize(("old", "new"), SHAPES)
def test_a_reshaped_value_is_the_same_tensor_or_must_be_moved(old, new):
    value = np.arange(int(np.prod(old))).reshape(old)
    wanted = value.reshape(new)
    for order in permutations(range(len(old))):
        flat = value.transpose(order).ravel()
        found = reshaped(old, new, order)
        fits = [
            o for o in permutations(range(len(new))) if (wanted.transpose(o).ravel() == flat).all()
        ]
        assert (found in fits) if fits else (found is None)
