"""A translation unit under construction: shared kernels, packed weights, tasks of calls."""

from __future__ import annotations

import itertools
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.ir.planar import INPUT, OUTPUT, PlanarView
from shufflenet_deploy.codegen.schedule.parallel_schedule import Task
from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.network.graph import FloatArray

#: Bytes to which every packed array of weights is aligned.
ALIGN_BYTES = 64


def float_literal(value: float) -> str:
    """A float as a C literal; integers get a decimal point."""
    text = f"{np.float32(value):.9g}"
    return f"{text}f" if set(text) & set(".e") else f"{text}.0f"


@dataclass
class TranslationUnit:
    """One C file under construction; ``dtype`` is f32, f16, qs8 or qu8, as kernels are named.

    ``output_offsets`` are those of the outputs in the caller's array, in elements.
    """

    cpu: CpuTarget
    offsets: tuple[int, ...]
    dtype: str
    kernels: dict[str, str] = field(default_factory=dict)
    tasks: list[Task] = field(default_factory=list)
    blob: bytearray = field(default_factory=bytearray)
    output_offsets: tuple[int, ...] = (0,)
    headers: dict[str, None] = field(default_factory=dict)
    arena: str = "A"
    """The C name of the arena, and of the weights, as elements of the type."""
    weights: str = "W"

    def require(self, header: str) -> None:
        """Paste a C header of the emitters, such as ``c/functions.h``, before the kernels."""
        self.headers[header] = None

    @property
    def body(self) -> CWriter:
        """The calls of the current task."""
        return self.tasks[-1].calls

    def parallel(self, work_items: int, cost: float) -> AbstractContextManager[None]:
        """Calls over a range ``begin`` to ``end`` of independent work items.

        ``cost`` is about how many vector instructions each takes.
        """
        return self.tasks[-1].parallel(work_items, cost)

    def begin(self, *, independent: bool = False) -> None:
        """Start a task that depends on all before; if ``independent``, not on the last one."""
        self.tasks.append(Task(independent=independent))

    def complete(self, layer: int) -> None:
        """Mark the current task as completing an op."""
        self.tasks[-1].layer = layer

    def kernel(self, kind: str, head: str, text: CWriter, isa: str = "") -> str:
        """Register a function and return its name; equal bodies share one function.

        The name is ``DTYPE_KIND__ISA_NUMBER``; ``kind`` is the operation and, of a microkernel,
        its tile. ``isa`` overrides the target's, as in plain C ("scalar") or assembly ("asm").
        ``head`` is the signature with ``@`` for the name.
        """
        whole = f"{head}\n{{\n{text}\n}}\n"
        if whole not in self.kernels:
            number = len(self.kernels)
            self.kernels[whole] = f"{self.dtype}_{kind}__{isa or self.cpu.isa}_{number}"
        return self.kernels[whole]

    def add_bytes(self, array: NDArray[np.generic]) -> int:
        """Append an array to the weights; returns its offset in bytes."""
        self.blob.extend(b"\0" * (-len(self.blob) % ALIGN_BYTES))
        at = len(self.blob)
        self.blob.extend(np.ascontiguousarray(array).tobytes())
        return at

    def add_weights(self, array: FloatArray) -> int:
        """Append an array in the precision of the target; returns its offset in elements.

        Raises:
            ExportError: it holds a number beyond the range of fp16.
        """
        fp16 = self.cpu.is_fp16
        if fp16 and np.abs(array).max(initial=0.0) > np.finfo(np.float16).max:
            raise ExportError(f"a weight of {np.abs(array).max():.3g} is beyond fp16: choose fp32")
        kind = np.float16 if fp16 else np.float32
        return self.add_bytes(array.astype(kind)) // self.cpu.element_bytes

    def address(self, view: PlanarView, elements: int = 0) -> str:
        """A C expression for an element of a view's buffer."""
        if view.buffer == INPUT:
            return f"input + {elements}" if elements else "input"
        if view.buffer <= OUTPUT:
            elements += self.output_offsets[OUTPUT - view.buffer]
            return f"output + {elements}" if elements else "output"
        return f"{self.arena} + {self.offsets[view.buffer] + elements}"


@dataclass(frozen=True)
class StridedRun:
    """``count`` channels from ``first`` on, ``step`` planes apart from ``first_plane`` on."""

    first: int
    count: int
    first_plane: int
    step: int


def strided_runs(
    planes: tuple[int, ...], first: int = 0, count: int | None = None
) -> list[StridedRun]:
    """Split channels into the longest runs of evenly strided planes."""
    stop = len(planes) if count is None else first + count
    found = []
    while first < stop:
        size = 1
        step = planes[first + 1] - planes[first] if first + 1 < stop else 1
        while first + size < stop and planes[first + size] - planes[first + size - 1] == step:
            size += 1
        found.append(StridedRun(first, size, planes[first], step))
        first += size
    return found


def affine_expr(values: list[int]) -> str | None:
    """Offsets as an affine expression of ``i``; None if they are not evenly spaced."""
    step = values[1] - values[0] if len(values) > 1 else 0
    if any(two - one != step for one, two in itertools.pairwise(values)):
        return None
    return f"{values[0]} + i * {step}" if step else str(values[0])
