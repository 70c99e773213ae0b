"""Convolution microkernel in AArch64 assembly, fp32 and fp16.

Compilers spill blocks of more than 20 accumulators, and never load four vectors by one instruction.
Here multiply-adds stand in a fixed order, each load is issued as early as its registers are free,
which also suits in-order cores, and a load or store of up to four vectors post-increments its
pointer to wherever the next one is needed.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, field, replace
from math import ceil

from shufflenet_deploy.codegen.emit.neon.aarch64_asm import (
    FIRST_LANE_REGISTER,
    VECTOR_BYTES,
    ElementType,
    Pointer,
    asm_statement,
    float_bits,
)
from shufflenet_deploy.codegen.emit.neon.split_loads import HALVES, Load, SplitLoads
from shufflenet_deploy.codegen.schedule.neon_register_allocation import (
    MAX_STRAIGHT_FMAS,
    PAIR_OFFSETS,
    REGISTERS,
    VECTORS_PER_LOAD,
    accumulator_sets,
    allocate_operands,
    paired_store_instructions,
)
from shufflenet_deploy.network.graph import Activation

_MAX_UNAVOIDABLE_FMAS = 3200  # multiply-adds in a straight-line block that cannot be shorter
_LOAD_TO_USE_FMAS = 14  # multiply-adds between a load and its first use, if its registers are free
_FLOORS_AHEAD = 4  # registers for lower bounds that are loaded one by one
_LDR_OFFSETS = range(60001)  # offsets of ldr and str
_MAX_STRIDE_REGISTERS = 12  # constants in registers
#: How many products halves add up one after the other without losing much.
_MAX_FP16_SUM = 128


@dataclass(frozen=True, kw_only=True)
class MicrokernelSpec:
    """Tiles of ``outputs`` channels by ``vectors`` vectors, ``times`` in a row.

    ``taps`` are byte offsets of a channel's taps. ``source_channel_stride``, ``channel_stride`` (of
    the target) and ``residual_channel_stride`` (0 without a residual) are in bytes; ``in_place`` if
    the residual is the target. Each tile advances by outputs with ``advances_outputs``, else by
    pixels. ``clamp_min``: accumulators start from zero and the bias array holds each output's lower
    clamp bound; without ``has_bias`` there is neither. ``in_order`` schedules for in-order cores,
    ``split_loads`` for those that load 64 bits at a time.
    """

    element: ElementType
    outputs: int
    vectors: int
    channels: int
    taps: tuple[int, ...]
    source_channel_stride: int
    channel_stride: int
    residual_channel_stride: int
    in_place: bool
    activation: Activation
    times: int
    advances_outputs: bool
    clamp_min: bool
    in_order: bool
    split_loads: bool = False
    has_bias: bool = True

    @property
    def depth(self) -> int:
        """Multiply-adds per accumulator."""
        return self.channels * len(self.taps)


def pointer_names(strip: MicrokernelSpec) -> list[str]:
    """Names of the pointer parameters."""
    return [
        "x",
        "w",
        "b",
        *(["r"] if strip.residual_channel_stride and not strip.in_place else []),
        "y",
    ]


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


@dataclass
class _AsmWriter:
    strip: MicrokernelSpec
    text: list[str] = field(default_factory=list)
    steps: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        strip = self.strip
        self.work = strip.outputs * strip.vectors
        lanes = strip.element.lanes
        sets = accumulator_sets(strip.depth, lanes)
        #: What is multiplied and added up apart comes after the accumulators, else it is they.
        self.separate = self.work if sets > 1 else 0
        self.after = sets * self.work
        self.free = list(range(self.after, REGISTERS))
        found = allocate_operands(
            strip.outputs,
            strip.vectors,
            sets,
            lanes,
            in_order=strip.in_order,
            split_loads=strip.split_loads,
        )
        assert found is not None
        self.shared = found[1]
        self.pointers = {
            name: Pointer(name, self.text, self.steps) for name in pointer_names(strip)
        }
        #: Lower bounds that are loaded.
        self.floors = 0
        #: Biases come four outputs at a time, and sums that begin as them are numbered so.
        self.by_output = not strip.residual_channel_stride and not strip.clamp_min

    def write(self) -> list[str]:
        strip = self.strip
        looped = strip.times > 1
        if looped:
            self.text.append("1:")
        self._begin()
        self._channels()
        self._end()
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

    def _sum(self, output: int, at: int) -> int:
        """The register of an accumulator."""
        strip = self.strip
        return at * strip.outputs + output if self.by_output else output * strip.vectors + at

    def _sums(self, output: int) -> list[int]:
        return [self._sum(output, at) for at in range(self.strip.vectors)]

    def _begin(self) -> None:
        """Initialise accumulators with bias, residual, or both."""
        strip, text = self.strip, self.text
        element, size = strip.element, strip.element.size
        b = self.pointers["b"]
        if self.by_output:
            for first in range(0, strip.outputs, VECTORS_PER_LOAD):
                count = min(VECTORS_PER_LOAD, strip.outputs - first)
                for at in range(strip.vectors):
                    sums = [self._sum(first + i, at) for i in range(count)]
                    b.use(size * first, f"ld{count}r {element.register_list(sums)}", size * count)
            return
        if self._streams_residual():
            pass  # it is loaded between multiply-adds
        elif strip.residual_channel_stride:
            source = self.pointers["y" if strip.in_place else "r"]
            for output in range(strip.outputs):
                self._whole("ld1", source, strip.residual_channel_stride, output)
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
            text += [f"fmla {element.whole(a)}, {one}, {lane}" for a in self._sums(output)]

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
                for at, total in enumerate(self._sums(output)):
                    place = output * strip.residual_channel_stride + VECTOR_BYTES * at
                    first = output * strip.vectors + at
                    found.append(Load(source, place, (total,), first, 1 << 30))
        if strip.clamp_min and not self._looped() and self.shared.channels > 1:
            element, ring = strip.element, self._floor_registers()
            while self.floors < min(strip.outputs, strip.vectors):
                place, register = element.size * self.floors, ring[self.floors]
                first = (strip.depth * strip.outputs + self.floors) * strip.vectors
                found.append(
                    Load(self.pointers["b"], place, (register,), first, 1 << 30, replicates=True)
                )
                self.floors += 1
        return found

    def _end(self) -> None:
        strip, text = self.strip, self.text
        element = strip.element
        zero, six = map(element.whole, self.free[:2])
        if not strip.clamp_min and strip.activation in {Activation.RELU, Activation.RELU6}:
            text.append(f"movi {zero}, #0")
        if strip.activation is Activation.RELU6:
            text.append(f"fmov {six}, #6.0")
        if strip.activation is Activation.HARD_SWISH:
            self._begin_hard_swish()
        for output in range(strip.outputs + 1):
            # One output is stored while the next one's maximum is on its way.
            if output < strip.outputs:
                if strip.activation is Activation.HARD_SWISH:
                    self._hard_swish(self._sums(output))
                least = self._floor(output) if strip.clamp_min else zero
                for a in map(element.whole, self._sums(output)):
                    if strip.clamp_min or strip.activation in {Activation.RELU, Activation.RELU6}:
                        text.append(f"fmax {a}, {a}, {least}")
                    if strip.activation is Activation.RELU6:
                        text.append(f"fmin {a}, {a}, {six}")
            if output and self.by_output:
                self._pairs(output - 1)
            elif output:
                self._whole("st1", self.pointers["y"], strip.channel_stride, output - 1)

    def _begin_hard_swish(self) -> None:
        """Constants of x * (min(max(x / 6, -1/2), 1/2) + 1/2), in what is free after the sums."""
        whole = self.strip.element.whole
        sixth, half, least = map(whole, range(self.work, self.work + 3))
        label = self.steps.setdefault(float_bits(1 / 6, self.strip.element), "sixth")
        self.text += [f"dup {sixth}, %w[{label}]", f"fmov {half}, #0.5", f"fmov {least}, #-0.5"]

    def _hard_swish(self, sums: list[int]) -> None:
        """Hard-swish of some accumulators, as many at a time as there are registers for."""
        whole = self.strip.element.whole
        sixth, half, least = map(whole, range(self.work, self.work + 3))
        free = range(self.work + 3, min(REGISTERS, self.work + 3 + VECTORS_PER_LOAD))
        for first in range(0, len(sums), len(free)):
            some = [
                (whole(a), whole(t))
                for a, t in zip(sums[first : first + len(free)], free, strict=False)
            ]
            self.text += [f"fmul {t}, {a}, {sixth}" for a, t in some]
            self.text += [f"fmin {t}, {t}, {half}" for _, t in some]
            self.text += [f"fmax {t}, {t}, {least}" for _, t in some]
            self.text += [f"fadd {t}, {t}, {half}" for _, t in some]
            self.text += [f"fmul {a}, {a}, {t}" for a, t in some]

    def _floor(self, output: int) -> str:
        """The register of an output's lower clamp bound, loaded with its neighbours'."""
        if self.strip.split_loads:
            return self._floor_of_one(output)
        element, at = self.strip.element, output % VECTORS_PER_LOAD
        if at == 0:
            count = min(VECTORS_PER_LOAD, self.strip.outputs - output)
            size = element.size
            head = f"ld{count}r {element.register_list(self.free[:count])}"
            self.pointers["b"].use(size * output, head, size * count)
        return element.whole(self.free[at])

    def _floor_of_one(self, output: int) -> str:
        """The same where every bound is loaded on its own, some outputs ahead."""
        element, ring = self.strip.element, self._floor_registers()
        while self.floors < min(self.strip.outputs, output + len(ring) - 1):
            head = f"ld1r {element.register_list([ring[self.floors % len(ring)]])}"
            self.pointers["b"].use(element.size * self.floors, head, element.size)
            self.floors += 1
        return element.whole(ring[output % len(ring)])

    def _floor_registers(self) -> list[int]:
        """Registers for lower bounds in turns, first those that are free before the end."""
        vectors = self.strip.vectors
        early = [self._pixels(self.strip.depth, at) for at in range(vectors)]
        late = [one for one in self.free if one not in early]
        return [*early, *late][: max(_FLOORS_AHEAD, vectors)]

    def _whole(self, kind: str, pointer: Pointer, stride: int, output: int) -> None:
        """Load or store the accumulators of an output, four by one instruction."""
        sums = self._sums(output)
        for at in range(0, len(sums), VECTORS_PER_LOAD):
            some = sums[at : at + VECTORS_PER_LOAD]
            start = output * stride + VECTOR_BYTES * at
            pointer.use(
                start, f"{kind} {self.strip.element.register_list(some)}", VECTOR_BYTES * len(some)
            )

    def _pairs(self, output: int) -> None:
        """Store the accumulators of an output from registers that are not consecutive."""
        pointer, stride, vectors = self.pointers["y"], self.strip.channel_stride, self.strip.vectors
        sums = [f"q{self.strip.element.name(one)}" for one in self._sums(output)]
        start = output * stride
        pointer.last = None
        if paired_store_instructions(vectors, stride) > vectors or vectors < 2:
            if start - pointer.at not in _LDR_OFFSETS:
                pointer.move(start)
            for at, a in enumerate(sums):
                offset = start - pointer.at + VECTOR_BYTES * at
                self.text.append(f"str {a}, [%[y], #{offset}]")
            return
        self._reach(pointer, start, VECTOR_BYTES * vectors)
        for at in range(0, vectors - 1, 2):
            offset = start - pointer.at + VECTOR_BYTES * at
            self.text.append(f"stp {sums[at]}, {sums[at + 1]}, [%[y], #{offset}]")
        if vectors % 2:
            offset = start + VECTOR_BYTES * (vectors - 1) - pointer.at
            kind = "stur" if offset < 0 else "str"
            self.text.append(f"{kind} {sums[-1]}, [%[y], #{offset}]")

    def _reach(self, pointer: Pointer, start: int, size: int) -> None:
        """Advance a pointer if ``size`` bytes at ``start`` are beyond the offsets of ``stp``."""
        offset = start - pointer.at
        odd = size // VECTOR_BYTES % 2
        lowest = -256 - size + VECTOR_BYTES if odd else PAIR_OFFSETS.start
        if offset < lowest or offset + size - 2 * VECTOR_BYTES > PAIR_OFFSETS[-1] - (
            16 if odd else 0
        ):
            pointer.move(start)

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
                weight = element.lane_of(self._weights(factor), lane)
                for at in range(strip.vectors):
                    total, pixels = map(
                        element.whole, (self.separate + self._sum(output, at), self._pixels(k, at))
                    )
                    found.append(f"{kind} {total}, {pixels}, {weight}")
        return found

    def _interleave(self, multiply_adds: list[str], waiting: deque[Load]) -> None:
        held: dict[int, int] = {}  # the last use of what a register holds
        since = 0

        def issue() -> None:
            load = waiting.popleft()
            held.update((register, load.last) for register in load.registers)
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

    def _pixels(self, k: int, at: int) -> int:
        """The register of a source vector."""
        return self.after + k % self.shared.channels * self.strip.vectors + at

    def _weights(self, factor: int) -> int:
        """The register of a vector of weights."""
        shared = self.shared
        load, at = divmod(factor, shared.weights)
        first = max(FIRST_LANE_REGISTER, self.after + shared.channels * self.strip.vectors)
        return first + load % shared.loads * shared.weights + at

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
                registers = tuple(self._pixels(k, one) for one in some)
                first, last = k * work + at, (k + 1) * work - vectors + some[-1]
                found.append(Load(x, start + VECTOR_BYTES * at, registers, first, last))
        lanes, size = strip.element.lanes, self.shared.weights
        factors = ceil(depth * strip.outputs / lanes)
        begin = strip.element.size * before * len(strip.taps) * strip.outputs
        for at in range(0, factors, size):
            some = range(at, min(at + size, factors))
            registers = tuple(self._weights(one) for one in some)
            first, last = lanes * at * vectors, lanes * (some[-1] + 1) * vectors - 1
            found.append(Load(w, begin + VECTOR_BYTES * at, registers, first, last))
        found += self._streamed(before)
        return deque(sorted(found, key=lambda load: load.first))
