"""What is asked for before it is used, on machines that fetch.

A block reads or writes short pieces of tens of planes. Processors foresee where a stream goes on,
but not that many at a time, so that each block would wait for its first pixels. In the nearest
caches that takes no time; from the cache that cores share, or from memory, half of a layer's.
"""

from __future__ import annotations

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.emit.unit import ALIGN_BYTES
from shufflenet_deploy.codegen.ir.planar import Layout

#: Bytes of maps that are in a core's own cache when they are used again.
_L2_BYTES = 1 << 20
#: Bytes of maps that are in a core's share of the last cache. What lies there is near enough for
#: accesses that the processor can begin early itself: whole rows, and sums that start a block.
_LLC_SHARE_BYTES = 4 << 20


def exceeds_l2(layout: Layout, cpu: CpuTarget) -> bool:
    """Whether a machine that fetches has such a map elsewhere than in a core's own cache."""
    return _exceeds(_L2_BYTES, layout, cpu)


def exceeds_llc_share(layout: Layout, cpu: CpuTarget) -> bool:
    """Whether a machine that fetches has such a map in memory, or in the share of other cores."""
    return _exceeds(_LLC_SHARE_BYTES, layout, cpu)


def _exceeds(size: int, layout: Layout, cpu: CpuTarget) -> bool:
    return (
        cpu.software_prefetch and cpu.element_bytes * layout.channels * layout.channel_stride > size
    )


def emit_prefetch(
    code: CWriter, cpu: CpuTarget, first: str, count: int, *, write: bool = False
) -> None:
    """Ask for ``count`` numbers from the address ``first`` on: into the second cache."""
    for at in range(0, count, ALIGN_BYTES // cpu.element_bytes):
        code(f"__builtin_prefetch({first} + {at}, {int(write)}, 2);")
