"""Which product a NEON convolution multiplies by, and in what order its weights are packed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shufflenet_deploy.codegen.emit.neon.int8_packing import pack_weights
from shufflenet_deploy.codegen.schedule.neon_int8_blocking import (
    Epilogue,
    NeonConvSpec,
    Product,
    Tiling,
    choose_tiling,
)
from shufflenet_deploy.codegen.schedule.neon_matrix_blocking import (
    MatrixInputs,
    MatrixModel,
    choose_matrix_blocking,
)
from shufflenet_deploy.codegen.schedule.partition import Blocking, blocking_cost

INPUTS = MatrixInputs(rows=1, run=80, pixel_bytes=240)


def spec(inputs=80, outputs=20, width=28, groups=3, **fields):
    whole = 16 * -(-inputs * groups // 16)
    shape = {
        "rows": (0,),
        "run": inputs,
        "groups": groups,
        "outputs": outputs,
        "group_step": inputs,
        "height": 7,
        "width": width,
        "x_pixel": whole,
        "x_row": width * whole,
        "y_pixel": 64,
        "y_row": width * 64,
        "epilogue": Epilogue(shift=3),
    }
    return NeonConvSpec(**(shape | fields))


def chosen(given, *, matrix_product=True):
    return choose_tiling(given, dot_product=True, matrix_product=matrix_product)


@pytest.mark.parametrize(
    ("given", "product"),
    [
        (spec(), Product.MATRIX),
        (spec(inputs=8, outputs=64, groups=1), Product.MATRIX),
        (spec(inputs=4, outputs=8, groups=1), Product.DOT),
        (spec(inputs=480, outputs=1000, groups=1, width=1, height=1), Product.DOT),
        (spec(epilogue=Epilogue(float_output=True)), Product.DOT),
    ],
)
def test_the_product_of_fewer_instructions(given, product):
    assert chosen(given).product is product
    assert chosen(given, matrix_product=False).product is Product.DOT


def test_every_output_and_pixel_is_in_one_block():
    for outputs, width in ((20, 28), (10, 7), (27, 49), (7, 3)):
        tiling = chosen(spec(outputs=outputs, width=width))
        assert tiling.product is Product.MATRIX
        assert sum(tiling.cut.outputs) == -(-outputs // 2)
        assert sum(size * times for size, times in tiling.cut.pixels) == width


def test_blocks_fit_the_registers():
    model = MatrixModel(INPUTS, residual=False)
    assert model.fits(5, 8)
    assert model.fits(8, 6)
    assert not model.fits(6, 8)
    assert not model.fits(9, 6)


def test_a_pixel_alone_costs_less_than_two():
    model = MatrixModel(INPUTS, residual=True)
    assert model.cost(4, 2) < model.cost(4, 3) < model.cost(4, 4)
    cut = Blocking(outputs=(4, 4), pixels=((4, 2), (1, 1)))
    assert blocking_cost(model, cut) == 2 * (2 * model.cost(4, 4) + model.cost(4, 1))


def test_loads_of_two_pixels():
    def loads(run, pixel_bytes, rows=1):
        return MatrixInputs(rows=rows, run=run, pixel_bytes=pixel_bytes).loads

    assert [loads(run, 64) for run in (3, 8, 9, 16, 20)] == [3, 3, 4, 4, 7]
    assert [loads(run, 8) for run in (3, 8, 12)] == [1, 1, 2]
    # The first layer's windows: a vector and a half of each row, and one pair of halves.
    assert loads(12, 8, rows=3) == 7
    assert loads(12, 16, rows=3) == 3 * 3 + 3 * 3 + 1


def test_ends_of_runs_share_steps():
    def steps(run, rows):
        return MatrixInputs(rows=rows, run=run, pixel_bytes=64).steps

    assert [steps(12, rows) for rows in (1, 2, 3, 9)] == [2, 3, 5, 14]
    assert [steps(run, 3) for run in (4, 5, 8, 9, 13)] == [2, 3, 3, 5, 6]


@pytest.mark.parametrize("pixels", [1, 13, 14, 49])
def test_inputs_of_many_blocks_are_packed_once(pixels):
    inputs = MatrixInputs(rows=1, run=20, pixel_bytes=64)
    many = choose_matrix_blocking(inputs, 40, pixels, residual=True, may_pack=True)
    few = choose_matrix_blocking(inputs, 4, pixels, residual=True, may_pack=True)
    assert (many.packed, few.packed) == (pixels > 1, False)
    assert sum(size * times for size, times in many.cut.pixels) == pixels
    # Only the last block of a packed row may have an odd number of pixels.
    sizes = [size for size, times in many.cut.pixels for _ in range(times)]
    assert not many.packed or not any(size % 2 for size in sizes[:-1])
    assert not choose_matrix_blocking(inputs, 40, pixels, residual=True, may_pack=False).packed


def test_weights_are_packed_by_steps_of_eight_inputs():
    given = spec(inputs=10, outputs=3, groups=1)
    weight = np.arange(1, 31, dtype=np.int8).reshape(3, 1, 10)
    bias, multiplier = np.array([5, 6, 7], np.int32), np.array([8, 9, 10], np.int32)
    tiling = Tiling(product=Product.MATRIX, cut=Blocking(outputs=(2,), pixels=((2, 14),)))
    packed, ends = pack_weights(given, weight, bias, multiplier, tiling)
    steps = packed.reshape(2, 2, 2, 8)  # (step, pair, output of it, input)
    assert np.array_equal(steps[0, 0], weight[:2, 0, :8])
    assert np.array_equal(steps[0, 1], [weight[2, 0, :8], np.zeros(8)])
    assert np.array_equal(steps[1, 0, :, :2], weight[:2, 0, 8:])
    assert not steps[1, :, :, 2:].any()
    assert ends.tolist() == [5, 6, 5, 6, 7, 0, 7, 0, 8, 9, 8, 9, 10, 0, 10, 0]


def test_ends_of_rows_are_packed_two_to_a_step():
    given = spec(inputs=12, outputs=2, groups=1, rows=(0, 100, 200), x_pixel=8)
    weight = np.arange(1, 73, dtype=np.int8).reshape(2, 3, 12)
    tiling = Tiling(product=Product.MATRIX, cut=Blocking(outputs=(1,), pixels=((2, 14),)))
    zeros = np.zeros(2, np.int32)
    packed, _ = pack_weights(given, weight, zeros, zeros, tiling)
    steps = packed.reshape(5, 2, 8)  # (step, output, input)
    assert np.array_equal(steps[:3], weight[:, :, :8].transpose(1, 0, 2))
    assert np.array_equal(steps[3], np.concatenate([weight[:, 0, 8:], weight[:, 1, 8:]], axis=1))
    assert np.array_equal(steps[4, :, :4], weight[:, 2, 8:])
    assert not steps[4, :, 4:].any()


def test_the_cheapest_does_not_depend_on_the_group_count():
    assert chosen(spec()).cut == chosen(replace(spec(), groups=1)).cut
