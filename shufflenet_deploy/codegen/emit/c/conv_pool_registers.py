"""Convolution fused with its max pool, reduced while the accumulators are in registers.

A tile is two rows by two vectors of columns of the convolution, which make one vector of the pool's
output. Of the convolution's feature map only every second row is carried to the next row of tiles,
and the last columns from tile to tile; the map as a whole never exists. Input pixels are
deinterleaved into even and odd columns on the stack. On targets with multiply-add by lane the
longer register blocks of a stored feature map take fewer instructions, so this is not used there.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.emit.c import prefetch
from shufflenet_deploy.codegen.emit.c.activations import activation_constants, activation_expr
from shufflenet_deploy.codegen.emit.c.convolution import pack_weights
from shufflenet_deploy.codegen.emit.kernel_calls import run_lengths, tile_loops
from shufflenet_deploy.codegen.emit.unit import ALIGN_BYTES, TranslationUnit
from shufflenet_deploy.codegen.ir.ops import FusedConvPool
from shufflenet_deploy.codegen.schedule.fused_conv_pool import (
    ROWS,
    STRIDE,
    VECTORS,
    deinterleaved_tile,
    tile_columns,
)
from shufflenet_deploy.codegen.schedule.partition import even_sizes


def fused_conv_pool(op: FusedConvPool, unit: TranslationUnit) -> None:
    """Emit the kernels for a row of tiles, and the loop over rows."""
    writer = _Writer(op, unit)
    code, height = CWriter(depth=1), op.target.layout.height
    code(
        f"kept += begin * {op.carried_elements};",
        "if (begin == 0)",
        f"    fill(kept, {op.carried_elements}, -INFINITY);",
        "else",
        f"    {writer.tile_row((1,))}(x, w, b, kept, y, begin - 1, end);",
    )
    whole = writer.tile_row((0, 1))
    if op.height % ROWS:
        whole = f"(k < {height - 1} ? {whole} : {writer.tile_row((0,))})"
    code("for (int k = begin; k < end; ++k)", f"    {whole}(x, w, b, kept, y, k, end);")
    head = "const real *x, const real *w, const real *b, real *kept, real *y, int begin, int end"
    name = unit.kernel("conv_maxpool", f"LOOP void @({head})", code)
    at = [unit.add_weights(array) for array in (pack_weights(op.weight, writer.blocks), op.bias)]
    given = ", ".join(
        [
            unit.address(op.source, op.source.offset()),
            *(f"{unit.weights} + {one}" for one in at),
            *(unit.address(view) for view in (op.sources[1], op.target)),
        ]
    )
    cost = op.weight.size * ROWS * ceil(op.width / unit.cpu.lanes)
    with unit.parallel(height, cost):
        unit.body("if (begin < end)", f"    {name}({given}, begin, end); /* {op.name} */")


def _output_blocks(outputs: int, cpu: CpuTarget) -> list[int]:
    """Split output channels into nearly equal blocks that fill the registers."""
    pixels = ROWS * VECTORS
    times = ceil(outputs / max(1, (cpu.registers - pixels - 1) // pixels))
    return even_sizes(outputs, times)


class _Writer:
    """Emitter of the functions of one op."""

    def __init__(self, op: FusedConvPool, unit: TranslationUnit) -> None:
        self.op, self.unit = op, unit
        self.lanes = unit.cpu.lanes
        self.blocks = _output_blocks(op.weight.shape[0], unit.cpu)
        self.sorted = deinterleaved_tile(op.kernel, op.left, unit.cpu)
        self.full, self.rest = divmod(op.width, tile_columns(unit.cpu))

    def tile_row(self, rows: tuple[int, ...]) -> str:
        """The function for one output row, computing these ``rows`` (0, 1) of the convolution.

        Computing row 1 alone only carries it to the next output row.
        """
        op, tile, code = self.op, self.sorted, CWriter(depth=1)
        channels, outputs = op.source.layout.channels, len(op.target.planes)
        pools, size = 0 in rows, tile.columns
        code(
            f"real sorted[{channels * tile.channel_stride}] "
            f"__attribute__((aligned({ALIGN_BYTES})));"
        )
        if pools:
            to = ", ".join(str(op.target.offset(at)) for at in range(outputs))
            code(
                f"static const int to[] = {{{to}}};",
                f"real last[{outputs * self.lanes}] __attribute__((aligned({ALIGN_BYTES})));",
                f"fill(last, {outputs * self.lanes}, -INFINITY);",
                f"y += k * {op.target.layout.row_stride};",
            )
        if self.full:
            with code.block(f"for (int q = 0; q < {self.full * size}; q += {size})"):
                self._sort(code)
                if self.unit.cpu.software_prefetch and pools:
                    self._fetch(code)
                self._tiles(code, rows, VECTORS, 0)
        if self.rest:
            with code.block(""):
                code(f"const int q = {self.full * size};")
                self._sort(code)
                self._tiles(code, rows, ceil(self.rest / self.lanes), self.rest)
        if not pools:
            code("(void)y;")
        code("(void)end;")
        head = "const real *x, const real *w, const real *b, real *kept, real *y, int k, int end"
        return self.unit.kernel("conv_maxpool_row", f"LOOP void @({head})", code)

    def _fetch(self, code: CWriter) -> None:
        """Prefetch the input rows of the next row of tiles while this one is computed."""
        source, tile_row = self.op.source.layout, ROWS * STRIDE
        added = f"k * {tile_row} + {self.sorted.rows - self.op.top}"
        with code.block(f"if (k + 1 < end && {added} <= {source.height - tile_row})"):
            code(f"for (int c = 0; c < {source.channels}; ++c)")
            with code.block(f"    for (int r = 0; r < {tile_row}; ++r)"):
                at = f"c * {source.channel_stride} + ({added} + r) * {source.row_stride}"
                code(f"const real *next = x + {at} + q * {STRIDE};")
                prefetch.emit_prefetch(code, self.unit.cpu, "next", STRIDE * self.sorted.columns)

    def _sort(self, code: CWriter) -> None:
        """Deinterleave the input of the tile at column ``q``."""
        source, tile = self.op.source.layout, self.sorted
        with code.block(f"for (int c = 0; c < {source.channels}; ++c)"):
            code(f"for (int r = 0; r < {tile.rows}; ++r)")
            given = [
                f"x + c * {source.channel_stride}",
                f"sorted + c * {tile.channel_stride} + r * {tile.row_stride}",
                f"k * {ROWS * STRIDE} - {self.op.top} + r",
            ]
            code(f"    {self._row()}({', '.join(given)}, q);")

    def _row(self) -> str:
        """The function that deinterleaves an input row from column ``2 * q`` on."""
        source, tile, code = self.op.source.layout, self.sorted, CWriter(depth=1)
        size = tile.columns + tile.after
        code(
            f"real *even = to + {tile.first}, *odd = even + {tile.part};",
            f"const int pairs = {source.width // STRIDE} - q;",
        )
        with code.block(f"if (row < 0 || row >= {source.height})"):
            for part in ("even", "odd"):
                code(f"fill({part} - {tile.before}, {tile.before + size}, 0);")
            code("return;")
        code(f"x += row * {source.row_stride} + q * {STRIDE};")
        if tile.before:
            with code.block(f"for (int i = -{tile.before}; i < 0; ++i)"):
                code("even[i] = q ? x[2 * i] : 0, odd[i] = q ? x[2 * i + 1] : 0;")
        with code.block(f"if (pairs >= {size})"):
            code(f"deinterleave(x, even, odd, {size});", "return;")
        code("deinterleave(x, even, odd, pairs);")
        for part in ("even", "odd"):
            code(f"fill({part} + pairs, {size} - pairs, 0);")
        if source.width % STRIDE:
            code("even[pairs] = x[2 * pairs];")
        head = "LOOP void @(const real *restrict x, real *restrict to, int row, int q)"
        return self.unit.kernel("deinterleave_row", head, code)

    def _tiles(self, code: CWriter, rows: tuple[int, ...], vectors: int, rest: int) -> None:
        """Call the tile function for all output channels at column ``q``."""
        width, depth = self.op.carried_row_stride, self.op.weight[0].size
        for size, _ in tile_loops(code, "o", run_lengths(self.blocks)):
            name = self._tile(size, rows, vectors, rest)
            given = ["sorted", f"w + o * {depth}", "b + o", f"kept + o * {width} + q"]
            if 0 in rows:
                given += [f"last + o * {self.lanes}", "y + q / 2", "to + o"]
            code(f"{name}({', '.join(given)});")

    def _tile(self, outputs: int, rows: tuple[int, ...], vectors: int, rest: int) -> str:
        """The tile function; the last tile of a row has ``rest`` columns, others all (0)."""
        op, tile, code = self.op, self.sorted, CWriter(depth=1)
        sums = [(row, at) for row in rows for at in range(vectors)]
        for output in range(outputs):
            code(*(f"vf a{output}_{row}_{at} = SPLAT(b[{output}]);" for row, at in sums))
        if 0 in rows and prefetch.exceeds_l2(op.target.layout, self.unit.cpu):
            for output in range(outputs):
                prefetch.emit_prefetch(
                    code, self.unit.cpu, f"y + to[{output}]", self.lanes, write=True
                )
        height, width = op.kernel
        code("const real *plane = x;")
        with code.block(
            f"for (int c = 0; c < {op.weight.shape[1]}; ++c, plane += {tile.channel_stride})"
        ):
            with code.block(f"for (int t = 0; t < {height}; ++t, w += {width * outputs})"):
                code(f"x = plane + t * {tile.row_stride};")
                for column in range(width):
                    self._multiply(code, outputs, sums, column)
        if 0 in rows:
            used = (op.inner, op.activation)
            code(*dict.fromkeys(line for one in used for line in activation_constants(one)))
        for output in range(outputs):
            with code.block(""):
                self._finish(code, output, rows, vectors, rest)
        head = "const real *x, const real *w, const real *b, real *kept"
        if 0 in rows:
            head += ", real *last, real *y, const int *to"
        return self.unit.kernel(
            f"conv_maxpool_{outputs}x{len(rows)}x{vectors}v", f"INLINE void @({head})", code
        )

    def _multiply(
        self, code: CWriter, outputs: int, sums: list[tuple[int, int]], column: int
    ) -> None:
        """Accumulate one kernel column for each output channel."""
        pixels = self.sorted.at(column - self.op.left)
        for row, at in sums:
            from_ = pixels + row * STRIDE * self.sorted.row_stride + at * self.lanes
            code(f"const vf x{column}_{row}_{at} = LOAD(x + {from_});")
        for output in range(outputs):
            for row, at in sums:
                factor = f"w[{column * outputs + output}]"
                code(f"a{output}_{row}_{at} += x{column}_{row}_{at} * {factor};")

    def _finish(
        self, code: CWriter, output: int, rows: tuple[int, ...], vectors: int, rest: int
    ) -> None:
        """Carry the second row of a channel; store the maxima of both rows and the carried one."""
        op, lanes, kept = self.op, self.lanes, f"kept + {output * self.op.carried_row_stride}"
        for at in range(vectors):
            values = [f"a{output}_{row}_{at}" for row in rows]
            if 0 in rows:
                both = f"MAX({', '.join(values)})" if len(rows) > 1 else values[0]
                code(f"vf m{at} = MAX({both}, LOAD({kept} + {at * lanes}));")
            if 1 in rows:
                code(f"STORE({kept} + {at * lanes}, {values[-1]});")
        if 0 not in rows:
            return
        if rest % 2:  # columns outside the map
            at, inside = divmod(rest, lanes)
            order = [one if one < inside else lanes for one in range(lanes)]
            outside = "SPLAT(-INFINITY)"
            code(f"m{at} = __builtin_shufflevector(m{at}, {outside}, {_comma_separated(order)});")
        one, two = "m0", f"m{vectors - 1}"
        last = f"last + {output * lanes}"
        order = list(range(lanes - 1, 2 * lanes - 1))
        code(
            f"const vf even = EVEN({one}, {two}), odd = ODD({one}, {two});",
            f"const vf left = __builtin_shufflevector(LOAD({last}), odd, "
            f"{_comma_separated(order)});",
        )
        if not rest:
            code(f"STORE({last}, odd);")
        # No activation falls: of the largest it makes the largest.
        code("const vf most = MAX(MAX(left, even), odd);")
        code(f"const vf active = {activation_expr(op.inner, 'most')};")
        value = activation_expr(op.activation, "active")
        count = ceil(rest / 2) if rest else lanes
        if count == lanes:
            code(f"STORE(y + to[{output}], {value});")
        else:
            code(
                f"real part[{lanes}] __attribute__((aligned({ALIGN_BYTES})));",
                f"STORE(part, {value});",
                f"memcpy(y + to[{output}], part, {count} * sizeof *part);",
            )


def _comma_separated(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
