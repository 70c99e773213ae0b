"""Static memory planning: buffers whose lifetimes do not overlap share the arena."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shufflenet_deploy.codegen.ir.op import Program


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """Buffer ``offsets`` and the total size, in elements."""

    offsets: tuple[int, ...]
    elements: int


def plan_memory(program: Program[Any], *, align: int, slack: int) -> MemoryPlan:
    """Assign arena offsets greedily by size: largest buffer first, at the first offset that fits.

    ``slack`` elements after a buffer may be read (never used) by whole-vector loads. Buffers below
    0 are the caller's.
    """
    first_use: dict[int, int] = {}
    last_use: dict[int, int] = {}
    for at, op in enumerate(program.ops):
        for view in (*op.sources, op.target):
            if view.buffer >= 0:
                first_use.setdefault(view.buffer, at)
                last_use[view.buffer] = at
    offsets = [0] * len(program.buffers)
    placed: list[tuple[int, int, int]] = []
    end = 0
    for buffer in sorted(first_use, key=lambda one: -program.buffers[one]):
        size = _round_up(program.buffers[buffer] + slack, align)
        offset = align  # a load may begin before the first plane
        for other, start, stop in sorted(placed, key=lambda one: one[1]):
            alive = first_use[other] <= last_use[buffer] and first_use[buffer] <= last_use[other]
            if alive and start < offset + size:
                offset = max(offset, stop)
        offsets[buffer] = offset
        placed.append((buffer, offset, offset + size))
        end = max(end, offset + size)
    return MemoryPlan(offsets=tuple(offsets), elements=end)


def _round_up(number: int, align: int) -> int:
    return -(-number // align) * align
