"""Software prefetch: of maps on targets with ``software_prefetch``, and of what a kernel knows.

A register block touches a few pixels of each of tens of planes: more streams than a hardware
prefetcher tracks, so every block would stall on its first pixels. From L1 and L2 that costs
nothing; from the last-level cache or memory, half of a layer's time.
"""

from __future__ import annotations

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.emit.unit import ALIGN_BYTES
from shufflenet_deploy.codegen.ir.planar import Layout

#: Localities of ``__builtin_prefetch``.
L2, L1 = 2, 3


def exceeds_l2(layout: Layout, cpu: CpuTarget) -> bool:
    """True if software prefetch pays because the map does not fit a core's L2."""
    return _exceeds(cpu.l2_bytes, layout, cpu)


def exceeds_llc_share(layout: Layout, cpu: CpuTarget) -> bool:
    """True if software prefetch pays because the map exceeds a core's share of the LLC."""
    return _exceeds(cpu.llc_share_bytes, layout, cpu)


def _exceeds(size: int, layout: Layout, cpu: CpuTarget) -> bool:
    return (
        cpu.software_prefetch and cpu.element_bytes * layout.channels * layout.channel_stride > size
    )


def emit_prefetch(
    code: CWriter,
    cpu: CpuTarget,
    first: str,
    count: int,
    *,
    write: bool = False,
    locality: int = L2,
) -> None:
    """Prefetch ``count`` elements from the address ``first`` on, into ``L2`` or ``L1``."""
    for at in range(0, count, ALIGN_BYTES // cpu.element_bytes):
        code(f"__builtin_prefetch({first} + {at}, {int(write)}, {locality});")
