"""Convolution microkernel in AArch64 assembly, fp32 and fp16.

Compilers spill blocks of more than 20 accumulators, and never load four vectors by one instruction.
Here multiply-adds stand in a fixed order, each load is issued as early as its registers are free,
which also suits in-order cores, and a load or store of up to four vectors post-increments its
pointer to wherever the next one is needed.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import replace
from functools import cached_property
from math import ceil

from shufflenet_deploy.codegen.emit.neon.aarch64_asm import (
    VECTOR_BYTES,
    Pointer,
    asm_statement,
)
from shufflenet_deploy.codegen.emit.neon.microkernel_epilogue import Epilogue
from shufflenet_deploy.codegen.emit.neon.microkernel_registers import (
    MicrokernelSpec,
    pointer_names,
)
from shufflenet_deploy.codegen.emit.neon.split_loads import HALVES, Load, SplitLoads
from shufflenet_deploy.codegen.schedule.neon_register_allocation import (
    MAX_STRAIGHT_FMAS,
    VECTORS_PER_LOAD,
)

_MAX_UNAVOIDABLE_FMAS = 3200  # multiply-adds in a straight-line block that cannot be shorter
_LOAD_TO_USE_FMAS = 14  # multiply-adds between a load and its first use, if its registers are free
_MAX_STRIDE_REGISTERS = 12  # constants in registers
#: How many products halves add up one after the other without losing much.
_MAX_FP16_SUM = 128


def c_parameters(strip: MicrokernelSpec) -> list[str]:
    """The parameters, in C."""
    return [f"{'' if name == 'y' else 'const '}real *{name}" for name in pointer_names(strip)]


def asm_lines(strip: MicrokernelSpec) -> list[str]:
    """The C lines of the function's body.

    Vectors are loaded whole where the distances between loads by halves need too many registers.
    """
    writer = _AsmWriter(strip)
    lines = writer.write()
    if strip.split_loads and len(writer.steps) > _MAX_STRIDE_REGISTERS:
        return asm_lines(replace(strip, split_loads=False))
    return lines


def is_supported(taps: tuple[int, ...], jump: int) -> bool:
    """True if the byte distances between taps fit the stride registers."""
    steps = {two - one for one, two in itertools.pairwise((*taps, taps[0] + jump))}
    return len(steps) <= _MAX_STRIDE_REGISTERS - 5 and len(taps) * 24 <= _MAX_UNAVOIDABLE_FMAS


class _AsmWriter(Epilogue):
    """The microkernel from its first load to its last store."""

    def write(self) -> list[str]:
        strip = self.strip
        looped = strip.times > 1
        if looped:
            self.text.append("1:")
        self._begin()
        self._channels()
        self.end_tile()
        for pointer, net in self._pointer_advances():
            if looped:
                pointer.move(net)
        if looped:
            self.text += ["subs %w[n], %w[n], #1", "b.ne 1b"]
        loops = strip.times if looped else 0
        inner = any("%w[k]" in line for line in self.text)
        return asm_statement(
            pointer_names(strip),
            self.text,
            self.steps,
            looped=loops,
            inner=inner,
            scratch=HALVES if strip.split_loads else (),
        )

    def _pointer_advances(self) -> list[tuple[Pointer, int]]:
        """Byte distance from one tile to the next, per pointer."""
        strip = self.strip
        pixels = VECTOR_BYTES * strip.vectors
        sizes = {
            "x": 0 if strip.advances_outputs else pixels,
            "w": strip.element.size * strip.outputs * strip.depth if strip.advances_outputs else 0,
            "b": strip.element.size * strip.outputs if strip.advances_outputs else 0,
            "r": strip.outputs * strip.residual_channel_stride
            if strip.advances_outputs
            else pixels,
            "y": strip.outputs * strip.channel_stride if strip.advances_outputs else pixels,
        }
        return [(pointer, sizes[name]) for name, pointer in self.pointers.items()]

    def _begin(self) -> None:
        """Initialise accumulators with bias, residual, or both."""
        strip, text = self.strip, self.text
        element, size = strip.element, strip.element.size
        b = self.pointers["b"]
        if self.by_output:
            for first in range(0, strip.outputs, VECTORS_PER_LOAD):
                count = min(VECTORS_PER_LOAD, strip.outputs - first)
                for at in range(strip.vectors):
                    sums = [self.accumulator(first + i, at) for i in range(count)]
                    b.use(size * first, f"ld{count}r {element.register_list(sums)}", size * count)
            return
        if self._streams_residual():
            pass  # it is loaded between multiply-adds
        elif strip.residual_channel_stride:
            source = self.pointers["y" if strip.in_place else "r"]
            for output in range(strip.outputs):
                stride, prefetch = strip.residual_channel_stride, strip.prefetch.residual
                self.whole("ld1", source, stride, output, prefetch=prefetch)
        elif self._looped() or self.separate:
            text += [f"movi {element.whole(a)}, #0" for a in range(self.work)]
        if strip.clamp_min or not strip.has_bias:
            return
        # The last registers, which can be factors.
        lanes = self.free[-ceil(strip.outputs / element.lanes) :]
        for first in range(0, len(lanes), VECTORS_PER_LOAD):
            some = lanes[first : first + VECTORS_PER_LOAD]
            b.use(
                VECTOR_BYTES * first, f"ld1 {element.register_list(some)}", VECTOR_BYTES * len(some)
            )
        one = element.whole(self.free[0])
        text.append(f"fmov {one}, #1.0")
        for output in range(strip.outputs):
            lane = element.lane_of(lanes[output // element.lanes], output % element.lanes)
            text += [f"fmla {element.whole(a)}, {one}, {lane}" for a in self.accumulators(output)]

    def _streams_residual(self) -> bool:
        """True if each accumulator is loaded right before the first product is added to it."""
        strip = self.strip
        return bool(strip.split_loads and strip.residual_channel_stride) and (
            strip.clamp_min and not self.separate and not self._looped()
        )

    def _streamed(self, before: int) -> list[Load]:
        """Loads of the residual, or of lower bounds, among those of the channels."""
        strip = self.strip
        found: list[Load] = []
        if not strip.split_loads:
            return found
        if before == 0 and self._streams_residual():
            source = self.pointers["y" if strip.in_place else "r"]
            for output in range(strip.outputs):
                for at, total in enumerate(self.accumulators(output)):
                    place = output * strip.residual_channel_stride + VECTOR_BYTES * at
                    first = output * strip.vectors + at
                    ahead = None
                    if strip.prefetch.residual and self._ends_line(at, strip.vectors):
                        ahead = self.next_tile(place, VECTOR_BYTES)
                    found.append(Load(source, place, (total,), first, 1 << 30, ahead=ahead))
        if strip.clamp_min and not self._looped() and self.shared.channels > 1:
            element, ring = strip.element, self.bound_registers()
            while self.bounds_loaded < min(strip.outputs, strip.vectors):
                place, register = element.size * self.bounds_loaded, ring[self.bounds_loaded]
                first = (strip.depth * strip.outputs + self.bounds_loaded) * strip.vectors
                found.append(
                    Load(self.pointers["b"], place, (register,), first, 1 << 30, replicates=True)
                )
                self.bounds_loaded += 1
        return found

    def _later_channel(self, at: int, left: int) -> int | None:
        """What is prefetched with a load at ``at`` while ``left`` channels are to come."""
        later = self.strip.prefetch.channels
        return at + later * self.strip.source_channel_stride if 0 < later < left else None

    @cached_property
    def _last_taps(self) -> frozenset[int]:
        """Taps that no other one follows within a line: what they load the others load before."""
        taps, line = self.strip.taps, VECTOR_BYTES * VECTORS_PER_LOAD
        return frozenset(
            index
            for index, tap in enumerate(taps)
            if not any(tap < other < tap + line for other in taps)
        )

    def _ends_line(self, at: int, vectors: int) -> bool:
        """True if the vector ``at`` of so many is the last of a line, or of all."""
        return at % VECTORS_PER_LOAD == VECTORS_PER_LOAD - 1 or at == vectors - 1

    def _piece(self) -> int:
        """Channels per straight-line block: whole trip counts, whole loads of weights."""
        strip = self.strip
        most = max(1, MAX_STRAIGHT_FMAS // (self.work * len(strip.taps)))
        if self.separate:
            most = min(most, max(1, _MAX_FP16_SUM // len(strip.taps)))
        if strip.channels <= most:
            return strip.channels
        size = strip.element.lanes * self.shared.weights

        def rank(count: int) -> tuple[bool, bool, int]:
            whole = strip.channels % count == 0
            return whole and 2 * count > most, count * strip.outputs % size == 0, count

        return max(range(1, most + 1), key=rank)

    def _looped(self) -> bool:
        return self._piece() < self.strip.channels

    def _channels(self) -> None:
        strip = self.strip
        count = self._piece()
        times, rest = divmod(strip.channels, count)
        x, w = self.pointers["x"], self.pointers["w"]
        weights = strip.element.size * strip.outputs * len(strip.taps)
        if times > 1:
            x.move(strip.taps[0])
            self.text += [f"mov %w[k], #{times}", "2:"]
            x.fence(strip.taps[0])
            w.fence(0)
        self._multiply(0, count)
        if times > 1:
            x.move(count * strip.source_channel_stride + strip.taps[0])
            w.move(count * weights)
            self.text += ["subs %w[k], %w[k], #1", "b.ne 2b"]
            x.fence(times * count * strip.source_channel_stride + strip.taps[0])
            w.fence(times * count * weights)
        if rest:
            self._multiply(times * count, rest)

    def _multiply(self, before: int, channels: int) -> None:
        """Multiply-adds in order, each load hoisted as far as registers and distance allow."""
        strip = self.strip
        multiply_adds = self._multiply_adds(channels * len(strip.taps))
        if strip.split_loads:
            waiting = self._loads(before, channels)
            SplitLoads(self.text, strip.element).interleave(multiply_adds, waiting)
        else:
            self._interleave(multiply_adds, self._loads(before, channels))
        if self.separate:
            for one in range(self.work):
                total, part = map(strip.element.whole, (one, self.separate + one))
                self.text.append(f"fadd {total}, {total}, {part}")

    def _multiply_adds(self, depth: int) -> list[str]:
        """Channel by channel, output by output."""
        strip, element = self.strip, self.strip.element
        begins = bool(self.separate) or (
            strip.clamp_min and not strip.residual_channel_stride and not self._looped()
        )
        found = []
        for k in range(depth):
            for output in range(strip.outputs):
                factor, lane = divmod(k * strip.outputs + output, element.lanes)
                kind = "fmul" if begins and k == 0 else "fmla"
                weight = element.lane_of(self.weights(factor), lane)
                for at in range(strip.vectors):
                    total, pixels = map(
                        element.whole,
                        (self.separate + self.accumulator(output, at), self.pixels(k, at)),
                    )
                    found.append(f"{kind} {total}, {pixels}, {weight}")
        return found

    def _interleave(self, multiply_adds: list[str], waiting: deque[Load]) -> None:
        held: dict[int, int] = {}  # the last use of what a register holds
        since = 0

        def issue() -> None:
            load = waiting.popleft()
            held.update((register, load.last) for register in load.registers)
            if load.ahead is not None:
                load.pointer.move(load.at)
                load.pointer.prefetch(load.ahead)
            head = f"ld1 {self.strip.element.register_list(load.registers)}"
            load.pointer.use(load.at, head, VECTOR_BYTES * len(load.registers))

        for index, text in enumerate(multiply_adds):
            while waiting and waiting[0].first <= index:
                issue()
            self.text.append(text)
            since += 1
            if not waiting or since < 2:
                continue
            load = waiting[0]
            free = all(held.get(one, -1) <= index for one in load.registers)
            if free and load.first <= index + 1 + _LOAD_TO_USE_FMAS:
                issue()
                since = 0

    def _loads(self, before: int, channels: int) -> deque[Load]:
        """Loads in order of first use, for the channels from ``before`` on."""
        strip, found = self.strip, []
        x, w = self.pointers["x"], self.pointers["w"]
        vectors, work = strip.vectors, self.work
        together = 1 if strip.split_loads else VECTORS_PER_LOAD
        depth = channels * len(strip.taps)
        for k in range(depth):
            channel, tap = divmod(k, len(strip.taps))
            start = (before + channel) * strip.source_channel_stride + strip.taps[tap]
            for at in range(0, vectors, together):
                some = range(at, min(at + together, vectors))
                registers = tuple(self.pixels(k, one) for one in some)
                first, last = k * work + at, (k + 1) * work - vectors + some[-1]
                place, ahead = start + VECTOR_BYTES * at, None
                last_of_row = tap in self._last_taps and self._ends_line(some[-1], vectors)
                if strip.prefetch.pixels and last_of_row:
                    ahead = self.next_tile(place, VECTOR_BYTES * len(some))
                    if place % VECTOR_BYTES:  # the vector may end in the line after
                        ahead += VECTOR_BYTES - strip.element.size
                elif some[0] == 0 or some[-1] == vectors - 1:
                    ahead = self._later_channel(place, channels - channel)
                found.append(Load(x, place, registers, first, last, ahead=ahead))
        lanes, size = strip.element.lanes, self.shared.weights
        factors = ceil(depth * strip.outputs / lanes)
        begin = strip.element.size * before * len(strip.taps) * strip.outputs
        reached = -1  # the last line of weights that is prefetched
        for at in range(0, factors, size):
            some = range(at, min(at + size, factors))
            registers = tuple(self.weights(one) for one in some)
            first, last = lanes * at * vectors, lanes * (some[-1] + 1) * vectors - 1
            place, ahead = begin + VECTOR_BYTES * at, None
            line = some[-1] // VECTORS_PER_LOAD
            if strip.prefetch.weights and line > reached:
                ahead, reached = place + strip.prefetch.weights, line
            found.append(Load(w, place, registers, first, last, ahead=ahead))
        found += self._streamed(before)
        return deque(sorted(found, key=lambda load: load.first))
