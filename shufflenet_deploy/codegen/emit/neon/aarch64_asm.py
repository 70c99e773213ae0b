"""Lines of assembly for 64-bit ARM, and the pointers that walk in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from shufflenet_deploy.codegen.schedule.neon_register_allocation import REGISTERS

VECTOR_BYTES = 16

_IMMEDIATE_RANGE = 4096


@dataclass
class Pointer:
    """A register that walks: where it is, relative to where it was first, in bytes.

    ``last`` is the line of the instruction that used it last, if that can move it on the way, and
    ``size`` what that one transfers.
    """

    name: str
    text: list[str]
    steps: dict[int, str]
    at: int = 0
    last: int | None = None
    size: int = 0

    def move(self, to: int) -> None:
        """Go to ``to``, by the instruction before if possible."""
        distance = to - self.at
        self.at = to
        if not distance:
            return
        if self.last is None:
            self.text.append(self._add(distance))
        else:
            step = f"#{distance}" if distance == self.size else self._step(distance)
            self.text[self.last] += f", {step}"
        self.last = None

    def use(self, at: int, head: str, size: int) -> None:
        """Append an instruction that transfers ``size`` bytes from ``at`` on."""
        self.move(at)
        self.text.append(f"{head}, [%[{self.name}]]")
        self.last, self.size = len(self.text) - 1, size

    def fence(self, at: int) -> None:
        """Something jumps to or over here: no earlier line can move it from now on."""
        self.at, self.last = at, None

    def _step(self, distance: int) -> str:
        return f"%[{self.steps.setdefault(distance, f'd{len(self.steps)}')}]"

    def _add(self, distance: int) -> str:
        kind, size = ("add", distance) if distance > 0 else ("sub", -distance)
        if size < _IMMEDIATE_RANGE or (size % _IMMEDIATE_RANGE == 0 and size < _IMMEDIATE_RANGE**2):
            return f"{kind} %[{self.name}], %[{self.name}], #{size}"
        return f"add %[{self.name}], %[{self.name}], {self._step(distance)}"


@dataclass(frozen=True)
class ElementType:
    """What the lanes of a vector are, ``size`` bytes each, and how instructions write it.

    Registers are numbered so that those from ``FACTORS`` on can be the lane that a multiply-add
    takes: of halves, instructions have room for half of the registers' names.
    """

    size: int
    arrangement: str
    lane: str
    name_rotation: int

    @property
    def lanes(self) -> int:
        """How many a vector has."""
        return VECTOR_BYTES // self.size

    def name(self, register: int) -> str:
        """A register by the name that instructions have for it."""
        return str((register + self.name_rotation) % REGISTERS)

    def whole(self, register: int) -> str:
        """All lanes of a register."""
        return f"v{self.name(register)}.{self.arrangement}"

    def lane_of(self, register: int, lane: int) -> str:
        """One lane of a register."""
        return f"v{self.name(register)}.{self.lane}[{lane}]"

    def register_list(self, registers: Iterable[int]) -> str:
        """Registers that one instruction loads or stores; the last one is followed by the first."""
        return "{" + ", ".join(map(self.whole, registers)) + "}"


#: From here on registers can be factors, lane by lane, whatever the element.
FIRST_LANE_REGISTER = 16
FP32 = ElementType(4, "4s", "s", 0)
FP16 = ElementType(2, "8h", "h", REGISTERS - FIRST_LANE_REGISTER)


def element_type(size: int) -> ElementType:
    """The one of so many bytes."""
    return FP16 if size == FP16.size else FP32


def asm_statement(
    pointers: list[str], text: list[str], steps: dict[int, str], *, looped: int, inner: bool = False
) -> list[str]:
    """The C around lines of assembly that move ``pointers`` and may use every vector register.

    ``looped`` is what the counter ``n`` of a loop begins with, 0 if there is none. ``inner`` says
    that there is a counter ``k``, too.
    """
    lines = []
    # "&": a constant of the same value must not share a register that moves.
    operands = [f'[{name}] "+&r"({name})' for name in pointers]
    if looped:
        lines.append(f"int n = {looped};")
        operands.append('[n] "+&r"(n)')
    if inner:
        lines.append("int k;")
        operands.append('[k] "=&r"(k)')
    inputs = [f'[{label}] "r"((intptr_t){size})' for size, label in steps.items()]
    vectors = [f'"v{at}"' for at in range(REGISTERS)]
    lines.append("__asm__ volatile(")
    lines += [f'    "{line}\\n"' for line in text]
    lines.append(f"    : {', '.join(operands)}")
    lines.append(f"    : {', '.join(inputs)}")
    lines.append(f'    : "cc", "memory", {", ".join(vectors[:16])},')
    lines.append(f"      {', '.join(vectors[16:])});")
    return lines
