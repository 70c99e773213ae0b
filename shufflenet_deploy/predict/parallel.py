"""Milliseconds of several threads: regions that all share, and what one does alone between them.

A region is as long as its slowest thread, whose own caches and cycles are counted; its cores share
DRAM's bandwidth, and they meet when it ends:

    bandwidth of one  = min(of one core, of all cores / busy cores)
    region            = max over threads + meetings x (cycles / clock + lines x latency)

Threads run by turns when they are counted (``plugin.c``), so that one finds the shared level as the
one before it has left it, not as all of them at once would.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from shufflenet_deploy.cores import Core
from shufflenet_deploy.errors import ParseError
from shufflenet_deploy.predict.counts import Counts, Turn
from shufflenet_deploy.predict.latency import Memory, Parts, TimedChain, predicted, timed

#: A thread with less than this share of the longest one's instructions leaves memory to the others.
_IDLE_SHARE = 0.01
#: A meeting costs so many cycles of code that is not counted. The line that all write goes from
#: core to core once for each and twice to tell them, each time to the shared level and back.
_MEETING_CYCLES = 300
_LINES_BESIDE_THREADS, _WAYS = 2, 2


#: What threads add to the error of a core, as squares: docs/prediction.md has the comparison.
_ERROR = 0.25


def error(core: Core) -> float:
    """The half-width of several threads' interval where every figure of the board is known."""
    return math.hypot(core.error, _ERROR)


@dataclass(frozen=True)
class Region:
    """What threads do at the same time, each its part; of one part, what a thread does alone."""

    parts: tuple[tuple[TimedChain, ...], ...]
    #: Parts that keep memory busy.
    busy: int

    @property
    def parallel(self) -> bool:
        """True if threads meet at its end."""
        return len(self.parts) > 1


@dataclass(frozen=True)
class Inference:
    """An inference of several threads, which meet ``meetings`` times for each parallel region."""

    regions: tuple[Region, ...]
    instructions: int
    meetings: int

    def predicted(self, core: Core, memory: Memory) -> Parts:
        """The time on a board, in its parts: of every region those of the slowest thread."""
        whole = Parts()
        for region in self.regions:
            shared = shared_by(memory, region.busy)
            parts = (predicted(part, core, shared) for part in region.parts)
            whole += max(parts, key=lambda one: one.total_ns)
            if region.parallel:
                cost = self.meetings * _meeting_ns(len(region.parts), memory)
                whole += Parts(barriers=cost)
        return whole


def inference(turns: Sequence[Turn], core: Core, *, meetings: int) -> Inference:
    """The regions of an inference with the cycles of every thread.

    Raises:
        ParseError: no region has several threads.
    """
    groups: list[list[Turn]] = []
    for turn in turns:
        if turn.thread and groups and groups[-1][-1].thread is not None:
            groups[-1].append(turn)
        else:
            groups.append([turn])
    if all(len(group) == 1 for group in groups):
        raise ParseError("the program did nothing in parallel: predict one thread")
    known: dict[bytes, float] = {}
    return Inference(
        regions=tuple(_region([one.counts for one in group], core, known) for group in groups),
        instructions=sum(turn.counts.instructions for turn in turns),
        meetings=meetings,
    )


def _region(parts: Sequence[Counts], core: Core, known: dict[bytes, float]) -> Region:
    longest = max(part.instructions for part in parts)
    busy = sum(part.instructions > _IDLE_SHARE * longest for part in parts)
    return Region(tuple(tuple(timed(part, core, known)) for part in parts), busy)


def shared_by(memory: Memory, cores: int) -> Memory:
    """The memory as each of so many busy cores of a board has it."""
    read, fill = memory.read_all_gb_s, memory.fill_all_gb_s
    return replace(
        memory,
        read_gb_s=memory.read_gb_s if read is None else min(memory.read_gb_s, read / cores),
        fill_gb_s=memory.fill_gb_s if fill is None else min(memory.fill_gb_s, fill / cores),
    )


def _meeting_ns(threads: int, memory: Memory) -> float:
    last_ns = memory.l2_ns if memory.l3_ns is None else memory.l3_ns
    lines = threads + _LINES_BESIDE_THREADS
    return _MEETING_CYCLES / memory.clock_ghz + lines * _WAYS * last_ns
