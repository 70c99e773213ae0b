"""Translation unit of int8 kernels: addresses, constants, scratch, convolutions as byte runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.codegen.emit.unit import TranslationUnit
from shufflenet_deploy.codegen.ir import ops as ir
from shufflenet_deploy.codegen.ir.int8 import PixelView
from shufflenet_deploy.codegen.ir.op import Op
from shufflenet_deploy.codegen.ir.planar import OUTPUT

_CHUNK_BYTES = 12 << 10


@dataclass
class Int8Unit(TranslationUnit):
    """A C file whose arena ``A`` and weights ``W`` are bytes.

    Scratch ``T`` is shared by all threads of an op, ``P[part]`` is each thread's own.
    """

    scratch_bytes: int = field(default=0)
    thread_scratch_bytes: int = field(default=0)

    @cached_property
    def reals(self) -> TranslationUnit:
        """The float segments of the same file: their kernels apart, calls and weights in order."""
        return TranslationUnit(
            cpu=self.cpu,
            offsets=tuple(offset // self.cpu.element_bytes for offset in self.offsets),
            dtype="f32",
            tasks=self.tasks,
            blob=self.blob,
            output_offsets=self.output_offsets,
            arena="REAL_A",
            weights="REAL_W",
        )

    def at(self, view: PixelView, offset: int) -> str:
        """A C expression for a byte of a view's buffer."""
        if view.buffer <= OUTPUT:
            elements = self.output_offsets[OUTPUT - view.buffer]
            return f"output + {elements}" if elements else "output"
        return f"A + {self.offsets[view.buffer] + offset}"

    def stored_at(self, view: PixelView, element: str) -> str:
        """A C expression for where a convolution stores elements of its kernel's type.

        Floats for the caller are stored through the same pointer.
        """
        at = self.at(view, view.origin)
        if view.buffer > OUTPUT:
            return at
        return f"({element} *)(void *){at}" if at == "output" else f"({element} *)(void *)({at})"

    def constant(self, array: NDArray[np.generic], kind: str = "int8_t") -> str:
        """Append an array to the weights; returns a C expression for it."""
        at = f"W + {self.add_bytes(array)}"
        return at if kind == "int8_t" else f"(const {kind} *)(const void *)({at})"

    def scratch(self, size: int) -> str:
        """Scratch shared by all threads; unused after the op."""
        self.scratch_bytes = max(self.scratch_bytes, size)
        return "T"

    def thread_scratch(self, size: int) -> str:
        """Scratch of each thread; unused after the op."""
        self.thread_scratch_bytes = max(self.thread_scratch_bytes, size)
        return "P[part]"

    def call(self, name: str, op: Op[PixelView], *given: str) -> None:
        """Emit a call of a kernel."""
        self.body(f"{name}({', '.join(given)}); /* {op.name} */")

    def call_parallel(
        self, name: str, op: Op[PixelView], *given: str, work_items: int, work: float
    ) -> None:
        """Emit a call of a kernel over a range of ``work_items``, which threads share.

        ``work`` is the cost of all of them, in multiply-adds or bytes.
        """
        with self.parallel(work_items, work / work_items / (4 * self.cpu.lanes)):
            self.body("if (begin < end)")
            self.body(f"    {name}({', '.join((*given, 'begin', 'end'))}); /* {op.name} */")


def row_loop(walk: Mapping[str, int]) -> tuple[str, str]:
    """The statement before, and the head of, a loop over rows that advances pointers by bytes."""
    before = "".join(f"{name} += begin * {op}, " for name, op in walk.items())[:-2] + ";"
    walks = "".join(f", {name} += {op}" for name, op in walk.items())
    return before, f"for (int i = begin; i < end; ++i{walks})"


def chunk_rows(height: int, row_bytes: int) -> int:
    """Rows to process as one: they fit L1 and divide the height."""
    fitting = [n for n in range(1, height + 1) if height % n == 0 and n * row_bytes <= _CHUNK_BYTES]
    return max(fitting, default=1)


def contiguous_runs(op: ir.Int8Convolution) -> tuple[NDArray[np.int8], tuple[int, ...], int]:
    """A window as ``(weight (out, rows, run), byte offsets of the runs, bytes of a run)``.

    A run covers the pixels of a kernel row, with zero weights for the bytes between their channels,
    if that takes fewer dot products of four bytes.
    """
    source, (down, right) = op.source, op.window.dilation
    out, channels, height, width = op.weight.shape
    pixels = op.weight.transpose(0, 2, 3, 1)
    row_step, column_step = down * source.row_stride, right * source.pixel_stride
    long = (width - 1) * column_step + channels
    apart = height * width * -(-channels // 4)
    if op.groups == 1 and height * -(-long // 4) <= apart:
        wide = np.zeros((out, height, width, column_step), np.int8)
        wide[..., :channels] = pixels
        if row_step == width * column_step:
            run = (height - 1) * row_step + long
            return wide.reshape(out, 1, -1)[:, :, :run], (0,), run
        rows = tuple(row * row_step for row in range(height))
        return wide.reshape(out, height, -1)[:, :, :long], rows, long
    views = tuple(
        row * row_step + column * column_step for row in range(height) for column in range(width)
    )
    return pixels.reshape(out, height * width, channels), views, channels
