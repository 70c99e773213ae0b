"""In-order dual-issue cores as scoreboards: Cortex-A53 and Cortex-A55.

Two instructions issue per cycle when the second depends on nothing that is not ready, and no
pipeline is needed twice. There is one load/store pipeline that moves 64 bits of a load and 128 of a
store per cycle, one multiplier, one branch unit, and two vector pipelines of 64 bits, which a
128-bit operation takes both of. On both cores a load of more than 64 bits issues alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from shufflenet_deploy.cores.description import Core, Exposure, LoadWait
from shufflenet_deploy.cores.instructions import ARITHMETIC, MEMORY, STORES, Instruction, Kind

#: Executions that are simulated; the first ones fill the pipelines and are not counted.
_EXECUTIONS, _SETTLING = 8, 3
#: Kinds that share a pipeline of which there is one.
_SINGLE_UNITS = (
    MEMORY,
    frozenset({Kind.BRANCH}),
    frozenset({Kind.MULTIPLY, Kind.DIVIDE}),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class InOrderCore(Core):
    """A scoreboard.

    ``width`` is instructions that issue per cycle; the load/store pipeline moves ``load_bytes`` of
    a load and ``store_bytes`` of a store per cycle. ``latency`` is cycles from issue to a result,
    ``accumulate_latency`` those of a multiply-add to the accumulator of the next.
    ``vector_load_blocks_wide`` says that a vector load and a 128-bit operation do not issue in one
    cycle.
    """

    in_order: ClassVar[bool] = True

    width: int = 2
    load_bytes: int = 8
    store_bytes: int = 16
    latency: Mapping[Kind, int]
    accumulate_latency: int
    vector_load_blocks_wide: bool

    @property
    def load_wait(self) -> LoadWait:
        """As ``Core.load_wait``: latencies, less the cycle in which a load issues by itself."""
        latency = self.latency
        return LoadWait(
            whole=latency[Kind.VECTOR_LOAD] - 1,
            halves=latency[Kind.LOAD] + latency[Kind.TRANSFER],
        )

    @property
    def loads_by_halves(self) -> bool:
        """As ``Core.loads_by_halves``: an ``ldr x`` does not block what a vector load does."""
        return self.vector_load_blocks_wide

    def cycles(self, code: Sequence[Instruction]) -> float:
        """As ``Core.cycles``."""
        state = _Scoreboard(self)
        starts = []
        for _ in range(_EXECUTIONS):
            first = True
            for one in code:
                cycle = state.issue(one)
                if first:
                    starts.append(cycle)
                    first = False
        settled = (starts[-1] - starts[_SETTLING]) / (_EXECUTIONS - 1 - _SETTLING)
        return max(settled, len(code) / self.width)


@dataclass
class _Scoreboard:
    core: InOrderCore
    cycle: int = 0
    #: What has issued in this cycle.
    issued: list[Instruction] = field(default_factory=list)
    #: When registers can be read, and when as an accumulator.
    ready: dict[str, int] = field(default_factory=dict)
    ready_to_accumulate: dict[str, int] = field(default_factory=dict)
    memory_free: int = 0
    vector_free: list[int] = field(default_factory=lambda: [0, 0])

    def issue(self, one: Instruction) -> int:
        """Issue the next instruction; the cycle in which it does."""
        earliest = max(self.cycle, self._operands_ready(one), self._pipeline_free(one))
        if earliest == self.cycle and not self._pairs(one):
            earliest += 1
        if earliest > self.cycle:
            self.cycle, self.issued = earliest, []
        self.issued.append(one)
        now = self.cycle
        self._execute(one, now)
        return now

    def _operands_ready(self, one: Instruction) -> int:
        latest = 0
        for register in one.reads:
            at = self.ready.get(register, 0)
            if register == one.accumulator:
                at = self.ready_to_accumulate.get(register, at)
            latest = max(latest, at)
        return latest

    def _pipeline_free(self, one: Instruction) -> int:
        if one.kind in MEMORY:
            return self.memory_free
        if one.kind in ARITHMETIC:
            both = one.wide or one.kind is Kind.FP_DIVIDE
            return max(self.vector_free) if both else min(self.vector_free)
        return 0

    def _pairs(self, one: Instruction) -> bool:
        """True if it issues in the same cycle as what has issued there."""
        if not self.issued:
            return True
        if len(self.issued) >= self.core.width:
            return False
        first = self.issued[0]
        if any({first.kind, one.kind} <= unit for unit in _SINGLE_UNITS):
            return False
        if one.kind is Kind.VECTOR_LOAD and one.bytes > self.core.load_bytes:
            return False
        return not (self.core.vector_load_blocks_wide and _blocked(first, one))

    def _execute(self, one: Instruction, now: int) -> None:
        if one.kind in STORES:
            self.memory_free = now + -(-one.bytes // self.core.store_bytes)
        elif one.kind in MEMORY:
            self.memory_free = now + max(1, -(-one.bytes // self.core.load_bytes))
        elif one.kind is Kind.FP_DIVIDE:
            self.vector_free = [now + self.core.latency[one.kind]] * 2
        elif one.kind in ARITHMETIC and one.wide:
            self.vector_free = [now + 1] * 2
        elif one.kind in ARITHMETIC:
            self.vector_free[self.vector_free.index(min(self.vector_free))] = now + 1
        self._write(one, now)
        if one.kind is Kind.VECTOR_LOAD and one.bytes > self.core.load_bytes:
            self.cycle, self.issued = self.memory_free, []

    def _write(self, one: Instruction, now: int) -> None:
        latency = self.core.latency.get(one.kind, 1)
        if one.kind in MEMORY and one.kind not in STORES:
            latency += self.memory_free - now - 1
        for register in one.writes:
            self.ready_to_accumulate.pop(register, None)
            address = register == one.base or one.kind in STORES
            self.ready[register] = now + (1 if address else latency)
            if one.accumulator is not None and one.kind in {Kind.FP_FMA, Kind.DOT_PRODUCT}:
                self.ready_to_accumulate[register] = now + self.core.accumulate_latency


def _blocked(first: Instruction, second: Instruction) -> bool:
    if second.kind is Kind.VECTOR_LOAD:
        return first.wide
    moves = {Kind.PERMUTE, Kind.TRANSFER}
    return first.kind is Kind.VECTOR_LOAD and second.wide and second.kind not in moves


_EXPOSURE = Exposure(l2=1.0, l2_foreseen=0.5, dram=0.7, fills=3)

CORTEX_A53 = InOrderCore(
    name="cortex-a53",
    machine="cortex-a53",
    emulated_as="cortex-a53",
    midr=0x410FD034,
    mispredict_cycles=8,
    exposure=_EXPOSURE,
    error=0.25,
    validated=True,
    latency={
        Kind.MULTIPLY: 3,
        Kind.DIVIDE: 12,
        Kind.LOAD: 3,
        Kind.VECTOR_LOAD: 5,
        Kind.FP_FMA: 8,
        Kind.FP: 4,
        Kind.FP_DIVIDE: 20,
        Kind.DOT_PRODUCT: 4,
        Kind.VECTOR_MULTIPLY: 4,
        Kind.VECTOR: 3,
        Kind.PERMUTE: 3,
        Kind.TRANSFER: 5,
    },
    accumulate_latency=4,
    vector_load_blocks_wide=True,
)

CORTEX_A55 = InOrderCore(
    name="cortex-a55",
    machine="cortex-a55",
    emulated_as="cortex-a76",
    midr=0x412FD050,
    mispredict_cycles=8,
    exposure=_EXPOSURE,
    error=0.25,
    validated=True,
    latency={
        Kind.MULTIPLY: 3,
        Kind.DIVIDE: 10,
        Kind.LOAD: 3,
        Kind.VECTOR_LOAD: 4,
        Kind.FP_FMA: 4,
        Kind.FP: 4,
        Kind.FP_DIVIDE: 16,
        Kind.DOT_PRODUCT: 4,
        Kind.VECTOR_MULTIPLY: 4,
        Kind.VECTOR: 2,
        Kind.PERMUTE: 2,
        Kind.TRANSFER: 3,
    },
    accumulate_latency=4,
    vector_load_blocks_wide=False,
)
