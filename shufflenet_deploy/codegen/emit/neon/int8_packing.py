"""Packing of int8 convolution weights for NEON: the order in which microkernels stream them."""

from __future__ import annotations

from math import ceil

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.codegen.schedule.neon_int8_blocking import NeonConvSpec, Product, Tiling
from shufflenet_deploy.codegen.schedule.neon_matrix_blocking import INPUTS


def pack_weights(
    spec: NeonConvSpec,
    weight: NDArray[np.int8],
    bias: NDArray[np.int32],
    multiplier: NDArray[np.int32 | np.float32],
    tiling: Tiling,
) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
    """Pack weights ``(groups * outputs, rows, run)`` in the order in which tiles read them.

    Biases and multipliers are one array: those of each block's accumulators in a row.
    """
    groups, outputs, product = spec.groups, spec.outputs, tiling.product
    accumulators, steps = spec.accumulators(product), spec.steps(product)
    runs = _rests_last(weight, spec) if product is Product.MATRIX else weight
    rows, run = runs.shape[1:]
    width = ceil(run / product.inputs) * product.inputs
    whole = np.zeros((groups, accumulators * product.outputs, rows, width), np.int8)
    whole[:, :outputs, :, :run] = runs.reshape(groups, outputs, rows, run)
    # (groups, accumulators, outputs of one, steps, inputs of a step)
    whole = whole.reshape(groups, accumulators, product.outputs, steps, product.inputs)
    ends = np.zeros((2, groups, accumulators * product.outputs), np.int32)
    ends[0, :, :outputs] = bias.reshape(groups, outputs)
    ends[1, :, :outputs] = multiplier.view(np.int32).reshape(groups, outputs)
    if product is Product.MATRIX:  # The channels of an accumulator are there for both pixels.
        ends = ends.reshape(2, groups, accumulators, 1, 2).repeat(2, axis=3).reshape(2, groups, -1)
    packed, constants = [], []
    for group in range(groups):
        first = 0
        for size in tiling.cut.outputs:
            block = whole[group, first : first + size].transpose(2, 0, 1, 3)
            if product is Product.WIDENING:
                # Pairs of inputs: the low half has the first pair of each output.
                block = block.reshape(steps, size, 4, 2, 2).transpose(0, 1, 3, 2, 4)
            packed.append(block.ravel())
            constants.append(ends[:, group, 4 * first : 4 * (first + size)].ravel())
            first += size
    return np.concatenate(packed), np.concatenate(constants)


def _rests_last(weight: NDArray[np.int8], spec: NeonConvSpec) -> NDArray[np.int8]:
    """Weights with the ends of two rows as one, after everything else, where they share steps."""
    inputs = spec.matrix_inputs
    if not inputs.shares_rests:
        return weight
    outputs, whole = len(weight), inputs.steps_of_run * INPUTS
    half = INPUTS // 2
    rests = np.zeros((outputs, 2 * ceil(inputs.rows / 2), half), np.int8)
    rests[:, : inputs.rows, : spec.run - whole] = weight[:, :, whole:]
    parts = [weight[:, :, :whole].reshape(outputs, -1), rests.reshape(outputs, -1)]
    return np.concatenate(parts, axis=1)[:, None]
