"""The parameters of every core, whichever way it issues."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from shufflenet_deploy.predict.decoder import Instruction


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
class Core(ABC):
    """One kind of core.

    ``machine`` is the native machine whose programs it runs (``export --machine``), ``emulated_as``
    QEMU's CPU with the same instructions, ``midr`` what programs read to recognise it.
    ``mispredict_cycles`` are lost when a loop ends unexpectedly. ``error`` is the half-width of the
    interval of its predictions where every figure of the board is known: the share of published
    latencies that lie within is 98 % for cores that were compared with many, and for others it is
    an estimate. ``validated`` cores were compared with some: Cortex-A73 and Kryo with four each.
    """

    name: str
    machine: str
    emulated_as: str
    midr: int
    mispredict_cycles: int
    exposure: Exposure
    error: float
    validated: bool

    @abstractmethod
    def cycles(self, code: Sequence[Instruction]) -> float:
        """Cycles of one execution of straight-line code that is executed again and again."""
