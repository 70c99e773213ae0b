"""AArch64 inline assembly: element types, post-incremented pointers, the asm statement."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from shufflenet_deploy.codegen.schedule.neon_register_allocation import REGISTERS

VECTOR_BYTES = 16

_IMMEDIATE_RANGE = 4096
_PREFETCH_UNIT = 8
_PREFETCH_RANGE = 4096 * _PREFETCH_UNIT


@dataclass
class Pointer:
    """A pointer register and its position relative to its start, in bytes.

    ``last`` is the index of the last instruction that used it and can post-increment it, ``size``
    the bytes which that one transfers.
    """

    name: str
    text: list[str]
    steps: dict[int, str]
    at: int = 0
    last: int | None = None
    size: int = 0

    def move(self, to: int) -> None:
        """Advance to ``to``, by post-increment of the last instruction if possible."""
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
        """Append an instruction that transfers ``size`` bytes at ``at``."""
        self.move(at)
        self.text.append(f"{head}, [%[{self.name}]]")
        self.last, self.size = len(self.text) - 1, size

    def prefetch(self, at: int) -> None:
        """Append a prefetch of the line at ``at``; nothing before it can post-increment.

        It is left out where its offset would not fit the instruction.
        """
        if not 0 <= at - self.at < _PREFETCH_RANGE:
            return
        # Offsets are in units of eight bytes.
        offset = (at - self.at) // _PREFETCH_UNIT * _PREFETCH_UNIT
        self.text.append(f"prfm pldl1keep, [%[{self.name}], #{offset}]")
        self.last = None

    def fence(self, at: int) -> None:
        """Mark a branch target: no earlier instruction can post-increment it from now on."""
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
    """The element type of vectors, ``size`` bytes each, and its register syntax.

    Registers are numbered so that those from ``FIRST_LANE_REGISTER`` on can be the by-lane operand
    of a multiply-add: for fp16, instructions encode only half of the register names there.
    """

    size: int
    arrangement: str
    lane: str
    name_rotation: int

    @property
    def lanes(self) -> int:
        """Elements per vector."""
        return VECTOR_BYTES // self.size

    def name(self, register: int) -> str:
        """The architectural number of a register."""
        return str((register + self.name_rotation) % REGISTERS)

    def whole(self, register: int) -> str:
        """Syntax of a whole register: ``v0.4s``."""
        return f"v{self.name(register)}.{self.arrangement}"

    def lane_of(self, register: int, lane: int) -> str:
        """Syntax of one lane: ``v0.s[1]``."""
        return f"v{self.name(register)}.{self.lane}[{lane}]"

    def register_list(self, registers: Iterable[int]) -> str:
        """Syntax of a list of consecutive registers, which wraps around."""
        return "{" + ", ".join(map(self.whole, registers)) + "}"


#: From here on registers can be factors, lane by lane, whatever the element.
FIRST_LANE_REGISTER = 16
FP32 = ElementType(4, "4s", "s", 0)
FP16 = ElementType(2, "8h", "h", REGISTERS - FIRST_LANE_REGISTER)


def element_type(size: int) -> ElementType:
    """The element type of so many bytes."""
    return FP16 if size == FP16.size else FP32


def float_bits(value: float, element: ElementType) -> int:
    """The bits of a number of an element type, to be repeated from a general register."""
    if element.size == FP16.size:
        return int(np.float16(value).view(np.uint16))
    return int(np.float32(value).view(np.uint32))


def asm_statement(
    pointers: list[str],
    text: list[str],
    steps: dict[int, str],
    *,
    looped: int,
    inner: bool = False,
    scratch: tuple[str, ...] = (),
) -> list[str]:
    """The C around lines of assembly that advance ``pointers`` and clobber all vector registers.

    ``looped`` is the initial value of the loop counter ``n``, 0 without a loop; ``inner`` declares
    the counter ``k`` as well. ``scratch`` are general registers that only the assembly uses.
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
    if scratch:
        lines.append(f"int64_t {', '.join(scratch)};")
        operands += [f'[{name}] "=&r"({name})' for name in scratch]
    inputs = [f'[{label}] "r"((intptr_t){size})' for size, label in steps.items()]
    vectors = [f'"v{at}"' for at in range(REGISTERS)]
    lines.append("__asm__ volatile(")
    lines += [f'    "{line}\\n"' for line in text]
    lines.append(f"    : {', '.join(operands)}")
    lines.append(f"    : {', '.join(inputs)}")
    lines.append(f'    : "cc", "memory", {", ".join(vectors[:16])},')
    lines.append(f"      {', '.join(vectors[16:])});")
    return lines
