"""Register blocking of fp32 and fp16 convolutions: dynamic programming over a cost model.

A block computes ``outputs`` channels of ``vectors`` vectors of pixels. Costs are instructions on
targets with multiply-add by lane and cycles elsewhere; only their order matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.schedule import neon_register_allocation, tail
from shufflenet_deploy.codegen.schedule.partition import cheapest, with_main_tile

_MAX_ACCUMULATORS_FMA_BY_LANE = 24  # more spill in gcc and clang, whatever the arithmetic says
_FMA_LATENCY_CYCLES = 4


@dataclass(frozen=True, kw_only=True)
class RegisterBlocking:
    """The blocks: ``outputs`` channels of each in order; ``pixels`` as (vectors, times)."""

    outputs: tuple[int, ...]
    pixels: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class ConvShape:
    """The inputs of the cost model: ``outputs`` channels of ``vectors`` vectors.

    ``depth`` is the number of multiply-adds per accumulator, ``channel_stride`` the target's, in
    bytes. With ``clamp_min`` a lower bound replaces the bias. ``tail`` more pixels are computed by
    the last block of pixels.
    """

    outputs: int
    vectors: int
    depth: int
    residual: bool
    channel_stride: int
    assembly: bool
    clamp_min: bool
    tail: int = 0


def fits_registers(cpu: CpuTarget, outputs: int, vectors: int, shape: ConvShape) -> bool:
    """True if a block's accumulators, pixels and weights fit the registers."""
    if shape.assembly:
        return neon_register_allocation.fits_registers(outputs, vectors, shape.depth, cpu.lanes)
    if cpu.fma_by_lane:
        if outputs * vectors > _MAX_ACCUMULATORS_FMA_BY_LANE:
            return False
        # Compilers load the next channel's pixels while this one's are in use.
        return outputs * vectors + 2 * vectors + 2 <= cpu.registers
    return outputs * vectors + vectors + 1 <= cpu.registers


def _block_cost(cpu: CpuTarget, outputs: int, vectors: int, shape: ConvShape) -> float:
    sums = outputs * vectors
    if shape.assembly:
        return neon_register_allocation.block_instructions(
            outputs,
            vectors,
            shape.depth,
            shape.channel_stride,
            cpu.lanes,
            residual=shape.residual,
            clamp_min=shape.clamp_min,
            in_order=cpu.in_order,
        )
    if cpu.fma_by_lane:
        pairs = ceil(vectors / 2)  # one instruction loads or stores two vectors
        step = sums + pairs + outputs / 8 + 1.0
        epilogue = 2 * sums + outputs * (pairs + 1.5) * (2 if shape.residual else 1) + 14
        return shape.depth * step + epilogue
    loads = vectors + outputs / 2
    step = max(sums, loads, _FMA_LATENCY_CYCLES) + 0.15 * (vectors + outputs)
    return shape.depth * step + sums * (3.5 if shape.residual else 2.5) + outputs + 12


def _output_blocks_with_tail(
    cpu: CpuTarget, main: int, pixels: tuple[tuple[int, int], ...], shape: ConvShape
) -> tuple[float, tuple[int, ...]]:
    """Cost and output blocks of the best partition for these pixel blocks."""
    costs = {}
    for part in _block_sizes(cpu, main, shape):
        cost = sum(times * _block_cost(cpu, part, size, shape) for size, times in pixels)
        costs[part] = cost + _tail_cost(cpu, part, pixels[-1][0], shape)
    return cheapest(shape.outputs, costs)


def _tail_cost(cpu: CpuTarget, outputs: int, vectors: int, shape: ConvShape) -> float:
    """Cost that the tail adds to a block; missing registers count as loads and stores."""
    sums = tail.packed_tail_vectors(cpu, outputs, shape.tail)
    spread = 1 if shape.tail == 1 else 2  # the repeated pixels, and the order of weights
    lacking = outputs * vectors + vectors + 1 + sums + spread - cpu.registers
    step = sums * (1.0 if shape.tail == 1 else 1.5) + max(0, lacking)
    return shape.depth * step + outputs * (2.5 if shape.residual else 1.5)


@lru_cache(maxsize=4096)
def choose_blocking(cpu: CpuTarget, shape: ConvShape) -> RegisterBlocking:
    """The cheapest register blocking of a convolution."""
    best: tuple[float, RegisterBlocking] | None = None
    for main in range(1, min(shape.vectors, 12) + 1):
        parts = _output_blocks(cpu, main, shape)
        if parts is None:
            continue

        def cost(size: int, parts: tuple[int, ...] = parts) -> float:
            return sum(_block_cost(cpu, part, size, shape) for part in parts)

        costs = {size: cost(size) for size in range(1, main + 1)}
        total, pixels = with_main_tile(shape.vectors, main, costs)
        if shape.tail:
            total, parts = _output_blocks_with_tail(cpu, main, pixels, shape)
        if best is None or total < best[0]:
            best = (total, RegisterBlocking(outputs=parts, pixels=pixels))
    assert best is not None
    return best[1]


def _output_blocks(cpu: CpuTarget, vectors: int, shape: ConvShape) -> tuple[int, ...] | None:
    sizes = _block_sizes(cpu, vectors, shape)
    if not sizes:
        return None
    cost = {size: _block_cost(cpu, size, vectors, shape) for size in sizes if size <= shape.outputs}
    return cheapest(shape.outputs, cost)[1]


def _block_sizes(cpu: CpuTarget, vectors: int, shape: ConvShape) -> list[int]:
    return [size for size in range(1, 25) if fits_registers(cpu, size, vectors, shape)]
