"""Register blocking of int8 convolutions on x86: nearly even blocks that fill the registers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.schedule.conv_spec import ConvSpec
from shufflenet_deploy.codegen.schedule.partition import even_sizes

_MAX_VECTORS_SINGLE_PIXEL = 16  # vectors of outputs of a single pixel
_MIN_SPLIT_STEPS = 8  # steps from which on split lanes outweigh their final addition
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
