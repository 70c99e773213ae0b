"""The parameters of every core, whichever way it issues.

Two ask for them: ``predict`` for the cycles of code, and the code generator's choice of register
blocks for what a block pays (``load_wait``, ``l1_share_bytes``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from shufflenet_deploy.cores.instructions import Instruction


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """Shares of a latency that a core does not hide behind other work.

    ``l2`` of hits in L2 that no prefetcher foresaw, ``l2_foreseen`` of those that one did, ``dram``
    of unforeseen misses of the last level. They are properties of a kind of core, chosen before
    any prediction was compared with a measurement, not fitted to boards. ``fills`` are the lines
    that may be on their way to L1 at the same time, which limits what prefetch instructions hide.
    """

    l2: float
    l2_foreseen: float
    dram: float
    fills: int


@dataclass(frozen=True, kw_only=True)
class LoadWait:
    """Cycles that multiply-adds wait for a vector that is loaded right before its use.

    ``whole`` is of a load of 128 bits, ``halves`` of one by ``ldr d``, ``ldr x`` and ``ins``.
    """

    whole: float
    halves: float


NO_WAIT = LoadWait(whole=0.0, halves=0.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Core(ABC):
    """One kind of core.

    ``in_order``: it issues in the order of the program. ``machine`` is the native machine whose
    programs it runs (``export --machine``), ``emulated_as`` QEMU's CPU with the same instructions,
    ``midr`` what programs read to recognise it.
    ``mispredict_cycles`` are lost when a loop ends unexpectedly. ``error`` is the half-width of the
    interval of its predictions where every figure of the board is known: the share of published
    latencies that lie within is 98 % for cores that were compared with many, and for others it is
    an estimate. ``validated`` cores were compared with some: Cortex-A73 and Kryo with four each.
    ``l1_bytes`` is the usual size of its first data cache. A stream of weights is prefetched
    ``prefetch_ahead_bytes`` ahead.
    """

    in_order: ClassVar[bool]

    name: str
    machine: str
    emulated_as: str
    midr: int
    mispredict_cycles: int
    exposure: Exposure
    error: float
    validated: bool
    l1_bytes: int = 32 << 10
    prefetch_ahead_bytes: int = 512

    @property
    @abstractmethod
    def load_wait(self) -> LoadWait:
        """What a load costs that has no register to go to in time."""

    @property
    @abstractmethod
    def loads_by_halves(self) -> bool:
        """True if 128 bits are better loaded as two times 64, beside multiply-adds."""

    @property
    def l1_share_bytes(self) -> int:
        """What a loop may keep in the first cache next to all else that passes through it."""
        return self.l1_bytes * 3 // 4

    @abstractmethod
    def cycles(self, code: Sequence[Instruction]) -> float:
        """Cycles of one execution of straight-line code that is executed again and again."""
