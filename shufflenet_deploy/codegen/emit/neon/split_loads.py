"""Loads of vectors by halves, for in-order cores with a load port of 64 bits.

There a load of 128 bits takes two cycles in which nothing else issues. ``ldr d`` takes one, with
``ins`` of an earlier load beside it; ``ldr x`` of the upper half goes beside a multiply-add:

    ldr d5, [x, #48]
    ins v4.d[1], h0
    ldr h1, [x, #56]
    fmla v0.4s, v3.4s, v24.s[0]
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from shufflenet_deploy.codegen.emit.neon.aarch64_asm import VECTOR_BYTES, ElementType, Pointer

#: General registers that hold upper halves.
HALVES = tuple(f"h{number}" for number in range(4))
_HALF_BYTES = VECTOR_BYTES // 2
_OFFSETS = range(0, 32761 - VECTOR_BYTES, _HALF_BYTES)
#: From a load to its use in multiply-adds, to its ``ins`` in cycles, and from that to its use.
_LOAD_TO_USE, _LOAD_TO_INSERT, _INSERT_TO_USE = 30, 5, 5
#: The same where a load follows each multiply-add.
_INSERT_TO_USE_DENSE = 2
#: Loads of which one may come before those that wait for their register.
_LOOKAHEAD = 6
#: A load is urgent so many multiply-adds before its use; others keep their distance.
_URGENT = 12
#: What is used within so many multiply-adds of the first is loaded whole, before it.
_AT_ONCE = 7


@dataclass(frozen=True)
class Load:
    """One load; its ``registers`` are in use from multiply-add ``first`` to ``last``.

    ``replicates``: one element to all lanes of the register. ``ahead`` is what to prefetch with it.
    """

    pointer: Pointer
    at: int
    registers: tuple[int, ...]
    first: int
    last: int
    replicates: bool = False
    ahead: int | None = None


@dataclass(frozen=True)
class _Half:
    """A register that lacks its upper half, which is in ``source`` since the cycle ``since``."""

    register: int
    source: str
    since: int
    first: int


@dataclass
class SplitLoads:
    """Writer to ``text`` of multiply-adds with loads by halves between them."""

    text: list[str]
    element: ElementType
    _incomplete: deque[_Half] = field(default_factory=deque)
    #: Prefetches wait for a multiply-add that no load goes beside.
    _ahead: deque[Load] = field(default_factory=deque)
    _count: int = 0
    #: About: of multiply-adds and lower halves.
    _cycle: int = 0

    def interleave(self, multiply_adds: Sequence[str], waiting: deque[Load]) -> None:
        """Write ``multiply_adds`` in order, and each of ``waiting`` as early as possible.

        Loads are of one register each, in the order of their first use.
        """
        held: dict[int, int] = {}  # the last use of what a register holds
        # Where a load follows another at this distance, ``ins`` of that goes beside it.
        distance = min(_LOAD_TO_INSERT - 1, len(multiply_adds) // (len(waiting) + 1))
        latest = -distance

        def take(load: Load) -> Load:
            waiting.remove(load)
            held[load.registers[0]] = load.last
            if load.ahead is not None:
                self._ahead.append(load)
            return load

        while waiting and waiting[0].first <= _AT_ONCE:
            self._load_whole(take(waiting[0]))
        for index, text in enumerate(multiply_adds):
            while waiting and waiting[0].first <= index:
                self._load_whole(take(waiting[0]))
            dense = waiting and index - latest <= 1
            self._complete(index + (_INSERT_TO_USE_DENSE if dense else _INSERT_TO_USE))
            self.text.append(text)
            self._cycle += 1
            for load in itertools.islice(waiting, _LOOKAHEAD):
                apart = index - latest >= distance or load.first <= index + _URGENT
                soon = load.first <= index + _LOAD_TO_USE
                if apart and soon and held.get(load.registers[0], -1) <= index:
                    latest = index
                    self._load(take(load))
                    break
            else:
                self._prefetch(1)
        self._complete(len(multiply_adds) + _INSERT_TO_USE)
        while waiting:
            self._load_whole(take(waiting[0]))
        self._prefetch(len(self._ahead))

    def _prefetch(self, most: int) -> None:
        for _ in range(min(most, len(self._ahead))):
            load = self._ahead.popleft()
            assert load.ahead is not None
            load.pointer.prefetch(load.ahead)

    def _load(self, load: Load) -> None:
        """Load by halves."""
        if load.replicates:
            self._load_whole(load)
            return
        offset = self._offset(load)
        register, pointer = load.registers[0], load.pointer.name
        self.text.append(f"ldr d{self.element.name(register)}, [%[{pointer}], #{offset}]")
        full = len(self._incomplete) == len(HALVES)
        if full or (
            self._incomplete and self._incomplete[0].since + _LOAD_TO_INSERT <= self._cycle
        ):
            self._insert()
        source = HALVES[self._count % len(HALVES)]
        self._count += 1
        self.text.append(f"ldr %[{source}], [%[{pointer}], #{offset + _HALF_BYTES}]")
        self._incomplete.append(_Half(register, source, self._cycle, load.first))
        self._cycle += 1

    def _load_whole(self, load: Load) -> None:
        """Load by one instruction."""
        name, pointer = self.element.name(load.registers[0]), load.pointer
        if load.replicates:
            head = f"ld1r {self.element.register_list(load.registers)}"
            pointer.use(load.at, head, self.element.size)
            return
        offset = self._offset(load)
        if offset % VECTOR_BYTES:
            pointer.move(load.at)
            offset = 0
        self.text.append(f"ldr q{name}, [%[{pointer.name}], #{offset}]")

    def _complete(self, until: int) -> None:
        """Insert the halves that are used up to the multiply-add ``until``."""
        while any(one.first <= until for one in self._incomplete):
            self._insert()

    def _insert(self) -> None:
        one = self._incomplete.popleft()
        self.text.append(f"ins v{self.element.name(one.register)}.d[1], %[{one.source}]")

    def _offset(self, load: Load) -> int:
        """The distance from a pointer, which moves if that is none of ``ldr``."""
        pointer = load.pointer
        pointer.last = None
        if load.at - pointer.at not in _OFFSETS:
            pointer.move(load.at)
        return load.at - pointer.at
