"""Depthwise 3x3 and 3x3 pooling by rows: each loaded row serves every output row it is in."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.c import prefetch
from shufflenet_deploy.codegen.emit.c.activations import activation_constants, activation_expr
from shufflenet_deploy.codegen.emit.unit import TranslationUnit, float_literal
from shufflenet_deploy.codegen.ir.ops import Direct3x3

#: Where the bias is, after nine weights, a hard-swish's 1/6, and how many numbers make whole
#: vectors of four.
BIAS_INDEX, SIXTH_INDEX, PACKED_WEIGHTS = 9, 10, 12


def reduce_expr(op: Direct3x3, values: Sequence[str], lanes: int) -> str:
    """A C expression: the sum or the maximum of vectors."""
    text = values[0]
    for value in values[1:]:
        text = f"MAX{lanes}({text}, {value})" if op.is_maximum else f"{text} + {value}"
    return text


def _rows_per_block(height: int) -> int:
    """Output rows per block: few blocks, evenly filled."""
    return min(range(4, 9), key=lambda rows: (ceil(height / rows) * (rows + 2), rows))


class RowKernel:
    """Emitter of one ``Direct3x3`` for one channel; shapes and padding are constants."""

    def __init__(self, op: Direct3x3, unit: TranslationUnit) -> None:
        self.op = op
        self.source, self.target = op.source.layout, op.target.layout
        narrow = min(unit.cpu.lanes, self.target.width)
        self.lanes = max(size for size in (16, 8, 4) if size <= narrow)
        self.cpu = unit.cpu
        self.kind = f"v{self.lanes}"
        self.biased = op.bias is not None and bool(op.bias.any())
        self.at_once = 2
        if unit.cpu.registers > 16:
            self.at_once = _rows_per_block(self.target.height) if op.stride == 1 else 2
        self.code = CWriter(depth=1)

    def write(self) -> CWriter:
        op, n, kind, code = self.op, self.lanes, self.kind, self.code
        if op.weight is not None:
            if self.cpu.fma_by_lane:
                code("const v4 w0 = LOAD4(w), w1 = LOAD4(w + 4), w2 = LOAD4(w + 8);")
            else:
                # On a image of one row some weights meet padding only.
                weight = f"const {kind} w%d __attribute__((unused)) = SPLAT{n}(w[%d]);"
                code(*(weight % (i, i) for i in range(9 + self.biased)))
        code(*activation_constants(op.activation, kind))
        row = 0
        while row < self.target.height:
            rows = min(self.at_once, self.target.height - row)
            pattern = self._valid_rows(row, rows)
            times = 1
            while (
                row + rows * (times + 1) <= self.target.height
                and self._valid_rows(row + rows * times, rows) == pattern
            ):
                times += 1
            with code.block(f"for (int i = {row}; i < {row + rows * times}; i += {rows})"):
                begin = f"(i * {op.stride} - {op.top}) * {self.source.row_stride} - {op.left}"
                code(f"const real *from = x + ({begin});")
                code(f"real *to = y + i * {self.target.row_stride};")
                self.columns(rows, pattern)
            row += rows * times
        return code

    def _valid_rows(self, row: int, rows: int) -> tuple[bool, ...]:
        first = row * self.op.stride - self.op.top
        count = (rows - 1) * self.op.stride + 3
        return tuple(0 <= first + i < self.source.height for i in range(count))

    def _valid_lanes(self, column: int) -> tuple[tuple[bool, ...], ...]:
        first = column * self.op.stride - self.op.left
        return tuple(
            tuple(
                0 <= first + tap + lane * self.op.stride < self.source.width
                for lane in range(self.lanes)
            )
            for tap in range(3)
        )

    def columns(self, rows: int, pattern: tuple[bool, ...]) -> None:
        """Emit every vector of a block of rows; the last vector may overlap the one before."""
        starts = list(range(0, self.target.width - self.lanes + 1, self.lanes))
        if starts[-1] + self.lanes < self.target.width:
            starts.append(self.target.width - self.lanes)
        whole = ((True,) * self.lanes,) * 3
        inner = [at for at in starts if at % self.lanes == 0 and self._valid_lanes(at) == whole]
        looped = inner if len(inner) > 2 else []
        for at in starts:
            if at in looped:
                if at == looped[0]:
                    head = f"for (int j = {at}; j <= {looped[-1]}; j += {self.lanes})"
                    with self.code.block(head):
                        self._vector("j", rows, pattern, whole)
            else:
                with self.code.block(""):
                    self._vector(str(at), rows, pattern, self._valid_lanes(at))

    def ask(self, at: str, rows: int) -> None:
        """Prefetch the loads and the stores of the next ``rows`` output rows at column ``at``."""
        stride, row = self.op.stride, self.source.row_stride
        if prefetch.exceeds_llc_share(self.source, self.cpu):
            for i in range(3 - stride, 3 - stride + rows * stride):
                first = f"from + {(rows * stride + i) * row} + {at} * {stride}"
                prefetch.emit_prefetch(self.code, self.cpu, first, self.lanes * stride)
        if prefetch.exceeds_llc_share(self.target, self.cpu):
            for i in range(rows, 2 * rows):
                first = f"to + {i * self.target.row_stride} + {at}"
                prefetch.emit_prefetch(self.code, self.cpu, first, self.lanes, write=True)

    def _vector(
        self, at: str, rows: int, pattern: tuple[bool, ...], lanes: tuple[tuple[bool, ...], ...]
    ) -> None:
        """Emit one output vector in each of ``rows`` rows."""
        op, code, n = self.op, self.code, self.lanes
        if at == "j":
            self.ask(at, rows)
        started: set[int] = set()
        for i, valid in enumerate(pattern):
            if not valid:
                continue
            self._load(f"from + {i * self.source.row_stride} + {at} * {op.stride}", i, lanes)
            uses = [(i - out * op.stride, out) for out in range(rows)]
            uses = [(tap, out) for tap, out in uses if 0 <= tap < 3]
            if op.weight is None:
                across = reduce_expr(op, [f"x{i}_{column}" for column in range(3)], n)
                code(f"const {self.kind} h{i} = {across};")
            for tap, out in uses:
                self.accumulate(i, tap, out, first=out not in started)
                started.add(out)
        for out in range(rows):
            value = f"a{out}"
            if op.is_average:
                value = f"a{out} * (real){float_literal(op.scale)}"
            value = activation_expr(op.activation, f"({value})", str(self.lanes))
            code(f"STORE{self.lanes}(to + {out * self.target.row_stride} + {at}, {value});")

    @property
    def outside(self) -> str:
        """The C constant for pixels in the padding."""
        return "-INFINITY" if self.op.is_maximum else "0.0f"

    def accumulate(self, i: int, tap: int, out: int, *, first: bool) -> None:
        code = self.code
        if self.op.weight is None:
            if first:
                code(f"{self.kind} a{out} = h{i};")
            elif self.op.is_maximum:
                code(f"a{out} = MAX{self.lanes}(a{out}, h{i});")
            else:
                code(f"a{out} += h{i};")
            return
        if first and self.biased:
            bias = f"SPLAT{self.lanes}(w2[1])" if self.cpu.fma_by_lane else "w9"
            code(f"{self.kind} a{out} = {bias};")
        for column in range(3):
            k = 3 * tap + column
            if first and not self.biased and column == 0:
                weight = f"w{k // 4}[{k % 4}]" if self.cpu.fma_by_lane else f"w{k}"
                code(f"{self.kind} a{out} = x{i}_0 * {weight};")
            elif self.cpu.fma_by_lane:
                code(f"a{out} = FMA_LANE(a{out}, x{i}_{column}, w{k // 4}, {k % 4});")
            else:
                code(f"a{out} += x{i}_{column} * w{k};")

    def _load(self, start: str, i: int, lanes: tuple[tuple[bool, ...], ...]) -> None:
        """Load the pixels under the three kernel columns; lanes in the padding are overwritten."""
        n, kind, code = self.lanes, self.kind, self.code
        if self.op.stride == 1:
            loads = [f"LOAD{n}({start} + {tap})" for tap in range(3)]
        else:
            code(f"const {kind} p{i} = LOAD{n}({start}), q{i} = LOAD{n}({start} + {n});")
            code(f"const {kind} s{i} = LOAD{n}({start} + 2), t{i} = LOAD{n}({start} + {n + 2});")
            loads = [f"EVEN{n}(p{i}, q{i})", f"ODD{n}(p{i}, q{i})", f"EVEN{n}(s{i}, t{i})"]
        outside = self.outside
        for tap, load in enumerate(loads):
            code(f"{kind} x{i}_{tap} = {load};")
            code(
                *(
                    f"x{i}_{tap}[{lane}] = {outside};"
                    for lane, valid in enumerate(lanes[tap])
                    if not valid
                )
            )


def is_supported(op: Direct3x3, unit: TranslationUnit) -> bool:  # noqa: ARG001 - all are
    """True: this kernel emits every op on every target."""
    return True


def kernel_body(op: Direct3x3, unit: TranslationUnit) -> CWriter:
    """The body of the kernel for one channel."""
    return RowKernel(op, unit).write()
