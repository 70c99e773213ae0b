"""Width-to-depth: the first convolution with several columns of the image as channels.

Three channels are too few for kernels that copy or multiply whole vectors of channels. A block of
columns as one pixel of more channels gives the same numbers with some multiplications by zero.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from shufflenet_deploy.network.graph import Conv, Pair


def fold_columns(conv: Conv, columns: int) -> tuple[Conv, Pair]:
    """The convolution over blocks of ``columns`` columns, and its blocks of padding left and right.

    Input channel ``c * columns + p`` is channel ``c`` of column ``p`` of a block; output channel
    ``q * outputs + o`` is channel ``o`` of column ``q`` of a block of outputs.
    """
    outputs, channels, height, width = conv.weight.shape
    step, left = conv.stride[1], conv.padding[1]
    many = columns // step
    # Column by column of the first output block: how far its window reaches.
    first, last = -left, (many - 1) * step - left + width - 1
    before, after = -(first // columns), last // columns
    weight = np.zeros((many, outputs, channels, columns, height, before + 1 + after), np.float32)
    for output in range(many):
        for x in range(width):
            block, column = divmod(output * step - left + x, columns)
            weight[output, :, :, column, :, block + before] = conv.weight[..., x]
    wide = replace(
        conv,
        weight=weight.reshape(many * outputs, channels * columns, height, -1),
        bias=np.tile(conv.bias, many),
        stride=(conv.stride[0], 1),
        padding=(conv.padding[0], before, conv.padding[2], after),
    )
    return wide, (before, after)
