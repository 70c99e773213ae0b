"""What is asked for before it is used, on machines that fetch.

A block reads or writes short pieces of tens of planes. Processors foresee where a stream goes on,
but not that many at a time, so that each block would wait for its first pixels. In the nearest
caches that takes no time; from the cache that cores share, or from memory, half of a layer's.
"""

from __future__ import annotations

from shufflenet_deploy.export.native.machine import Machine
from shufflenet_deploy.export.native.program import Layout
from shufflenet_deploy.export.native.text import ALIGN, Code

#: Bytes of maps that are in a core's own cache when they are used again.
_OWN_BYTES = 1 << 20
#: Bytes of maps that are in a core's share of the last cache. What lies there is near enough for
#: accesses that the processor can begin early itself: whole rows, and sums that start a block.
_SHARED_BYTES = 4 << 20


def beyond_own(layout: Layout, machine: Machine) -> bool:
    """Whether a machine that fetches has such a map elsewhere than in a core's own cache."""
    return _beyond(_OWN_BYTES, layout, machine)


def beyond_shared(layout: Layout, machine: Machine) -> bool:
    """Whether a machine that fetches has such a map in memory, or in the share of other cores."""
    return _beyond(_SHARED_BYTES, layout, machine)


def _beyond(size: int, layout: Layout, machine: Machine) -> bool:
    return machine.fetches and machine.element_bytes * layout.channels * layout.plane > size


def ask(code: Code, machine: Machine, first: str, count: int, *, write: bool = False) -> None:
    """Ask for ``count`` numbers from the address ``first`` on: into the second cache."""
    for at in range(0, count, ALIGN // machine.element_bytes):
        code(f"__builtin_prefetch({first} + {at}, {int(write)}, 2);")
