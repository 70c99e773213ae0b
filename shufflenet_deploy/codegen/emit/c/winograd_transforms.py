"""Winograd input and output transforms (arXiv 1509.09308, Lavin and Gray).

Both are separable and run one direction at a time through scratch that stays in L1. Rows are
deinterleaved by column % width of a tile first, so that the same column of neighbouring tiles is
one vector; the rest runs over all tiles of some rows as one flat vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.c import prefetch
from shufflenet_deploy.codegen.emit.c.activations import (
    activation_constants,
    activation_expr,
    scalar_expr,
)
from shufflenet_deploy.codegen.emit.c.linear_combination import (
    Terms,
    column_pairs,
    column_terms,
    emit_matvec,
    sum_expr,
)
from shufflenet_deploy.codegen.emit.kernel_calls import Arguments, emit_calls
from shufflenet_deploy.codegen.emit.unit import TranslationUnit, strided_runs
from shufflenet_deploy.codegen.ir.ops import WinogradInput, WinogradOutput, WinogradTiles
from shufflenet_deploy.codegen.schedule.winograd import Matrix, transforms
from shufflenet_deploy.codegen.schedule.winograd_layout import (
    channel_elements,
    phase_elements,
    prefetched_per_tile,
    tile_rows_per_pass,
)

_SIZES = (16, 8, 4)
#: A width of tiles that is no power of two.
_ODD_WIDTH = 3


def _filter_name(tiles: WinogradTiles) -> str:
    """How kernels are named: F(4 x 2, 3 x 3) is ``4x2_3``."""
    return f"{tiles.height}x{tiles.width}_{tiles.kernel}"


def _rows_in_pass(tiles: WinogradTiles, at_once: int) -> str:
    """A C expression: rows of tiles from ``top`` on, at most ``at_once``."""
    return f"clamp_index({tiles.rows} - top, {at_once})" if tiles.rows % at_once else str(at_once)


def winograd_input(op: WinogradInput, unit: TranslationUnit) -> None:
    """Emit the input transform: across each row, then down each column."""
    code = _InputTransform(op, unit).write()
    name = unit.kernel(
        f"winograd_input_{_filter_name(op.tiles)}",
        "LOOP void @(const real *x, real *y)",
        code,
    )
    channels = range(op.source.layout.channels)
    columns: Arguments = [
        (op.source, [op.source.offset(channel) for channel in channels]),
        (op.target, [op.target.offset(channel) for channel in channels]),
    ]
    vectors = ceil(op.tiles.count / unit.cpu.lanes)
    cost = 4 * op.tiles.transform_size * vectors
    emit_calls(unit, name, columns, len(channels), op.name, cost=cost)


class _InputTransform:
    """Emitter of one ``WinogradInput`` for one channel."""

    def __init__(self, op: WinogradInput, unit: TranslationUnit) -> None:
        self.op, self.tiles, self.lanes = op, op.tiles, unit.cpu.lanes
        self.down, self.across = (
            transforms(side, op.tiles.kernel).BT for side in (op.tiles.height, op.tiles.width)
        )
        self.phase = phase_elements(self.tiles, self.lanes)
        self.at_once = tile_rows_per_pass(self.tiles, self.lanes)
        self.rows = self.tiles.height * self.at_once + self.tiles.kernel - 1
        #: Elements of a column's share of the rows that are ``row`` modulo the height of a tile.
        self.column = ceil(self.rows / self.tiles.height) * self.tiles.columns + self.lanes
        self.code = CWriter(depth=1)

    def write(self) -> CWriter:
        code, tiles, source = self.code, self.tiles, self.op.source.layout
        span = tiles.spans[1]
        kept = tiles.height * span * self.column + 2 * self.lanes
        sorted_ = self.rows * tiles.width * self.phase + 2 * self.lanes
        code(f"real s[{sorted_}] __attribute__((aligned(64)));")
        code(f"real h[{kept}] __attribute__((aligned(64)));")
        with code.block(f"for (int top = 0; top < {tiles.rows}; top += {self.at_once})"):
            code(f"const int first = top * {tiles.height} - {self.op.top};")
            code(f"const int begin = first < 0 ? -first : 0, end = {source.height} - first;")
            with code.block(f"for (int i = begin; i < {self.rows} && i < end; ++i)"):
                self._sort()
            with code.block(f"for (int i = 0; i < {self.rows}; ++i)"):
                code(f"const real *from = s + i * {tiles.width * self.phase};")
                code(
                    f"real *to = h + i % {tiles.height} * {span * self.column}"
                    f" + i / {tiles.height} * {tiles.columns};"
                )
                self._across()
            with code.block(f"for (int j = 0; j < {span}; ++j)"):
                self._down()
        return code

    def _sort(self) -> None:
        """Deinterleave an input row; zeros where it is padding."""
        code, tiles, n = self.code, self.tiles, self.lanes
        source, left = self.op.source.layout, self.op.left
        code(f"const real *from = x + (first + i) * {source.row_stride} - {left};")
        code(f"real *to = s + i * {tiles.width * self.phase};")
        with code.block(f"for (int p = 0; p < {self.phase}; p += LANES)"):
            names = [f"a{at}" for at in range(tiles.width)]
            for at, name in enumerate(names):
                code(f"const vf {name} = LOAD(from + p * {tiles.width} + {at * n});")
            for at, value in enumerate(_deinterleave(code, names, n)):
                code(f"STORE(to + p + {at * self.phase}, {value});")
        columns = tiles.width * tiles.columns + tiles.kernel - 1
        for column in range(columns):
            if not left <= column < left + source.width:
                at = column % tiles.width * self.phase + column // tiles.width
                code(f"to[{at}] = 0.0f;")

    def _across(self) -> None:
        code, tiles, span = self.code, self.tiles, self.tiles.spans[1]
        n = _narrowest_vector(tiles.columns, self.lanes)
        with code.block("if (i >= begin && i < end)"):
            with code.block(f"for (int p = 0; p < {tiles.columns}; p += {n})"):
                for k in range(span):
                    at = k % tiles.width * self.phase + k // tiles.width
                    code(f"const v{n} a{k} = LOAD{n}(from + p + {at});")
                to = [f"to + p + {f * self.column}" for f in range(span)]
                self._transformed(self.across, n, to)
        with code.block("else"):
            with code.block(f"for (int p = 0; p < {tiles.columns}; p += {n})"):
                code(f"const v{n} zero = {{0}};")
                for f in range(span):
                    code(f"STORE{n}(to + p + {f * self.column}, zero);")

    def _down(self) -> None:
        code, tiles, (down, across) = self.code, self.tiles, self.tiles.spans
        code(f"const real *from = h + j * {self.column};")
        element_stride = self.op.target.offset(self.op.source.layout.channels)
        code(f"real *to = y + j * {down * element_stride} + top * {tiles.columns};")
        code(f"const int rows = {_rows_in_pass(tiles, self.at_once)};")
        with code.block(f"for (int p = 0; p < rows * {tiles.columns}; p += LANES)"):
            for k in range(down):
                at = k % tiles.height * across * self.column + k // tiles.height * tiles.columns
                code(f"const vf a{k} = LOAD(from + p + {at});")
            to = [f"to + p + {f * element_stride}" for f in range(down)]
            self._transformed(self.down, self.lanes, to)

    def _transformed(self, matrix: Matrix, n: int, to: Sequence[str]) -> None:
        """Store a matrix times the vectors ``a0``, ``a1``, ..."""
        values = emit_matvec(self.code, matrix, n)
        for at, value in zip(to, values, strict=True):
            self.code(f"STORE{n}({at}, {value});")


def winograd_output(op: WinogradOutput, unit: TranslationUnit) -> None:
    """Emit the output transform; then tiles are interleaved to rows of pixels."""
    code = _OutputTransform(op, unit).write()
    residual = len(op.sources) > 1
    head = "const real *x, const real *w, " + ("const real *r, " if residual else "") + "real *y"
    name = unit.kernel(f"winograd_output_{_filter_name(op.tiles)}", f"LOOP void @({head})", code)
    at = unit.add_weights(op.bias)
    cost = 5 * op.tiles.transform_size * ceil(op.tiles.count / unit.cpu.lanes)
    for run in strided_runs(op.target.planes):
        channels = range(run.first, run.first + run.count)
        columns: Arguments = [(op.source, [op.source.offset(channel) for channel in channels])]
        columns.append((None, [at + channel for channel in channels]))
        for view in (*op.sources[1:], op.target):
            columns.append((view, [view.offset(channel) for channel in channels]))
        emit_calls(unit, name, columns, run.count, op.name, cost=cost)


class _OutputTransform:
    """Emitter of one ``WinogradOutput`` for one channel."""

    def __init__(self, op: WinogradOutput, unit: TranslationUnit) -> None:
        self.op, self.tiles, self.lanes, self.cpu = op, op.tiles, unit.cpu.lanes, unit.cpu
        self.down, self.across = (
            transforms(side, op.tiles.kernel).AT for side in (op.tiles.height, op.tiles.width)
        )
        self.at_once = tile_rows_per_pass(self.tiles, self.lanes)
        self.pixel = ceil(self.at_once * self.tiles.columns / self.lanes) * self.lanes
        self.code = CWriter(depth=1)

    def write(self) -> CWriter:
        code, tiles = self.code, self.tiles
        side = tiles.height
        kept = side * tiles.width * self.pixel + self.lanes
        code(f"real h[{kept}] __attribute__((aligned(64)));")
        code("const real bias = *w;")
        with code.block(f"for (int top = 0; top < {tiles.rows}; top += {self.at_once})"):
            code(f"const int rows = {_rows_in_pass(tiles, self.at_once)};")
            code(f"const real *from = x + top * {tiles.columns};")
            with code.block(f"for (int p = 0; p < rows * {tiles.columns}; p += LANES)"):
                self._prefetch()
                self._tiles()
            height = self.op.target.layout.height
            pixels = f"i < rows * {side} && top * {side} + i < {height}"
            with code.block(f"for (int i = 0; {pixels}; ++i)"):
                self._row()
        return code

    def _prefetch(self) -> None:
        """Prefetch a share of the next channel, whose planes follow those of this one.

        They are too many streams for a hardware prefetcher.
        """
        if not self.cpu.assembly_prefetch:
            return
        plane = self.op.source.layout.channel_stride
        channel = channel_elements(self.tiles, plane)
        each = prefetched_per_tile(self.tiles, plane, self.lanes)
        self.code(f"const real *next = x + {channel} + (top * {self.tiles.columns} + p) * {each};")
        prefetch.emit_prefetch(self.code, self.cpu, "next", each * self.lanes, locality=prefetch.L1)

    def _tiles(self) -> None:
        """All outputs of a vector of tiles, each position in a tile in its own vector."""
        code, tiles, span = self.code, self.tiles, self.tiles.spans[0]
        element_stride = self.op.source.offset(len(self.op.target.planes))
        started: set[str] = set()
        for columns in column_pairs(self.across):
            for f in columns:
                names = [f"x{k}_{f}" for k in range(span)]
                for k, name in enumerate(names):
                    code(f"const vf {name} = LOAD(from + p + {(f * span + k) * element_stride});")
                sums = self._summed(names, f"_{f}")
                for i, value in enumerate(sums):
                    code(f"const vf t{i}_{f} = {value};")
            for i in range(tiles.height):
                self._accumulate(i, columns, started)
        for i in range(tiles.height):
            for j in range(tiles.width):
                code(f"STORE(h + p + {(i * tiles.width + j) * self.pixel}, y{i}_{j});")

    def _summed(self, names: Sequence[str], suffix: str) -> list[str]:
        """Expressions for the outputs of one column of the transform domain."""
        terms: list[Terms] = [[] for _ in self.down]
        for columns in column_pairs(self.down):
            for i, found in enumerate(column_terms(self.code, self.down, columns, names, suffix)):
                terms[i].extend(found)
        return [sum_expr(found) for found in terms]

    def _accumulate(self, i: int, columns: tuple[int, ...], started: set[str]) -> None:
        names = {f: f"t{i}_{f}" for f in columns}
        found = column_terms(self.code, self.across, columns, names, f"_{i}_{columns[0]}")
        for j, terms in enumerate(found):
            if not terms:
                continue
            name = f"y{i}_{j}"
            if name in started:
                self.code(f"{name} += {sum_expr(terms)};")
            else:
                started.add(name)
                self.code(f"vf {name} = {sum_expr(terms)};")

    def _row(self) -> None:
        """Emit a row of pixels: the tiles' columns interleaved."""
        code, tiles = self.code, self.tiles
        side, across = tiles.height, tiles.width
        op, target = self.op, self.op.target.layout
        n = _narrowest_vector(tiles.columns, self.lanes)
        code(
            f"const real *one = h + i % {side} * {across * self.pixel}"
            f" + i / {side} * {tiles.columns};"
        )
        code(f"real *to = y + (top * {side} + i) * {target.row_stride};")
        if len(op.sources) > 1:
            other = op.sources[1].layout.row_stride
            code(f"const real *add = r + (top * {side} + i) * {other};")
        whole = target.width // (across * n)
        if whole:
            with code.block(f"for (int q = 0; q < {whole * n}; q += {n})"):
                for at, name in enumerate(self._mixed(n, "q")):
                    self._store(name, n, f"q * {across} + {at * n}")
        rest = target.width - whole * across * n
        if rest:
            with code.block(""):
                names = self._mixed(n, str(whole * n))
                for at, name in enumerate(names[: ceil(rest / n)]):
                    begin = whole * across * n + at * n
                    self._part(name, n, begin, min(n, rest - at * n))

    def _mixed(self, n: int, begin: str) -> list[str]:
        names = [f"a{at}" for at in range(self.tiles.width)]
        for at, name in enumerate(names):
            self.code(f"const v{n} {name} = LOAD{n}(one + {begin} + {at * self.pixel});")
        return _interleave(self.code, names, n)

    def _store(self, value: str, n: int, begin: str) -> None:
        code, activation = self.code, self.op.activation
        text = f"{value} + bias"
        if len(self.op.sources) > 1:
            text += f" + LOAD{n}(add + {begin})"
        with code.block(""):
            code(*activation_constants(activation, f"v{n}"))
            code(f"STORE{n}(to + {begin}, {activation_expr(activation, f'({text})', str(n))});")

    def _part(self, value: str, n: int, begin: int, count: int) -> None:
        """Store the first lanes of a vector; nothing after the row's end may be written."""
        at = 0
        while at < count:
            size = next((size for size in _SIZES if size <= min(n, count - at)), 1)
            if size == n:
                self._store(value, n, str(begin))
            elif size > 1:
                lanes = ", ".join(map(str, range(at, at + size)))
                part = f"__builtin_shufflevector({value}, {value}, {lanes})"
                self._store(part, size, str(begin + at))
            else:
                text = f"{value}[{at}] + bias"
                if len(self.op.sources) > 1:
                    text += f" + add[{begin + at}]"
                self.code(f"to[{begin + at}] = {scalar_expr(self.op.activation, text)};")
            at += size


