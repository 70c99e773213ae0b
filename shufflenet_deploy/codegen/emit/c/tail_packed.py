"""Packed tail: the last pixels of a plane, several output channels to a vector.

A plane of 14x14 is twelve vectors of 16 pixels and four pixels. A tail vector holds those pixels
for several output channels in a row: the pixels, repeated, times the block's own weights, each
repeated. It needs no second copy of the weights, and costs the last block one or two multiply-adds
per channel where a vector of pixels costs one per output.
"""

from __future__ import annotations

from dataclasses import dataclass

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.c.activations import (
    activation_constants,
    activation_expr,
    scalar_expr,
)
from shufflenet_deploy.network.graph import Activation

_QUAD = 4


@dataclass(frozen=True)
class PackedTail:
    """Emitter for ``pixels`` tail pixels of ``outputs`` channels in vectors of up to ``lanes``."""

    outputs: int
    pixels: int
    lanes: int

    def start(self, code: CWriter) -> None:
        """Initialise the tail's accumulators with the biases."""
        for at, first, size in self._vectors():
            code(f"v{size} tail{at} = {self._spread(f'b + {first}', size)};")

    def multiply(self, code: CWriter, channel: int, source: str, weight: int) -> None:
        """Accumulate a channel: pixels at ``source``, weights from index ``weight`` on."""
        repeated: set[int] = set()
        for at, first, size in self._vectors():
            name = f"tail{channel}_{size}"
            if size not in repeated:
                repeated.add(size)
                code(f"const v{size} {name} = {self._repeat(source, size)};")
            code(f"tail{at} += {name} * {self._spread(f'w + {weight + first}', size)};")

    def store(
        self, code: CWriter, activation: Activation, plane: int, other: int, begin: str
    ) -> None:
        """Store the accumulators ``begin`` after ``y``, plus the residual at ``r`` if ``other``."""
        wide = self.pixels >= _QUAD
        kind = f"v{self.pixels}" if wide else "real"
        load, suffix = (f"LOAD{self.pixels}", str(self.pixels)) if wide else ("*", "")
        with code.block(""):
            if wide:
                code(*activation_constants(activation, kind))
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
                            value = activation_expr(activation, f"({value})", suffix)
                            code(f"STORE{suffix}(y + {to % plane}, {value});")
                        else:
                            code(f"y[{to % plane}] = {scalar_expr(activation, value)};")

    def _vectors(self) -> list[tuple[int, int, int]]:
        """Number, first output channel and lanes of each vector."""
        found: list[tuple[int, int, int]] = []
        first = 0
        while first < self.outputs:
            left = (self.outputs - first) * self.pixels
            size = next((size for size in (4, 8, 16) if left <= size <= self.lanes), self.lanes)
            found.append((len(found), first, size))
            first += size // self.pixels
        return found

    def _spread(self, numbers: str, size: int) -> str:
        """A vector of numbers, each repeated ``pixels`` times."""
        if self.pixels == 1:
            return f"LOAD{size}({numbers})"
        if self.pixels == size:
            return f"SPLAT{size}(({numbers})[0])"
        loaded = max(_QUAD, size // self.pixels)
        return _shuffle_expr(numbers, loaded, [lane // self.pixels for lane in range(size)])

    def _repeat(self, numbers: str, size: int) -> str:
        """A vector of ``pixels`` numbers, repeated as a whole."""
        if self.pixels == 1:
            return f"SPLAT{size}(({numbers})[0])"
        if self.pixels == size:
            return f"LOAD{size}({numbers})"
        loaded = max(_QUAD, self.pixels)
        return _shuffle_expr(numbers, loaded, [lane % self.pixels for lane in range(size)])


def _shuffle_expr(numbers: str, loaded: int, lanes: list[int]) -> str:
    wide = f"WIDE{len(lanes)}_{loaded}" if loaded < len(lanes) else f"LOAD{loaded}"
    vector = f"{wide}({numbers})"
    return f"__builtin_shufflevector({vector}, {vector}, {', '.join(map(str, lanes))})"
