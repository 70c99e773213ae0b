"""Depthwise 3x3 and 3x3 pooling with stride 2 on AVX-512, for planes wider than a vector.

Each pixel is loaded once: the right kernel column of one window is the left one of the next.
"""

from __future__ import annotations

from collections.abc import Sequence

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.c.activations import activation_expr
from shufflenet_deploy.codegen.emit.c.dwconv3x3_rows import RowKernel, reduce_expr
from shufflenet_deploy.codegen.emit.unit import TranslationUnit, float_literal
from shufflenet_deploy.codegen.ir.ops import Direct3x3

_LANES = 16


def is_supported(op: Direct3x3, unit: TranslationUnit) -> bool:
    """True for stride 2 with a left padding of one on planes wider than a vector."""
    width = op.target.layout.width
    return unit.cpu.lanes == _LANES < width and op.stride == 2 and op.left == 1


def kernel_body(op: Direct3x3, unit: TranslationUnit) -> CWriter:
    """The body of the kernel for one channel."""
    return DeinterleavedRows(op, unit).write()


class DeinterleavedRows(RowKernel):
    """Rows deinterleaved as they are loaded.

    Even pixels are the middle kernel column, odd ones the right column, and the left column is the
    right one of the window before. Pools reduce down the columns first.
    """

    def __init__(self, op: Direct3x3, unit: TranslationUnit) -> None:
        super().__init__(op, unit)
        self.at_once = 2 if op.weight is not None else 4

    def columns(self, rows: int, pattern: tuple[bool, ...]) -> None:
        op, code, width, n = self.op, self.code, self.target.width, self.lanes
        lines = [i for i, valid in enumerate(pattern) if valid]
        for line in lines if op.weight is not None else range(rows):
            code(f"{self.kind} before{line} = SPLAT{n}({self.outside});")
        # The right column of the last windows may be outside.
        last = width - 1 - (width - 1) % n
        with code.block(f"for (int j = 0; j < {last}; j += {n})"):
            self._deinterleaved("j", rows, pattern, n)
        with code.block(""):
            self._deinterleaved(str(last), rows, pattern, width - last)

    def _deinterleaved(self, at: str, rows: int, pattern: tuple[bool, ...], count: int) -> None:
        """Emit one output vector in each of ``rows`` rows, ``count`` pixels of it."""
        code, n, row = self.code, self.lanes, self.source.row_stride
        self.ask(at, rows)
        loads = {}
        for i, valid in enumerate(pattern):
            if valid:
                start = f"from + {i * row + 1} + {at} * 2"
                code(f"{self.kind} p{i} = LOAD{n}({start}), q{i} = LOAD{n}({start} + {n});")
                loads[i] = (f"p{i}", f"q{i}")
        if self.op.weight is None:
            for out in range(rows):
                lines = [loads[i] for i in range(2 * out, 2 * out + 3) if i in loads]
                down = [
                    reduce_expr(self.op, [line[half] for line in lines], n) for half in range(2)
                ]
                self._deal(out, down, count)
                taps = [f"x{out}_{tap}" for tap in range(3)]
                code(f"const {self.kind} a{out} = {reduce_expr(self.op, taps, n)};")
        else:
            started: set[int] = set()
            for i, halves in loads.items():
                self._deal(i, halves, count)
                for out in range(rows):
                    if 0 <= i - 2 * out < 3:
                        self.accumulate(i, i - 2 * out, out, first=out not in started)
                        started.add(out)
        for out in range(rows):
            self._store(out, at, count)

    def _deal(self, line: int, halves: Sequence[str], count: int) -> None:
        """The three kernel columns from the even and odd pixels of a row."""
        code, n, kind = self.code, self.lanes, self.kind
        one, two = (f"({half})" for half in halves)
        code(f"const {kind} one{line} = {one}, two{line} = {two};")
        code(f"const {kind} x{line}_1 = EVEN{n}(one{line}, two{line});")
        code(f"{kind} x{line}_2 = ODD{n}(one{line}, two{line});")
        picked = ", ".join(map(str, range(n - 1, 2 * n - 1)))
        code(f"const {kind} x{line}_0 =")
        code(f"    __builtin_shufflevector(before{line}, x{line}_2, {picked});")
        if count == n:
            code(f"before{line} = x{line}_2;")
        if 2 * self.target.width > self.source.width and count == self._last:
            code(f"x{line}_2[{count - 1}] = {self.outside};")

    @property
    def _last(self) -> int:
        """Pixels in the last vector of a row."""
        return (self.target.width - 1) % self.lanes + 1

    def _store(self, out: int, at: str, count: int) -> None:
        op, n = self.op, self.lanes
        value = f"a{out}"
        if op.is_average:
            value = f"a{out} * {float_literal(op.scale)}"
        value = activation_expr(op.activation, f"({value})", str(n))
        to = f"to + {out * self.target.row_stride} + {at}"
        if count == n:
            self.code(f"STORE{n}({to}, {value});")
        else:
            mask = (1 << count) - 1
            self.code(f"_mm512_mask_storeu_ps({to}, {mask:#x}, (__m512){value});")
