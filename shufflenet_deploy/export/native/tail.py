"""The last pixels of a plane that fill no vector, computed within the blocks of those before.

A plane of 14x14 is twelve vectors of 16 pixels and four pixels. A vector of the tail holds those
pixels for several outputs, one behind the other: it is the pixels, repeated, times the block's own
weights, each repeated. So it takes no second copy of the weights, and the last block of pixels
takes one or two more multiply-adds for each channel, where a vector of pixels takes one for each
output.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from shufflenet_deploy.export.graph import Activation
from shufflenet_deploy.export.native.activations import activate, constants
from shufflenet_deploy.export.native.machine import Machine
from shufflenet_deploy.export.native.text import Code

_FEWEST_REGISTERS = 32  # with fewer, blocks have none to spare
_QUAD = 4


def pixels(machine: Machine, span: int) -> int:
    """How many pixels of each output a tail holds, for planes of ``span``: 0 if there is none."""
    rest = span % machine.lanes
    if machine.by_lane or machine.registers < _FEWEST_REGISTERS or span < machine.lanes:
        return 0
    return next((size for size in (1, 2, 4, 8) if 0 < rest <= size < machine.lanes), 0)


def vectors(machine: Machine, outputs: int, pixels: int) -> int:
    """How many vectors the tail of a block is."""
    return ceil(outputs * pixels / machine.lanes)


@dataclass(frozen=True)
class Tail:
    """The C for ``pixels`` pixels of ``outputs`` channels in vectors of up to ``lanes`` floats."""

    outputs: int
    pixels: int
    lanes: int

    def start(self, code: Code) -> None:
        """Sums begin as the biases."""
        for at, first, size in self._vectors():
            code(f"v{size} tail{at} = {self._spread(f'b + {first}', size)};")

    def multiply(self, code: Code, channel: int, source: str, weight: int) -> None:
        """Add a channel whose pixels are at ``source``, and whose weights begin at ``weight``."""
        repeated: set[int] = set()
        for at, first, size in self._vectors():
            name = f"tail{channel}_{size}"
            if size not in repeated:
                repeated.add(size)
                code(f"const v{size} {name} = {self._repeat(source, size)};")
            code(f"tail{at} += {name} * {self._spread(f'w + {weight + first}', size)};")

    def store(self, code: Code, activation: Activation, plane: int, other: int, begin: str) -> None:
        """Store the sums ``begin`` behind ``y``, after adding what is at ``r`` if ``other``."""
        wide = self.pixels >= _QUAD
        kind = f"v{self.pixels}" if wide else "real"
        load, suffix = (f"LOAD{self.pixels}", str(self.pixels)) if wide else ("*", "")
        with code.block(""):
            if wide:
                code(*constants(activation, kind))
            for at, first, size in self._vectors():
                code(f"real sums{at}[{size}] __attribute__((aligned({4 * size})));")
                code(f"STORE{size}(sums{at}, tail{at});")
                for output in range(min(size // self.pixels, self.outputs - first)):
                    for pixel in range(0, self.pixels, self.pixels if wide else 1):
                        value = f"{load}(sums{at} + {output * self.pixels + pixel})"
                        to = f"{(first + output)} * %d + {begin} + {pixel}"
                        if other:
                            value += f" + {load}(r + {to % other})"
                        if wide:
                            value = activate(activation, f"({value})", suffix)
                            code(f"STORE{suffix}(y + {to % plane}, {value});")
                        else:
                            code(f"y[{to % plane}] = {activation.value}({value});")

    def _vectors(self) -> list[tuple[int, int, int]]:
        """Number, first output and lanes of each vector."""
        found: list[tuple[int, int, int]] = []
        first = 0
        while first < self.outputs:
            left = (self.outputs - first) * self.pixels
            size = next((size for size in (4, 8, 16) if left <= size <= self.lanes), self.lanes)
            found.append((len(found), first, size))
            first += size // self.pixels
        return found

    def _spread(self, numbers: str, size: int) -> str:
        """A vector of numbers, each ``pixels`` times."""
        if self.pixels == 1:
            return f"LOAD{size}({numbers})"
        if self.pixels == size:
            return f"SPLAT{size}(({numbers})[0])"
        loaded = max(_QUAD, size // self.pixels)
        return _shuffled(numbers, loaded, [lane // self.pixels for lane in range(size)])

    def _repeat(self, numbers: str, size: int) -> str:
        """A vector of ``pixels`` numbers over and over."""
        if self.pixels == 1:
            return f"SPLAT{size}(({numbers})[0])"
        if self.pixels == size:
            return f"LOAD{size}({numbers})"
        loaded = max(_QUAD, self.pixels)
        return _shuffled(numbers, loaded, [lane % self.pixels for lane in range(size)])


def _shuffled(numbers: str, loaded: int, lanes: list[int]) -> str:
    wide = f"WIDE{len(lanes)}_{loaded}" if loaded < len(lanes) else f"LOAD{loaded}"
    vector = f"{wide}({numbers})"
    return f"__builtin_shufflevector({vector}, {vector}, {', '.join(map(str, lanes))})"
