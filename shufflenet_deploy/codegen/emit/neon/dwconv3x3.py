"""Depthwise 3x3 and 3x3 pooling in AArch64 assembly, fp32 and fp16.

Columns of up to four vectors are walked from top to bottom, and each input row is used at once for
every output row that it is part of. With stride 1 a row is loaded three times, one column apart.
With stride 2 ``ld2`` deinterleaves even and odd columns, and the odd ones moved by one lane are the
left neighbours of the even ones.
"""

from __future__ import annotations

from math import ceil

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.emit.neon.aarch64_asm import (
    VECTOR_BYTES,
    asm_statement,
    element_type,
)
from shufflenet_deploy.codegen.emit.neon.column3x3 import (
    ZERO,
    Column,
)
from shufflenet_deploy.codegen.emit.neon.column3x3_stride2 import Stride2Depthwise, Stride2Pool
from shufflenet_deploy.codegen.emit.unit import ALIGN_BYTES, TranslationUnit
from shufflenet_deploy.codegen.ir.ops import Direct3x3
from shufflenet_deploy.codegen.schedule.partition import even_sizes
from shufflenet_deploy.network.graph import Activation

_MAX_COLUMN_VECTORS = 4  # vectors in a column
_STRIDE2 = 2
#: Rows that take about as long as a line from memory.
_ROWS_AHEAD = 6
#: Hardware prefetchers follow streams that leave out a line.
_FORESEEN_GAP_BYTES = 2 * ALIGN_BYTES


def is_supported(op: Direct3x3, unit: TranslationUnit) -> bool:
    """True if the op has a padding of at most one pixel, as this kernel assumes."""
    source, target = op.source.layout, op.target.layout
    if not unit.cpu.fma_by_lane or op.left != 1 or source.height < 2:
        return False
    if op.weight is None and op.activation is Activation.HARD_SWISH:
        return False
    if op.top == 0:  # a pool's first row may be there
        return (
            op.weight is None
            and op.stride == 2
            and source.height == 2 * target.height + 1
            and 2 * target.width - 1 <= source.width
        )
    if op.stride == 1:
        same = (source.height, source.width) == (target.height, target.width)
        return op.weight is not None and same
    return 2 * target.height - 1 <= source.height and 2 * target.width - 1 <= source.width


def kernel_body(op: Direct3x3, unit: TranslationUnit) -> CWriter:
    """The body of the kernel for one channel."""
    code = CWriter(depth=1)
    numbers = element_type(unit.cpu.element_bytes)
    vectors = ceil(op.target.layout.width / numbers.lanes)
    columns = ceil(vectors / _MAX_COLUMN_VECTORS)
    sizes = even_sizes(vectors, columns)
    arguments = ["x", *(["w"] if op.weight is not None else []), "y"]
    head = ", ".join(f"{'' if name == 'y' else 'const '}real *{name}" for name in arguments)
    kind = (
        Stride2Pool
        if op.weight is None
        else _Stride1Depthwise
        if op.stride == 1
        else Stride2Depthwise
    )
    # What the last column writes after a row is the beginning of the next one: it is the first.
    for at in reversed(range(columns)):
        column = kind(op, numbers, sum(sizes[:at]), sizes[at])
        if at < columns - 1 or not _is_foreseen(op, unit, sizes[at]):
            column.prefetched = prefetched_rows(op, unit.cpu)
        column.write()
        text = CWriter(depth=1)
        text(*asm_statement(arguments, column.text, column.steps, looped=column.times))
        name = unit.kernel(f"dwconv3x3_{sizes[at]}v", f"INLINE void @({head})", text, "asm")
        code(f"{name}({', '.join(arguments)});")
    return code


def prefetched_rows(op: Direct3x3, cpu: CpuTarget) -> int:
    """Rows between what is prefetched and what is loaded, at most so many beyond the source.

    Cores that issue in order wait for every line that their prefetcher does not foresee. The
    caller's input is not prefetched, for nothing is known of what lies behind it.
    """
    wanted = cpu.in_order and cpu.assembly_prefetch and op.stride == _STRIDE2
    return _ROWS_AHEAD if wanted and op.source.buffer >= 0 else 0


def _is_foreseen(op: Direct3x3, unit: TranslationUnit, vectors: int) -> bool:
    """True if a hardware prefetcher goes on from row to row, in the column that loads first."""
    row = unit.cpu.element_bytes * op.source.layout.row_stride
    return row - 2 * VECTOR_BYTES * vectors <= _FORESEEN_GAP_BYTES


class _Stride1Depthwise(Column):
    """Depthwise 3x3 with stride 1."""

    temporaries = (24, 26)

    def write(self) -> None:
        self._constants()
        for column in range(3):
            self._load(0, column)
        self._row(0)
        self._rows(1, self.source.height - 1, 3)

    def _at(self, row: int) -> tuple[int, int]:
        return self._pixel(row + 1, 0), self._to(row - 1)

    def _pixel(self, row: int, column: int) -> int:
        """Byte offset of the load of a row; ``column`` is that of the kernel."""
        return self.size * (self.lanes * self.first + row * self.source.row_stride + column - 1)

    def _load(self, row: int, column: int) -> None:
        """Load the pixels under a kernel column; lanes in the padding become zero."""
        registers = self._under(column)
        some = self.element.register_list(registers)
        self.x.use(self._pixel(row, column), f"ld1 {some}", VECTOR_BYTES * self.vectors)
        for at, register in enumerate(registers):
            for lane in range(self.lanes):
                where = self.lanes * (self.first + at) + lane + column - 1
                if where in {-1, self.source.width}:
                    self.text.append(f"mov {self.lane_of(register, lane)}, {self.lane_of(ZERO, 0)}")

    def _under(self, column: int) -> list[int]:
        first = (3 + column) * self.vectors
        return list(range(first, first + self.vectors))

    def _sums(self, row: int) -> list[int]:
        first = row % 3 * self.vectors
        return list(range(first, first + self.vectors))

    def _row(self, row: int) -> None:
        """Everything that an input row contributes to; completes and stores an output row."""
        # The one to be stored is the first, so that the others hide how long its last sum takes.
        uses = [(2, row - 1), (1, row), (0, row + 1)]
        uses = [(tap, out) for tap, out in uses if 0 <= out < self.target.height]
        for column in range(3):
            for tap, out in uses:
                begins = column == 0 and (tap == 0 or out == row == 0)
                weight = 3 * tap + column
                self._multiply(self._under(column), self._sums(out), weight, begins=begins)
            if row + 1 < self.source.height:
                self._load(row + 1, column)
        if row:
            self._store(row - 1, self._sums(row - 1))
        if row == self.source.height - 1:
            self._store(row, self._sums(row))
