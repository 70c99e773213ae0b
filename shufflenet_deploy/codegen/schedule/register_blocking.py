"""Register blocking of fp32 and fp16 convolutions: the cost models of their instruction sets.

A block computes ``outputs`` channels of ``vectors`` vectors of pixels. Costs are instructions on
targets with multiply-add by lane and cycles elsewhere; only their order matters. Numbers of
instructions are properties of the code. What a late load costs an AArch64 core comes from its
description (``cores``); of x86 and 32-bit ARM no core is described, and their prices stand here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.schedule import neon_register_allocation, tail
from shufflenet_deploy.codegen.schedule.partition import Blocking, CostModel, cheapest_blocking

_MAX_OUTPUTS, _MAX_VECTORS = 24, 12
_MAX_ACCUMULATORS_FMA_BY_LANE = 24  # more spill in gcc and clang, whatever the arithmetic says
_FMA_LATENCY_CYCLES = 4  # of x86 since Skylake; little less than of others


@dataclass(frozen=True, kw_only=True)
class ConvShape:
    """The inputs of the cost model: ``outputs`` channels of ``vectors`` vectors.

    ``depth`` is the number of multiply-adds per accumulator, ``channel_stride`` the target's, in
    bytes. With ``clamp_min`` a lower bound replaces the bias. ``tail`` more pixels are computed by
    the last block of pixels. An activation needs so many registers of ``scratch``.
    """

    outputs: int
    vectors: int
    depth: int
    residual: bool
    channel_stride: int
    assembly: bool
    clamp_min: bool
    tail: int = 0
    scratch: int = 0


@lru_cache(maxsize=4096)
def choose_blocking(cpu: CpuTarget, shape: ConvShape) -> Blocking:
    """The cheapest register blocking of a convolution."""
    return cheapest_blocking(_cost_model(cpu, shape), shape.outputs, shape.vectors)


def _cost_model(cpu: CpuTarget, shape: ConvShape) -> CostModel:
    if shape.assembly:
        return _NeonAssembly(cpu, shape)
    return _FmaByLane(cpu, shape) if cpu.fma_by_lane else _Broadcast(cpu, shape)


@dataclass(frozen=True)
class _Model:
    """The limits that all floating-point cost models share; no tail by default."""

    cpu: CpuTarget
    shape: ConvShape
    max_outputs: int = _MAX_OUTPUTS
    max_pixels: int = _MAX_VECTORS

    @property
    def has_tail(self) -> bool:
        return self.shape.tail > 0

    def tail_cost(self, outputs: int, pixels: int) -> float:
        """Cost that the tail adds to a block; missing registers count as loads and stores."""
        cpu, shape = self.cpu, self.shape
        sums = tail.packed_tail_vectors(cpu, outputs, shape.tail)
        spread = 1 if shape.tail == 1 else 2  # the repeated pixels, and the order of weights
        lacking = outputs * pixels + pixels + 1 + sums + spread - cpu.registers
        step = sums * (1.0 if shape.tail == 1 else 1.5) + max(0, lacking)
        return shape.depth * step + outputs * (2.5 if shape.residual else 1.5)


class _NeonAssembly(_Model):
    """AArch64 assembly: exact instruction counts of ``emit.neon.microkernel``."""

    def fits(self, outputs: int, pixels: int) -> bool:
        within = outputs * pixels + self.shape.scratch <= self.cpu.registers
        return within and neon_register_allocation.fits_registers(
            outputs, pixels, self.shape.depth, self.cpu.lanes
        )

    def cost(self, outputs: int, pixels: int) -> float:
        return neon_register_allocation.block_instructions(
            outputs,
            pixels,
            self.shape.depth,
            self.shape.channel_stride,
            self.cpu.lanes,
            residual=self.shape.residual,
            clamp_min=self.shape.clamp_min,
            load_wait=self.cpu.load_wait,
            split_loads=self.cpu.split_loads,
        )


class _FmaByLane(_Model):
    """Compiled C for NEON: instructions, as compilers are known to allocate registers."""

    def fits(self, outputs: int, pixels: int) -> bool:
        if outputs * pixels > _MAX_ACCUMULATORS_FMA_BY_LANE:
            return False
        # Compilers load the next channel's pixels while this one's are in use.
        return outputs * pixels + 2 * pixels + 2 <= self.cpu.registers

    def cost(self, outputs: int, pixels: int) -> float:
        sums, shape = outputs * pixels, self.shape
        pairs = ceil(pixels / 2)  # one instruction loads or stores two vectors
        step = sums + pairs + outputs / 8 + 1.0
        epilogue = 2 * sums + outputs * (pairs + 1.5) * (2 if shape.residual else 1) + 14
        return shape.depth * step + epilogue


class _Broadcast(_Model):
    """Compiled C with factors broadcast from memory (x86, 32-bit ARM): cycles."""

    def fits(self, outputs: int, pixels: int) -> bool:
        return outputs * pixels + pixels + 1 <= self.cpu.registers

    def cost(self, outputs: int, pixels: int) -> float:
        sums, shape = outputs * pixels, self.shape
        loads = pixels + outputs / 2
        step = max(sums, loads, _FMA_LATENCY_CYCLES) + 0.15 * (pixels + outputs)
        return shape.depth * step + sums * (3.5 if shape.residual else 2.5) + outputs + 12
