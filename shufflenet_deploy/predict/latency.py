"""Milliseconds from counts: cycles of every chain, and what its misses add on a board.

For each chain, with what a core does not hide of a latency (``Exposure``):

    busy     = executions x cycles / clock + exposed L2 hits + exposed L3 hits
    transfer = foreseen lines / read bandwidth + stored lines / fill bandwidth + fills
    time     = max(busy, transfer) + unforeseen misses x DRAM latency x exposed share

A prefetcher runs ahead of foreseen misses, so that they cost bandwidth, not latency. Stores wait
in buffers and cost bandwidth only. Of lines that instructions prefetch

    fills    = latency / lines that may be on their way, at least a line / read bandwidth
    late     = latency - what the instructions between prefetch and access take

where ``late`` is waited for as for a miss that nobody foresaw.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

from shufflenet_deploy.cores import Core
from shufflenet_deploy.predict.chains import Chain, join
from shufflenet_deploy.predict.counts import Counts, Misses
from shufflenet_deploy.predict.decoder import decode

LINE_BYTES = 64
#: Chains that are timed hold this share of the instructions; the rest takes as long for each.
_TIMED_SHARE = 0.995
#: Of the ends of loops, how many a branch predictor does not foresee.
_MISPREDICTED = 0.5
#: A figure that was guessed may be wrong by this factor, either way.
GUESS_FACTOR = 1.5


@dataclass(frozen=True, kw_only=True)
class Memory:
    """A board's clock and memory: latencies of a random read in ns, bandwidths of one core.

    ``l3_ns`` is None where the second level is the last. ``read_all_gb_s`` and ``fill_all_gb_s``
    are bandwidths of all cores of a cluster at once, None where only one thread is asked for.
    """

    clock_ghz: float
    l2_ns: float
    l3_ns: float | None
    dram_ns: float
    read_gb_s: float
    fill_gb_s: float
    read_all_gb_s: float | None = None
    fill_all_gb_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of a time, in ns. The sum is the prediction."""

    issue: float = 0.0
    mispredict: float = 0.0
    l2: float = 0.0
    l3: float = 0.0
    dram_bandwidth: float = 0.0
    dram_latency: float = 0.0
    barriers: float = 0.0

    @property
    def total_ns(self) -> float:
        """All of them."""
        return sum(float(getattr(self, one.name)) for one in fields(self))

    def __add__(self, other: Parts) -> Parts:
        return Parts(
            **{one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)}
        )


@dataclass(frozen=True)
class TimedChain:
    """A chain and its cycles over all executions, all data in L1."""

    chain: Chain
    cycles: float


def timed(counts: Counts, core: Core, known: dict[bytes, float] | None = None) -> list[TimedChain]:
    """The chains of one inference with the cycles that a core needs for them.

    Chains beyond ``_TIMED_SHARE`` get the mean cycles per instruction of the others. ``known``
    keeps cycles by their code, for counts that share it.
    """
    known = {} if known is None else known
    chains = sorted(join(counts.blocks), key=lambda one: (-one.instructions, one.address))
    total = sum(chain.instructions for chain in chains)
    found, done, cycles = [], 0, 0.0
    for chain in chains:
        if done >= _TIMED_SHARE * total:
            mean = cycles / done * chain.instructions
            found.append(TimedChain(chain, mean))
            continue
        if chain.code not in known:
            known[chain.code] = core.cycles(decode(chain.code))
        each = known[chain.code] * chain.executions
        found.append(TimedChain(chain, each))
        done += chain.instructions
        cycles += each
    return found


def predicted(chains: Sequence[TimedChain], core: Core, memory: Memory) -> Parts:
    """The time of one inference on a board, in its parts."""
    whole = Parts()
    for one in chains:
        whole += _of_chain(one, core, memory)
    return whole


