"""The end of an AArch64 microkernel: activation or lower bounds of accumulators, stores."""

from __future__ import annotations

from shufflenet_deploy.codegen.emit.neon.aarch64_asm import VECTOR_BYTES, Pointer, float_bits
from shufflenet_deploy.codegen.emit.neon.microkernel_registers import Registers
from shufflenet_deploy.codegen.schedule.neon_register_allocation import (
    PAIR_OFFSETS,
    REGISTERS,
    VECTORS_PER_LOAD,
    paired_store_instructions,
)
from shufflenet_deploy.network.graph import Activation

_LDR_OFFSETS = range(60001)  # offsets of ldr and str


class Epilogue(Registers):
    """Registers, and how a tile ends."""

    def end_tile(self) -> None:
        """Write what follows the multiply-adds of a tile."""
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
                    self._hard_swish(self.accumulators(output))
                least = self._bound(output) if strip.clamp_min else zero
                for a in map(element.whole, self.accumulators(output)):
                    if strip.clamp_min or strip.activation in {Activation.RELU, Activation.RELU6}:
                        text.append(f"fmax {a}, {a}, {least}")
                    if strip.activation is Activation.RELU6:
                        text.append(f"fmin {a}, {a}, {six}")
            if output and self.by_output:
                self._pairs(output - 1)
            elif output:
                self.whole("st1", self.pointers["y"], strip.channel_stride, output - 1)

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

    def _bound(self, output: int) -> str:
        """The register of an output's lower clamp bound, loaded with its neighbours'."""
        if self.strip.split_loads:
            return self._bound_of_one(output)
        element, at = self.strip.element, output % VECTORS_PER_LOAD
        if at == 0:
            count = min(VECTORS_PER_LOAD, self.strip.outputs - output)
            size = element.size
            head = f"ld{count}r {element.register_list(self.free[:count])}"
            self.pointers["b"].use(size * output, head, size * count)
        return element.whole(self.free[at])

    def _bound_of_one(self, output: int) -> str:
        """The same where every bound is loaded on its own, some outputs ahead."""
        element, ring = self.strip.element, self.bound_registers()
        while self.bounds_loaded < min(self.strip.outputs, output + len(ring) - 1):
            head = f"ld1r {element.register_list([ring[self.bounds_loaded % len(ring)]])}"
            self.pointers["b"].use(element.size * self.bounds_loaded, head, element.size)
            self.bounds_loaded += 1
        return element.whole(ring[output % len(ring)])

    def _pairs(self, output: int) -> None:
        """Store the accumulators of an output from registers that are not consecutive."""
        pointer, stride, vectors = self.pointers["y"], self.strip.channel_stride, self.strip.vectors
        sums = [f"q{self.strip.element.name(one)}" for one in self.accumulators(output)]
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
