"""Packed tails: the last pixels of a plane that fill no vector, several outputs to a vector.

``emit.c.tail_packed`` has the kernels; this module decides when they pay.
"""

from __future__ import annotations

from math import ceil

from shufflenet_deploy.codegen.cpu_target import CpuTarget

_MIN_REGISTERS = 32  # with fewer, blocks have none to spare


def packed_tail_pixels(machine: CpuTarget, span: int) -> int:
    """How many pixels of each output a tail holds, for planes of ``span``: 0 if there is none."""
    rest = span % machine.lanes
    if machine.by_lane or machine.registers < _MIN_REGISTERS or span < machine.lanes:
        return 0
    return next((size for size in (1, 2, 4, 8) if 0 < rest <= size < machine.lanes), 0)


def packed_tail_vectors(machine: CpuTarget, outputs: int, pixels: int) -> int:
    """How many vectors the tail of a block is."""
    return ceil(outputs * pixels / machine.lanes)