def _narrowest_vector(columns: int, lanes: int) -> int:
    """Lanes of the narrowest vector that holds so many columns, or of the widest."""
    return min((size for size in _SIZES if columns <= size <= lanes), default=lanes)


def _deinterleave(code: CWriter, names: Sequence[str], n: int) -> list[str]:
    """Deinterleave vectors: element ``i`` of the stream goes to vector ``i % count``."""
    if len(names) == 1:
        return list(names)
    if len(names) == _ODD_WIDTH:
        wanted = [[divmod(3 * lane + at, n) for lane in range(n)] for at in range(3)]
        return [_gather(code, names, lanes, f"D{at}") for at, lanes in enumerate(wanted)]
    pairs = list(zip(names[::2], names[1::2], strict=True))
    halves = []
    for kind in ("EVEN", "ODD"):
        made = [f"{names[0]}{kind[0]}{at}" for at in range(len(pairs))]
        code(
            *(
                f"const vf {name} = {kind}({a}, {b});"
                for name, (a, b) in zip(made, pairs, strict=True)
            )
        )
        halves.append(_deinterleave(code, made, n))
    return [one for pair in zip(*halves, strict=True) for one in pair]


def _interleave(code: CWriter, names: Sequence[str], n: int) -> list[str]:
    """Interleave vectors: the inverse of ``_deinterleave``."""
    if len(names) == 1:
        return list(names)
    if len(names) == _ODD_WIDTH:
        wanted = [[divmod(at * n + lane, 3)[::-1] for lane in range(n)] for at in range(3)]
        return [_gather(code, names, lanes, f"m{at}") for at, lanes in enumerate(wanted)]
    even, odd = _interleave(code, names[::2], n), _interleave(code, names[1::2], n)
    found = []
    for at, (one, two) in enumerate(zip(even, odd, strict=True)):
        for half in range(2):
            lanes = [(lane // 2 + half * n // 2) + n * (lane % 2) for lane in range(n)]
            name = f"{names[0]}m{len(names)}_{2 * at + half}"
            _shuffle(code, name, (one, two), lanes)
            found.append(name)
    return found


def _gather(
    code: CWriter, names: Sequence[str], wanted: Sequence[tuple[int, int]], suffix: str
) -> str:
    """A vector of lanes of three others, each given as (vector, lane)."""
    n = len(wanted)
    first, name = f"{names[0]}{suffix}a", f"{names[0]}{suffix}"
    _shuffle(code, first, names[:2], [lane + n * at if at < 2 else 0 for at, lane in wanted])
    lanes = [at if vector < 2 else n + lane for at, (vector, lane) in enumerate(wanted)]
    _shuffle(code, name, (first, names[2]), lanes)
    return name


def _shuffle(code: CWriter, name: str, sources: Sequence[str], lanes: Sequence[int]) -> None:
    """A vector of lanes of two others, numbered through."""
    code(f"const v{len(lanes)} {name} __attribute__((unused)) =")
    order = ", ".join(map(str, lanes))
    code(f"    __builtin_shufflevector({sources[0]}, {sources[1]}, {order});")
