"""Packing of int8 convolution weights for NEON: the order in which microkernels stream them."""

from __future__ import annotations

from math import ceil

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.codegen.schedule.neon_int8_blocking import NeonConvSpec
from shufflenet_deploy.codegen.schedule.partition import Blocking


def pack_weights(
    spec: NeonConvSpec,
    weight: NDArray[np.int8],
    bias: NDArray[np.int32],
    multiplier: NDArray[np.int32 | np.float32],
    cut: Blocking,
    *,
    dot_product: bool,
) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
    """Pack weights ``(groups * outputs, rows, run)`` in the order in which tiles read them.

    Biases and multipliers are one array: those of each block's quads in a row.
    """
    groups, outputs, quads = spec.groups, spec.outputs, spec.quads
    run = ceil(spec.run / 4) * 4
    whole = np.zeros((groups, quads * 4, len(spec.rows), run), np.int8)
    whole[:, :outputs, :, : spec.run] = weight.reshape(groups, outputs, len(spec.rows), spec.run)
    # (groups, quads, outputs of a quad, lanes, inputs of a lane)
    whole = whole.reshape(groups, quads, 4, spec.lanes, 4)
    ends = np.zeros((2, groups, quads * 4), np.int32)
    ends[0, :, :outputs] = bias.reshape(groups, outputs)
    ends[1, :, :outputs] = multiplier.view(np.int32).reshape(groups, outputs)
    packed, constants = [], []
    for group in range(groups):
        first = 0
        for size in cut.outputs:
            block = whole[group, first : first + size].transpose(2, 0, 1, 3)
            if not dot_product:
                # Pairs of inputs: the low half has the first pair of each output.
                block = block.reshape(spec.lanes, size, 4, 2, 2).transpose(0, 1, 3, 2, 4)
            packed.append(block.ravel())
            constants.append(ends[:, group, 4 * first : 4 * (first + size)].ravel())
            first += size
    return np.concatenate(packed), np.concatenate(constants)
