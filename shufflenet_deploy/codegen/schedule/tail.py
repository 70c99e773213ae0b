"""Packed tails: the last pixels of a plane that fill no vector, several outputs to a vector.

``emit.c.tail_packed`` has the kernels; this module decides when they pay.
"""

from __future__ import annotations

from math import ceil

from shufflenet_deploy.codegen.cpu_target import CpuTarget

_MIN_REGISTERS = 32  # with fewer, blocks have none to spare


def packed_tail_pixels(cpu: CpuTarget, span: int) -> int:
    """Tail pixels per output channel of planes of ``span`` elements; 0 without a packed tail."""
    rest = span % cpu.lanes
    if cpu.fma_by_lane or cpu.registers < _MIN_REGISTERS or span < cpu.lanes:
        return 0
    return next((size for size in (1, 2, 4, 8) if 0 < rest <= size < cpu.lanes), 0)


def packed_tail_vectors(cpu: CpuTarget, outputs: int, pixels: int) -> int:
    """Vectors of a block's tail."""
    return ceil(outputs * pixels / cpu.lanes)
