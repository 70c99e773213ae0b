"""A first convolution over blocks of columns computes what it computed over single ones."""

import numpy as np
import pytest
import torch

from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.graph import Conv
from shufflenet_deploy.network.passes.width_to_depth import fold_columns


@pytest.mark.parametrize("columns", [2, 4, 8])
@pytest.mark.parametrize(
    ("kernel", "step", "padding"), [(3, 2, 1), (3, 1, 1), (7, 2, 3), (1, 2, 0)]
)
def test_blocks_of_columns_compute_the_same(columns, kernel, step, padding):
    generator = np.random.default_rng(columns * kernel)
    before, after = padding, kernel - step - padding
    conv = Conv(
        name="stem",
        inputs=("input",),
        output="stem",
        weight=generator.standard_normal((5, 3, kernel, kernel), np.float32),
        bias=generator.standard_normal(5, np.float32),
        stride=(step, step),
        padding=(before, before, max(0, after), max(0, after)),
    )
    image = torch.from_numpy(generator.standard_normal((1, 3, 9, 16), np.float32))
    wanted = interpreter.compute(conv, [image]).numpy()
    wide, (left, right) = fold_columns(conv, columns)
    assert wide.padding[1::2] == (left, right)
    blocks = image.reshape(1, 3, 9, 16 // columns, columns).permute(0, 1, 4, 2, 3)
    got = interpreter.compute(wide, [blocks.reshape(1, 3 * columns, 9, 16 // columns)]).numpy()
    many = columns // step
    got = got.reshape(1, many, 5, got.shape[2], got.shape[3]).transpose(0, 2, 3, 4, 1)
    np.testing.assert_allclose(got.reshape(wanted.shape), wanted, atol=1e-4)
