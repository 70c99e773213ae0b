"""Cores: issue rules, ports, latencies and the first cache, one description for each.

    core("cortex-a53").cycles(decode(code))   # of one execution, in the steady state: `predict`
    core("cortex-a53").load_wait              # what the choice of register blocks pays for loads

In-order cores are scoreboards, out-of-order ones tables of ports; both see all data in L1. What a
core hides of the latency of its caches is part of its description, see ``Exposure``.
"""

from __future__ import annotations

from shufflenet_deploy.cores.description import NO_WAIT, Core, Exposure, LoadWait
from shufflenet_deploy.cores.in_order import CORTEX_A53, CORTEX_A55
from shufflenet_deploy.cores.out_of_order import (
    CORTEX_A72,
    CORTEX_A73,
    CORTEX_A76,
    CORTEX_A710,
    CORTEX_X1,
    CORTEX_X2,
    KRYO,
)
from shufflenet_deploy.errors import UsageError

__all__ = [
    "CORES",
    "CORTEX_A53",
    "CORTEX_A55",
    "CORTEX_A72",
    "CORTEX_A76",
    "CORTEX_A710",
    "NO_WAIT",
    "SMALLEST_L1_SHARE_BYTES",
    "Core",
    "Exposure",
    "LoadWait",
    "core",
]

CORES: dict[str, Core] = {
    one.name: one
    for one in (
        *(CORTEX_A53, CORTEX_A55, CORTEX_A72, CORTEX_A73, CORTEX_A76, CORTEX_A710),
        *(CORTEX_X1, CORTEX_X2, KRYO),
    )
}
#: What a loop may keep in the first cache of any of them.
SMALLEST_L1_SHARE_BYTES = min(one.l1_share_bytes for one in CORES.values())
#: Cores that are described by another's tables.
_LIKE = {
    "cortex-a57": "cortex-a72",
    "cortex-a75": "cortex-a76",
    "cortex-a77": "cortex-a76",
    "cortex-a78": "cortex-a76",
    "cortex-a715": "cortex-a710",
    "cortex-a720": "cortex-a710",
    "cortex-x3": "cortex-x2",
    "neoverse-n1": "cortex-a76",
    "neoverse-n2": "cortex-a710",
    "neoverse-v1": "cortex-x1",
}


def core(name: str) -> Core:
    """A core by its name, with or without ``cortex-``.

    Raises:
        UsageError: there is no description of it.
    """
    for known in (name, f"cortex-{name}"):
        found = CORES.get(_LIKE.get(known, known))
        if found is not None:
            return found
    raise UsageError(f"unknown core '{name}': choose {', '.join([*CORES, *_LIKE])}")
