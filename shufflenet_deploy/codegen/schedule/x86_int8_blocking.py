"""Register blocking of int8 convolutions on x86: few, nearly even blocks that fill the registers.

A block computes vectors of output channels of some pixels; each block of outputs passes over all
pixels, in blocks of its own size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.schedule.conv_spec import ConvSpec
from shufflenet_deploy.codegen.schedule.partition import cheapest_blocking_by_outputs

_MAX_VECTORS_SINGLE_PIXEL = 16  # vectors of outputs of a single pixel, of 32 registers
_PACKED_VECTORS = 4  # vectors that are stored together
_MIN_SPLIT_STEPS = 8  # steps from which on split lanes outweigh their final addition
_MAX_INTERLEAVED_ACCUMULATORS = 28  # accumulators of a tile of all groups
_PASS_COST = float(1 << 20)  # outweighs every unevenness
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
    every, split = _split_lanes(spec, cpu)
    blocks = []
    if every:
        model = _X86Int8(cpu, spec, max_outputs=_max_vectors(spec, cpu, every))
        blocks = _placed(cheapest_blocking_by_outputs(model, every, spec.width), cpu)
    if split > 1:
        # Split lanes are added at the end of each block: the more pixels share that, the better.
        model = _X86Int8(cpu, spec, enough_accumulators=_MAX_INTERLEAVED_ACCUMULATORS)
        ((_, pixels),) = cheapest_blocking_by_outputs(model, 1, spec.width)
        whole = min(ceil(pixels / split) * split, spec.width)
        blocks.append(OutputBlock(every * cpu.lanes, 1, whole, split))
    return tuple(blocks)


def _placed(sizes: tuple[tuple[int, int], ...], cpu: CpuTarget) -> list[OutputBlock]:
    """Blocks of (vectors, pixels), one after the other."""
    blocks, first = [], 0
    for vectors, pixels in sizes:
        blocks.append(OutputBlock(first, vectors, pixels))
        first += vectors * cpu.lanes
    return blocks


def _max_vectors(spec: X86ConvSpec, cpu: CpuTarget, every: int) -> int:
    """Most vectors of outputs in a block, of ``every`` vector of a group."""
    many = cpu.registers == 32
    if spec.shuffled:
        return 2 if spec.groups <= 3 and many else 1
    if spec.height * spec.width == 1:
        return _MAX_VECTORS_SINGLE_PIXEL if many else _MAX_VECTORS_SINGLE_PIXEL // 2
    if not many:
        return 2
    return _PACKED_VECTORS if every % _PACKED_VECTORS == 0 else _PACKED_VECTORS + 1


@dataclass(frozen=True)
class _X86Int8:
    """The cost model: passes over the inputs, then evenness of the vectors of outputs.

    x86 cores are bound by loads: each block of outputs broadcasts all inputs once more, and each
    block of pixels loads its weights once more. How many accumulators a block has does not matter
    as long as they hide the latency of a multiply-add.
    """

    cpu: CpuTarget
    spec: X86ConvSpec
    max_outputs: int = 1
    enough_accumulators: int = _LATENCY_HIDING_ACCUMULATORS
    has_tail: bool = False

    @property
    def max_pixels(self) -> int:
        return _MAX_INTERLEAVED_ACCUMULATORS

    def fits(self, outputs: int, pixels: int) -> bool:
        if self.spec.shuffled:
            room = _MAX_INTERLEAVED_ACCUMULATORS // self.spec.groups
        else:
            # One register is for what is broadcast, and without dot products one for the product;
            # weights are in memory where registers are few.
            room = self.cpu.registers - (1 if self.cpu.dot_product else 2) - outputs
        enough = max(self.enough_accumulators // outputs, 4)
        return outputs * pixels <= room and pixels <= enough

    def cost(self, outputs: int, pixels: int) -> float:  # noqa: ARG002 - see above
        return _PASS_COST + outputs * outputs

    def tail_cost(self, outputs: int, pixels: int) -> float:  # noqa: ARG002 - there is no tail
        return 0.0


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