def _of_chain(one: TimedChain, core: Core, memory: Memory) -> Parts:
    exposed, loads, stores = core.exposure, one.chain.loads, one.chain.stores
    issue = one.cycles / memory.clock_ghz
    late = _late(one, core, memory)
    l2 = (loads.l1 * exposed.l2 + loads.l1_foreseen * exposed.l2_foreseen) * memory.l2_ns + late.l2
    l3 = late.l3
    if memory.l3_ns is not None:
        l3 += (_missed(loads, 2) - _missed(loads, 3)) * exposed.l2_foreseen * memory.l3_ns
    transfer = (
        loads.l3_foreseen / memory.read_gb_s + _missed(stores, 3) / memory.fill_gb_s
    ) * LINE_BYTES + _fills_ns(one.chain.prefetches, core, memory)
    lost = one.chain.exits * _MISPREDICTED * core.mispredict_cycles / memory.clock_ghz
    return Parts(
        issue=issue,
        mispredict=lost,
        l2=l2,
        l3=l3,
        dram_bandwidth=max(0.0, transfer - issue - l2 - l3),
        dram_latency=loads.l3 * memory.dram_ns * exposed.dram + late.dram_latency,
    )


def _late(one: TimedChain, core: Core, memory: Memory) -> Parts:
    """What is waited for lines that were prefetched too late, at most as without a prefetch."""
    chain, exposed = one.chain, core.exposure
    if not chain.prefetched.lines:
        return Parts()
    distance = chain.prefetched.distance / chain.prefetched.lines
    hidden_ns = distance * one.cycles / chain.instructions / memory.clock_ghz
    lines = chain.prefetches

    def waited(latency_ns: float) -> float:
        return max(0.0, latency_ns - hidden_ns)

    return Parts(
        l2=(lines.l1 - lines.l2) * waited(memory.l2_ns) * exposed.l2,
        l3=(lines.l2 - lines.l3) * waited(memory.l3_ns or 0.0) * exposed.l2_foreseen,
        dram_latency=lines.l3 * waited(memory.dram_ns) * exposed.dram,
    )


def _fills_ns(lines: Misses, core: Core, memory: Memory) -> float:
    """How long the memory is busy with lines that are prefetched."""
    fills = core.exposure.fills
    return (
        (lines.l1 - lines.l2) * memory.l2_ns / fills
        + (lines.l2 - lines.l3) * (memory.l3_ns or 0.0) / fills
        + lines.l3 * max(memory.dram_ns / fills, LINE_BYTES / memory.read_gb_s)
    )


def _missed(misses: Misses, level: int) -> int:
    if level == 2:
        return misses.l2 + misses.l2_foreseen
    return misses.l3 + misses.l3_foreseen


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A prediction in ns with the interval that the truth is expected in."""

    predicted_ns: float
    low_ns: float
    high_ns: float

    @property
    def relative(self) -> float:
        """The larger half-width over the prediction."""
        wider = max(self.high_ns - self.predicted_ns, self.predicted_ns - self.low_ns)
        return wider / self.predicted_ns


def interval(
    total_ns: Callable[[Memory], float], error: float, memory: Memory, guessed: Sequence[str]
) -> Interval:
    """The prediction with the error of the model and of every guessed figure of the board.

    ``total_ns`` is the prediction as a function of the memory. The model's relative ``error`` holds
    for the whole. A guessed figure is varied by ``GUESS_FACTOR`` on its own; the changes are
    independent and add as squares.
    """
    middle = total_ns(memory)
    below = above = (error * middle) ** 2
    for name in guessed:
        value = getattr(memory, name)
        if value is None:
            continue
        for factor in (1 / GUESS_FACTOR, GUESS_FACTOR):
            changed = replace(memory, **{name: value * factor})
            change = total_ns(changed) - middle
            if change < 0:
                below += change**2
            else:
                above += change**2
    return Interval(
        predicted_ns=middle,
        low_ns=max(0.0, middle - math.sqrt(below)),
        high_ns=middle + math.sqrt(above),
    )
