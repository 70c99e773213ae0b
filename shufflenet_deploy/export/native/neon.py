"""Pointwise convolutions for 64-bit ARM in assembly.

Compilers spill blocks of more than 20 accumulators, and move no pointer to where one instruction
could load two vectors. Here a block's multiply-adds stand in a fixed order, every load is issued
as early as a register is free for it, which also suits cores that issue in order, and pointers
walk so that pairs are within reach.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import ceil

from shufflenet_deploy.export.graph import Activation

_VECTOR = 16  # bytes
_REGISTERS = 32
_STRAIGHT = 1000  # multiply-adds in one straight piece of code
_AHEAD = 14  # multiply-adds between a load and its first use, if there are registers
_PAIR = range(-1024, 1009)  # offsets of ldp and stp
_SINGLE = range(65521)  # offsets of ldr and str
_IMMEDIATE = 4096


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Blocks of ``outputs`` channels by ``vectors`` vectors, ``times`` in a row.

    ``jump`` and ``plane`` are the bytes between channels of the source and of the target, and
    ``other`` those of what is added: 0 if nothing is, ``in_place`` if it is the target. With
    ``down`` each block has the next outputs, else the next pixels.
    """

    outputs: int
    vectors: int
    channels: int
    jump: int
    plane: int
    other: int
    in_place: bool
    activation: Activation
    times: int
    down: bool


def arguments(strip: Strip) -> list[str]:
    """The pointers that a strip's function takes."""
    return ["x", "w", "b", *(["r"] if strip.other and not strip.in_place else []), "y"]


def declared(strip: Strip) -> list[str]:
    """The parameters of a strip's function, in C."""
    return [f"{'' if name == 'y' else 'const '}float *{name}" for name in arguments(strip)]


def write(strip: Strip) -> list[str]:
    """The lines of C of a strip's function."""
    return _Writer(strip).write()


def overhead(outputs: int, vectors: int, jump: int) -> float:
    """Instructions for each channel of a block besides its multiply-adds."""
    return _walking(vectors, jump) + outputs / 8


def _walking(vectors: int, stride: int) -> float:
    """Instructions that load or store one channel's vectors, moving the pointer included."""
    return min(_paired(vectors, stride), float(vectors))


def _paired(vectors: int, stride: int) -> float:
    if vectors < 2:
        return float(vectors)
    within = 1
    if 0 < stride < len(_PAIR):
        within = (len(_PAIR) - 16 * vectors + 16) // stride + 1
    return vectors // 2 + vectors % 2 + 1 / max(1, within)


def around(outputs: int, vectors: int, plane: int, *, residual: bool) -> float:
    """Instructions of a block that are not for each channel."""
    work = outputs * vectors
    moving = outputs * _walking(vectors, plane)
    return 2 * work + moving * (2 if residual else 1) + outputs / 8 + 8


@dataclass
class _Pointer:
    """A register that walks: where it is, relative to where it was first, in bytes."""

    name: str
    text: list[str]
    steps: dict[int, str]
    at: int = 0

    def move(self, to: int) -> None:
        distance = to - self.at
        if distance:
            self.text.append(_add(self.name, distance, self.steps))
        self.at = to


def _add(name: str, distance: int, steps: dict[int, str]) -> str:
    kind, size = ("add", distance) if distance > 0 else ("sub", -distance)
    if size < _IMMEDIATE or (size % _IMMEDIATE == 0 and size < _IMMEDIATE**2):
        return f"{kind} %[{name}], %[{name}], #{size}"
    label = steps.setdefault(size, f"d{len(steps)}")
    return f"{kind} %[{name}], %[{name}], %[{label}]"


@dataclass
class _Load:
    """One instruction that fills ``values``; ``at`` is its offset from the pointer's start."""

    pointer: _Pointer
    at: int
    values: list[tuple[str, int, int]]
    behind: int  # where a pointer that has to move is put, beyond ``at``


