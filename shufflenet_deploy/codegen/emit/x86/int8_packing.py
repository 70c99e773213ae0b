"""Packing of int8 convolution weights for x86: the order in which microkernels stream them."""

from __future__ import annotations

from math import ceil

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.ir.int8 import Multipliers
from shufflenet_deploy.codegen.schedule.x86_int8_blocking import (
    OutputBlock,
    X86ConvSpec,
    inputs_per_step,
)


def pack_weights(
    spec: X86ConvSpec,
    weight: NDArray[np.int8],
    bias: NDArray[np.int32],
    multiplier: Multipliers,
    blocks: tuple[OutputBlock, ...],
    cpu: CpuTarget,
) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
    """Weights ``(groups * outputs, rows, run)`` in the order in which tiles read them.

    Biases and factors come as one array: those of each block side by side.
    """
    lanes = cpu.lanes
    width = inputs_per_step(cpu)
    given, steps = weight.shape[-1], spec.steps(1)
    run = ceil(given / width) * width
    there = blocks[-1].first + blocks[-1].vectors * lanes
    whole = np.zeros((spec.groups, there, len(spec.rows), run), np.int16 if spec.wide else np.int8)
    whole[:, : spec.outputs, :, :given] = weight.reshape(spec.groups, spec.outputs, -1, given)
    whole = whole.reshape(spec.groups, there, steps, width)
    ends = np.zeros((2, spec.groups, there), np.int32)
    ends[0, :, : spec.outputs] = bias.reshape(spec.groups, -1)
    ends[1, :, : spec.outputs] = multiplier.view(np.int32).reshape(spec.groups, -1)
    packed, constants = [], []
    for group in range(spec.groups):
        for block in blocks:
            outputs = slice(block.first, block.first + block.vectors * lanes // block.split)
            if block.split > 1:
                here, end = _split_outputs(
                    whole[group, outputs], ends[:, group, outputs], block.split
                )
            else:
                here, end = whole[group, outputs], ends[:, group, outputs]
            lined = here.reshape(block.vectors, lanes, -1, width).transpose(2, 0, 1, 3)
            packed.append(lined.ravel())
            constants.append(end.ravel())
    return np.concatenate(packed).view(np.int8), np.concatenate(constants)


def _split_outputs(
    weight: NDArray[np.int8], ends: NDArray[np.int32], split: int
) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
    """Weights ``(outputs, steps, taps)`` with ``split`` lanes for each output.

    The first of them begins with the bias. Factors are in the order that adding up leaves.
    """
    outputs, steps, taps = weight.shape
    whole = np.zeros((outputs, ceil(steps / split) * split, taps), weight.dtype)
    whole[:, :steps] = weight
    apart = whole.reshape(outputs, -1, split, taps).transpose(0, 2, 1, 3)
    bias = np.zeros((outputs, split), np.int32)
    bias[:, 0] = ends[0]
    multiplier = np.tile(ends[1].reshape(4, 1, -1), (1, split, 1))
    return apart, np.stack([bias.ravel(), multiplier.ravel()])
