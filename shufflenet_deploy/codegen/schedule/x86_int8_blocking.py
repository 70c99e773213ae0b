"""How an int8 convolution is cut into register blocks on x86, and its weights in their order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.ir.int8 import Multipliers
from shufflenet_deploy.codegen.schedule.conv_spec import ConvSpec
from shufflenet_deploy.codegen.schedule.partition import even_sizes

_MAX_VECTORS_SINGLE_PIXEL = 16  # vectors of outputs of a single pixel
_MIN_SPLIT_STEPS = 8  # steps from which on lanes of different inputs pay for adding them up
_MAX_INTERLEAVED_ACCUMULATORS = 28  # accumulators of a tile of all groups
_LATENCY_HIDING_ACCUMULATORS = 12  # accumulators above which more hide no latency


@dataclass(frozen=True)
class OutputBlock:
    """Vectors of a group's outputs from ``first`` on, of so many ``pixels`` at a time.

    With ``split`` each output has that many lanes, of different inputs: there are few outputs.
    """

    first: int
    vectors: int
    pixels: int
    split: int = 1


@dataclass(frozen=True, kw_only=True)
class X86ConvSpec(ConvSpec):
    """A convolution as x86's tiles see it.

    ``residual`` and ``fraction`` are those of ``program.Convolution``. With ``real`` the output is
    floats; with ``shuffled`` the groups' outputs are interleaved; ``wide`` weights have 16 bits.
    """

    residual: int | None = None
    fraction: int = 0
    float_output: bool = False
    shuffled: bool = False
    wide: bool = False

    def steps(self, split: int) -> int:
        """Multiply-adds of an accumulator whose outputs have ``split`` lanes each."""
        return len(self.rows) * ceil(self.run / 4 / split)

    def vector(self, cpu: CpuTarget) -> int:
        """Bytes of a vector's weights."""
        return cpu.lanes * inputs_per_step(cpu) * (2 if self.wide else 1)


def inputs_per_step(cpu: CpuTarget) -> int:
    """Inputs that a step multiplies."""
    return 4 if cpu.dot_product else 2


def with_int16_inputs(spec: X86ConvSpec, *, weights: bool) -> X86ConvSpec:
    """The same over inputs of 16 bits, and perhaps with such weights."""
    return replace(
        spec,
        wide=weights,
        rows=tuple(2 * row for row in spec.rows),
        run=2 * spec.run,
        group_step=2 * spec.group_step,
        x_pixel=2 * spec.x_pixel,
        x_row=2 * spec.x_row,
    )


def choose_blocks(spec: X86ConvSpec, cpu: CpuTarget) -> tuple[OutputBlock, ...]:
    """Blocks of accumulators that fit the registers."""
    lanes, many = cpu.lanes, cpu.registers == 32
    every, split = _split_lanes(spec, cpu)
    together = spec.groups if spec.shuffled else 1
    if spec.height * spec.width == 1 and not spec.shuffled:
        sizes = _sizes_up_to(
            every, _MAX_VECTORS_SINGLE_PIXEL if many else _MAX_VECTORS_SINGLE_PIXEL // 2
        )
    elif spec.shuffled:
        sizes = _sizes_up_to(every, 2 if together <= 3 and many else 1)
    else:
        most = 5 if many else 2
        sizes = [4] * (every // 4) if every % 4 == 0 and many else _sizes_up_to(every, most)
    # One register is for what is spread, and without byte products one for the product; weights
    # are in memory where registers are few.
    free = cpu.registers - (1 if cpu.dot_product else 2)
    blocks, first = [], 0
    for size in sizes:
        room = _MAX_INTERLEAVED_ACCUMULATORS if spec.shuffled else free - size
        fitting = min(
            max(1, room // (size * together)), max(_LATENCY_HIDING_ACCUMULATORS // size, 4)
        )
        times = ceil(spec.width / fitting)
        blocks.append(OutputBlock(first, size, ceil(spec.width / times)))
        first += size * lanes
    if split > 1:
        times = ceil(spec.width / (_MAX_INTERLEAVED_ACCUMULATORS // together))
        pixels = ceil(ceil(spec.width / times) / split) * split
        blocks.append(OutputBlock(first, 1, min(pixels, spec.width), split))
    return tuple(blocks)


def _split_lanes(spec: X86ConvSpec, cpu: CpuTarget) -> tuple[int, int]:
    """Whole vectors of outputs of a group, and how many lanes each of the last few has."""
    whole, rest = divmod(spec.outputs, cpu.lanes)
    if (
        spec.shuffled
        and len(spec.rows) == 1
        and spec.steps(1) >= _MIN_SPLIT_STEPS
        and 0 < rest <= 8
    ):
        return whole, 4 if rest <= 4 else 2
    return ceil(spec.outputs / cpu.lanes), 1


def _sizes_up_to(whole: int, most: int) -> list[int]:
    count = max(1, ceil(whole / most))
    return even_sizes(whole, count) if whole else []


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