@dataclass
class _Writer:
    strip: Strip
    text: list[str] = field(default_factory=list)
    steps: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        strip = self.strip
        self.work = strip.outputs * strip.vectors
        self.free = list(range(self.work, _REGISTERS))
        self.pointers = {name: _Pointer(name, self.text, self.steps) for name in arguments(strip)}

    def write(self) -> list[str]:
        strip = self.strip
        looped = strip.times > 1
        if looped:
            self.text.append("1:")
        self._begin()
        self._channels()
        self._end()
        for pointer, net in self._deltas():
            pointer.move(net if looped else pointer.at)
        if looped:
            self.text += ["subs %w[n], %w[n], #1", "b.ne 1b"]
        return self._statement()

    def _deltas(self) -> list[tuple[_Pointer, int]]:
        """How far each pointer has moved when the next block begins."""
        strip = self.strip
        pixels = _VECTOR * strip.vectors
        sizes = {
            "x": 0 if strip.down else pixels,
            "w": 4 * strip.outputs * strip.channels if strip.down else 0,
            "b": 4 * strip.outputs if strip.down else 0,
            "r": strip.outputs * strip.other if strip.down else pixels,
            "y": strip.outputs * strip.plane if strip.down else pixels,
        }
        return [(pointer, sizes[name]) for name, pointer in self.pointers.items()]

    def _begin(self) -> None:
        """Accumulators begin as the bias, or as what is to be added plus the bias."""
        strip, text = self.strip, self.text
        pairs = ceil(strip.outputs / 4)
        for at in range(pairs):
            text.append(f"ldr q{self.free[at]}, [%[b], #{16 * at}]")
        one = self.free[pairs]
        if strip.other:
            source = self.pointers["y" if strip.in_place else "r"]
            text.append(f"fmov v{one}.4s, #1.0")
            self._walk("ld", source, strip.other, range(strip.outputs))
        for output in range(strip.outputs):
            lane = f"v{self.free[output // 4]}.s[{output % 4}]"
            for at in range(strip.vectors):
                a = output * strip.vectors + at
                if strip.other:
                    text.append(f"fmla v{a}.4s, v{one}.4s, {lane}")
                else:
                    text.append(f"dup v{a}.4s, {lane}")

    def _end(self) -> None:
        strip, text = self.strip, self.text
        zero, six = self.free[:2]
        if strip.activation in {Activation.RELU, Activation.RELU6}:
            text.append(f"movi v{zero}.4s, #0")
        if strip.activation is Activation.RELU6:
            text += [f"fmov v{six}.4s, #6.0"]
        order = list(range(strip.outputs))
        if strip.other and strip.in_place:
            order.reverse()  # the pointer stands at the last
        for output in order:
            for at in range(strip.vectors):
                a = f"v{output * strip.vectors + at}.4s"
                if strip.activation in {Activation.RELU, Activation.RELU6}:
                    text.append(f"fmax {a}, {a}, v{zero}.4s")
                if strip.activation is Activation.RELU6:
                    text.append(f"fmin {a}, {a}, v{six}.4s")
            self._walk("st", self.pointers["y"], strip.plane, [output])

    def _walk(self, kind: str, pointer: _Pointer, stride: int, outputs: list[int] | range) -> None:
        """Load or store the accumulators of some outputs."""
        vectors = self.strip.vectors
        singles = _paired(vectors, stride) > vectors or vectors < 2
        for output in outputs:
            first, start = output * vectors, output * stride
            if singles:
                if start - pointer.at not in _SINGLE or start - pointer.at > 60000:
                    pointer.move(start)
                for at in range(vectors):
                    offset = start - pointer.at + _VECTOR * at
                    self.text.append(f"{kind}r q{first + at}, [%[{pointer.name}], #{offset}]")
                continue
            self._reach(pointer, start, _VECTOR * vectors)
            for at in range(0, vectors - 1, 2):
                offset = start - pointer.at + _VECTOR * at
                pair = f"q{first + at}, q{first + at + 1}"
                self.text.append(f"{kind}p {pair}, [%[{pointer.name}], #{offset}]")
            if vectors % 2:
                last = vectors - 1
                self._single(f"{kind}r q{first + last}", pointer, start + _VECTOR * last)

    def _single(self, head: str, pointer: _Pointer, start: int) -> None:
        offset = start - pointer.at
        if offset < 0:
            head = head.replace("ldr", "ldur").replace("str", "stur")
        self.text.append(f"{head}, [%[{pointer.name}], #{offset}]")

    def _reach(self, pointer: _Pointer, start: int, size: int) -> None:
        """Move a pointer from where pairs, and a last single one, of ``size`` bytes are too far."""
        offset = start - pointer.at
        odd = size // _VECTOR % 2
        lowest = -256 - size + _VECTOR if odd else _PAIR.start
        if offset < lowest or offset + size - 2 * _VECTOR > _PAIR[-1] - (16 if odd else 0):
            pointer.move(start)

    def _channels(self) -> None:
        strip = self.strip
        most = max(1, _STRAIGHT // self.work)
        count = strip.channels
        if count > most:
            whole = [size for size in range(1, most + 1) if count % size == 0]
            count = whole[-1] if 2 * whole[-1] > most else most
        times, rest = divmod(strip.channels, count)
        x, w = self.pointers["x"], self.pointers["w"]
        if times > 1:
            self.text += [f"mov %w[k], #{times}", "2:"]
        self._multiply(count)
        if times == 1 and not rest:
            return
        x.move(count * strip.jump)
        w.move(4 * count * strip.outputs)
        if times > 1:
            self.text += ["subs %w[k], %w[k], #1", "b.ne 2b"]
        x.at = w.at = 0
        self._multiply(rest)
        x.at += times * count * strip.jump
        w.at += times * 4 * count * strip.outputs

    def _multiply(self, channels: int) -> None:
        """Multiply-adds in order, each load as early as registers and ``_AHEAD`` allow."""
        strip = self.strip
        sums = [
            (k, output, at)
            for k in range(channels)
            for output in range(strip.outputs)
            for at in range(strip.vectors)
        ]
        if not sums:
            return
        first: dict[tuple[str, int, int], int] = {}
        last: dict[tuple[str, int, int], int] = {}
        uses = []
        for index, (k, output, at) in enumerate(sums):
            factor, lane = divmod(k * strip.outputs + output, 4)
            pixels, weights = ("x", k, at), ("w", 0, factor)
            for value in (pixels, weights):
                first.setdefault(value, index)
                last[value] = index
            uses.append((output * strip.vectors + at, pixels, weights, lane))
        waiting = deque(sorted(self._loads(channels), key=lambda load: first[load.values[0]]))
        free, where = deque(self.free), {}
        since = 0

        def issue() -> None:
            load = waiting.popleft()
            for value in load.values:
                where[value] = free.popleft()
            self._load(load, [where[value] for value in load.values])

        for index, (sum_, pixels, weights, lane) in enumerate(uses):
            while pixels not in where or weights not in where:
                issue()
            self.text.append(f"fmla v{sum_}.4s, v{where[pixels]}.4s, v{where[weights]}.s[{lane}]")
            free.extend(where[value] for value in (pixels, weights) if last[value] == index)
            since += 1
            if (
                waiting
                and len(free) >= len(waiting[0].values)
                and first[waiting[0].values[0]] <= index + _AHEAD
                and since > 1
            ):
                issue()
                since = 0

    def _loads(self, channels: int) -> list[_Load]:
        strip, found = self.strip, []
        x, w = self.pointers["x"], self.pointers["w"]
        vectors = strip.vectors
        paired = vectors > 1 and _paired(vectors, strip.jump) <= vectors
        behind = 0
        if paired and strip.jump <= 512 and vectors % 2 == 0:
            behind = 1024 // strip.jump * strip.jump
        for k in range(channels):
            at = 0
            while at < vectors:
                size = 2 if paired and at + 1 < vectors else 1
                values = [("x", k, at + i) for i in range(size)]
                found.append(_Load(x, k * strip.jump + _VECTOR * at, values, behind))
                at += size
        factors = ceil(channels * strip.outputs / 4)
        for at in range(0, factors, 2):
            values = [("w", 0, factor) for factor in range(at, min(at + 2, factors))]
            found.append(_Load(w, _VECTOR * at, values, 1024))
        return found

    def _load(self, load: _Load, registers: list[int]) -> None:
        pointer = load.pointer
        offset = load.at - pointer.at
        if len(registers) == 2:
            if offset not in _PAIR:
                pointer.move(load.at + load.behind)
            names = ", ".join(f"q{register}" for register in registers)
            self.text.append(f"ldp {names}, [%[{pointer.name}], #{load.at - pointer.at}]")
            return
        if offset < -256 or offset not in range(-256, 65521):
            pointer.move(load.at)
        self._single(f"ldr q{registers[0]}", pointer, load.at)

    def _statement(self) -> list[str]:
        strip = self.strip
        moved = arguments(strip)
        lines = []
        operands = [f'[{name}] "+r"(%s)' % name for name in moved]
        if strip.times > 1:
            lines.append(f"int n = {strip.times};")
            operands.append('[n] "+r"(n)')
        if any("%w[k]" in line for line in self.text):
            lines.append("int k;")
            operands.append('[k] "=&r"(k)')
        inputs = [f'[{label}] "r"((intptr_t){size})' for size, label in self.steps.items()]
        vectors = [f'"v{at}"' for at in range(_REGISTERS)]
        lines.append("__asm__ volatile(")
        lines += [f'    "{line}\\n"' for line in self.text]
        lines.append(f"    : {', '.join(operands)}")
        lines.append(f"    : {', '.join(inputs)}")
        lines.append(f'    : "cc", "memory", {", ".join(vectors[:16])},')
        lines.append(f"      {', '.join(vectors[16:])});")
        return lines
