"""Out-of-order cores as tables of ports: Cortex-A72 (A57), A73, A76 (A77, A78), A710, X1, X2, Kryo.

The code is scheduled greedily over the ports: each operation at the earliest cycle at which its
operands are ready and a port is free, however late in the program it stands, as long as it is
within the window. What limits a core shows by itself: front end, ports, window or a recurrence.
Figures are those of Arm's software optimization guides as far as they are public.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from shufflenet_deploy.cores.description import Core, Exposure, LoadWait
from shufflenet_deploy.cores.instructions import MEMORY, STORES, Instruction, Kind

#: Instructions that are simulated before the steady state is taken, and within which it is taken.
_SETTLING_INSTRUCTIONS, _MEASURED_INSTRUCTIONS = 256, 512
_VECTOR_BYTES = 16
#: Other work fills a wait for a load: of blocks that cost the same the one that does not wait.
_HIDDEN_WAIT = 0.05
#: QEMU 7.2 has no CPU with i8mm but the one with everything. Our programs use no SVE, and that of
#: these cores is no wider than their other vectors.
_ARMV9_WITHOUT_SVE = "max,sve=off,sme=off"


@dataclass(frozen=True, kw_only=True)
class Unit:
    """The execution of instructions of a kind: any of ``ports``, ``operations`` of a cycle each."""

    ports: tuple[str, ...]
    latency: int
    operations: int = 1


def _unit(ports: str, latency: int, operations: int = 1) -> Unit:
    return Unit(ports=tuple(ports.split()), latency=latency, operations=operations)


@dataclass(frozen=True, kw_only=True, eq=False)
class OutOfOrderCore(Core):
    """A table of ports.

    ``width`` is instructions that enter per cycle, ``window`` those in flight. ``wide`` are the
    units of 128-bit operations where they differ. A load moves 16 bytes per operation, a store of
    vectors ``store_bytes``. Loads and stores that permute also take vector operations of ``units``.
    """

    in_order: ClassVar[bool] = False

    width: int
    window: int
    units: Mapping[Kind, Unit]
    wide: Mapping[Kind, Unit] = field(default_factory=dict)
    accumulate_latency: int
    store_bytes: int

    @property
    def load_wait(self) -> LoadWait:
        """As ``Core.load_wait``."""
        return LoadWait(whole=_HIDDEN_WAIT, halves=_HIDDEN_WAIT)

    @property
    def loads_by_halves(self) -> bool:
        """As ``Core.loads_by_halves``."""
        return False

    def cycles(self, code: Sequence[Instruction]) -> float:
        """As ``Core.cycles``."""
        schedule = _Schedule(self)
        settling = -(-_SETTLING_INSTRUCTIONS // len(code))
        measured = -(-_MEASURED_INSTRUCTIONS // len(code))
        for _ in range(settling):
            schedule.run(code)
        before = schedule.retired
        for _ in range(measured):
            schedule.run(code)
        return max((schedule.retired - before) / measured, len(code) / self.width)

    def unit(self, one: Instruction) -> Unit:
        """The resources that execute an instruction."""
        if one.wide and one.kind in self.wide:
            return self.wide[one.kind]
        unit = self.units[one.kind]
        if one.kind in {Kind.VECTOR_LOAD, Kind.VECTOR_STORE}:
            each = _VECTOR_BYTES if one.kind is Kind.VECTOR_LOAD else self.store_bytes
            return replace(unit, operations=max(1, -(-one.bytes // each)))
        return unit


class _Schedule:
    """The ports that operations took so far. Cycles are counted from the first instruction on."""

    def __init__(self, core: OutOfOrderCore) -> None:
        self._core = core
        self._busy: dict[str, set[int]] = {}
        self._ready: dict[str, int] = {}
        self._accumulated: dict[str, int] = {}
        self._entered = 0.0
        self._in_flight: list[int] = []
        self._units: dict[Instruction, Unit] = {}
        self.retired = 0

    def run(self, code: Sequence[Instruction]) -> None:
        """Schedule one more execution."""
        for one in code:
            unit = self._units.get(one)
            if unit is None:
                unit = self._units[one] = self._core.unit(one)
            self._schedule(one, unit)

    def _schedule(self, one: Instruction, unit: Unit) -> None:
        core = self._core
        slots = unit.operations if one.kind in MEMORY else 1
        self._entered += slots / core.width
        if len(self._in_flight) >= core.window:
            self._entered = max(self._entered, self._in_flight[-core.window])
        earliest = int(self._entered)
        for register in one.reads:
            at = self._ready.get(register, 0)
            if register == one.accumulator:
                at = self._accumulated.get(register, at)
            earliest = max(earliest, at)
        began = earliest
        for _ in range(unit.operations):
            began = max(began, self._take(unit.ports, earliest))
        if one.interleaved:
            permuting = core.units[Kind.PERMUTE]
            for _ in range(max(1, one.bytes // _VECTOR_BYTES)):
                began = max(began, self._take(permuting.ports, earliest))
        latency = unit.latency + (core.units[Kind.PERMUTE].latency if one.interleaved else 0)
        for register in one.writes:
            address = register == one.base or one.kind in STORES
            self._ready[register] = earliest + 1 if address else began + latency
            self._accumulated.pop(register, None)
            if one.accumulator is not None:
                self._accumulated[register] = began + core.accumulate_latency
        self.retired = max(self.retired, began + latency)
        self._in_flight.append(self.retired)

    def _take(self, ports: tuple[str, ...], earliest: int) -> int:
        """The first cycle in which a port is free; it is not afterwards."""
        best, chosen = -1, self._busy.setdefault(ports[0], set())
        for port in ports:
            busy = self._busy.setdefault(port, set())
            cycle = earliest
            while cycle in busy:
                cycle += 1
            if best < 0 or cycle < best:
                best, chosen = cycle, busy
        chosen.add(best)
        return best


_A72_UNITS = {
    Kind.INTEGER: _unit("I0 I1", 1),
    Kind.MULTIPLY: _unit("M", 3),
    Kind.DIVIDE: _unit("M", 12, 12),
    Kind.BRANCH: _unit("B", 1),
    Kind.LOAD: _unit("L", 4),
    Kind.STORE: _unit("S", 1),
    Kind.PREFETCH: _unit("L", 1),
    Kind.VECTOR_LOAD: _unit("L", 5),
    Kind.VECTOR_STORE: _unit("S", 1),
    Kind.FP_FMA: _unit("F0 F1", 7),
    Kind.FP: _unit("F0 F1", 4),
    Kind.FP_DIVIDE: _unit("F0", 11, 9),
    Kind.DOT_PRODUCT: _unit("F0 F1", 4),
    Kind.VECTOR_MULTIPLY: _unit("F0", 4),
    Kind.VECTOR: _unit("F0 F1", 3),
    Kind.PERMUTE: _unit("F0 F1", 3),
    Kind.TRANSFER: _unit("L", 5),
}
_A72_WIDE = {
    Kind.FP_FMA: _unit("F0 F1", 7, 2),
    Kind.FP: _unit("F0 F1", 4, 2),
    Kind.FP_DIVIDE: _unit("F0", 22, 18),
    Kind.DOT_PRODUCT: _unit("F0 F1", 4, 2),
}

CORTEX_A72 = OutOfOrderCore(
    name="cortex-a72",
    machine="cortex-a72",
    emulated_as="cortex-a72",
    midr=0x410FD083,
    mispredict_cycles=15,
    exposure=Exposure(l2=0.4, l2_foreseen=0.25, dram=0.4, fills=6),
    error=0.25,
    validated=True,
    width=3,
    window=128,
    units=_A72_UNITS,
    wide=_A72_WIDE,
    accumulate_latency=3,
    store_bytes=8,
)

#: Two instructions enter per cycle; both load/store pipelines do either.
CORTEX_A73 = replace(
    CORTEX_A72,
    name="cortex-a73",
    midr=0x410FD092,
    mispredict_cycles=11,
    error=0.4,
    validated=True,
    width=2,
    window=64,
    units=_A72_UNITS
    | {
        Kind.LOAD: _unit("L0 L1", 3),
        Kind.STORE: _unit("L0 L1", 1),
        Kind.PREFETCH: _unit("L0 L1", 1),
        Kind.VECTOR_LOAD: _unit("L0 L1", 5),
        Kind.VECTOR_STORE: _unit("L0 L1", 1),
        Kind.TRANSFER: _unit("F0 F1", 5),
    },
)

#: Qualcomm publishes nothing of Kryo's pipelines: Cortex-A72's stand for them.
KRYO = replace(CORTEX_A72, name="kryo", midr=0x510F2051, error=0.5, validated=True, width=4)

_A76_UNITS = {
    Kind.INTEGER: _unit("I0 I1 M", 1),
    Kind.MULTIPLY: _unit("M", 3),
    Kind.DIVIDE: _unit("M", 12, 12),
    Kind.BRANCH: _unit("B", 1),
    Kind.LOAD: _unit("L0 L1", 4),
    Kind.STORE: _unit("L0 L1", 1),
    Kind.PREFETCH: _unit("L0 L1", 1),
    Kind.VECTOR_LOAD: _unit("L0 L1", 5),
    Kind.VECTOR_STORE: _unit("L0 L1", 1),
    Kind.FP_FMA: _unit("V0 V1", 4),
    Kind.FP: _unit("V0 V1", 3),
    Kind.FP_DIVIDE: _unit("V0", 10, 5),
    Kind.DOT_PRODUCT: _unit("V0 V1", 3),
    Kind.VECTOR_MULTIPLY: _unit("V0", 4),
    Kind.VECTOR: _unit("V0 V1", 2),
    Kind.PERMUTE: _unit("V0 V1", 2),
    Kind.TRANSFER: _unit("M", 3),
}

CORTEX_A76 = OutOfOrderCore(
    name="cortex-a76",
    machine="cortex-a76",
    emulated_as="cortex-a76",
    l1_bytes=64 << 10,
    midr=0x414FD0B1,
    mispredict_cycles=12,
    exposure=Exposure(l2=0.4, l2_foreseen=0.25, dram=0.3, fills=20),
    error=0.25,
    validated=True,
    width=4,
    window=128,
    units=_A76_UNITS,
    wide={Kind.FP_DIVIDE: _unit("V0", 13, 10)},
    accumulate_latency=2,
    store_bytes=8,
)

#: Their ports, latencies, width and window are those that LLVM's scheduling model states of
#: Neoverse N2, the same design for servers, from its guide; a store of 128 bits takes one slot.
_A710_UNITS = _A76_UNITS | {
    Kind.INTEGER: _unit("S0 S1 M0 M1", 1),
    Kind.MULTIPLY: _unit("M0 M1", 3),
    Kind.DIVIDE: _unit("M0", 12, 12),
    Kind.BRANCH: _unit("B0 B1", 1),
    Kind.LOAD: _unit("L0 L1 L2", 4),
    Kind.PREFETCH: _unit("L0 L1 L2", 1),
    Kind.VECTOR_LOAD: _unit("L0 L1 L2", 6),
    Kind.FP_DIVIDE: _unit("V0", 10, 10),
    Kind.TRANSFER: _unit("M0", 3),
}

CORTEX_A710 = replace(
    CORTEX_A76,
    name="cortex-a710",
    machine="cortex-a710",
    emulated_as=_ARMV9_WITHOUT_SVE,
    midr=0x412FD471,
    mispredict_cycles=10,
    error=0.4,
    validated=False,
    width=5,
    window=160,
    units=_A710_UNITS,
    wide={},
    store_bytes=16,
)

#: Twice the vector pipelines; as Neoverse V1 in the same source.
_X1_UNITS = _A710_UNITS | {
    Kind.FP_FMA: _unit("V0 V1 V2 V3", 4),
    Kind.FP: _unit("V0 V1 V2 V3", 3),
    Kind.FP_DIVIDE: _unit("V0 V2", 10, 7),
    Kind.DOT_PRODUCT: _unit("V0 V1 V2 V3", 3),
    Kind.VECTOR_MULTIPLY: _unit("V0 V2", 4),
    Kind.VECTOR: _unit("V0 V1 V2 V3", 2),
    Kind.PERMUTE: _unit("V0 V1 V2 V3", 2),
}

#: Arm stated the window, and what else is new of both, when it announced them.
CORTEX_X2 = replace(
    CORTEX_A710,
    name="cortex-x2",
    midr=0x412FD480,
    width=8,
    window=288,
    units=_X1_UNITS,
)

CORTEX_X1 = replace(
    CORTEX_X2,
    name="cortex-x1",
    machine="cortex-a76",
    emulated_as="cortex-a76",
    midr=0x411FD440,
    mispredict_cycles=11,
    window=224,
)
