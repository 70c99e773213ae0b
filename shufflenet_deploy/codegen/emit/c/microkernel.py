"""Convolution microkernel in C: output channels by vectors of pixels, all in registers."""

from __future__ import annotations

from dataclasses import dataclass

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.c import prefetch
from shufflenet_deploy.codegen.emit.c.activations import activation_constants, activation_expr
from shufflenet_deploy.codegen.emit.c.tail_packed import PackedTail
from shufflenet_deploy.codegen.emit.unit import ALIGN_BYTES, TranslationUnit
from shufflenet_deploy.codegen.ir.ops import FpConvolution

_UNROLL = (5, 4)  # channels in one straight-line block, the best first
#: Multiply-adds in one straight-line block, and with AVX-512. There a longer block spills, and
#: the rows of a kernel in a loop take 1 to 4 % less; with AVX2 they take a quarter more.
_MAX_STRAIGHT_FMAS, _MAX_STRAIGHT_FMAS_AVX512 = 800, 100
_WEIGHT_PREFETCH_BYTES = 4096  # between the weights that are fetched and those in use


@dataclass(frozen=True)
class Microkernel:
    """The tile: ``outputs`` channels by ``vectors`` vectors of pixels, then ``tail`` pixels.

    With ``prefetches`` it prefetches the pixels that the next block reads.
    """

    outputs: int
    vectors: int
    tail: int = 0
    prefetches: bool = False


def emit_microkernel(
    op: FpConvolution, unit: TranslationUnit, block: Microkernel, plane: int, other: int
) -> str:
    """Emit a microkernel; returns its name.

    ``plane`` is the channel stride of the target, ``other`` that of the residual, in elements.
    """
    outputs, vectors = block.outputs, block.vectors
    residual = len(op.sources) > 1
    channels, taps = op.weight.shape[1], op.window.taps
    jump = op.source.layout.channel_stride * op.window.planes_per_channel
    code = CWriter(depth=1)
    _init_accumulators(code, unit, outputs, vectors, other if residual else None)
    if block.tail:
        _packed_tail(block, unit).start(code)
    _prefetch_store_or_residual(code, op, unit, block, (plane, other))
    if len(taps) == 1:
        at_once = channels
        if channels > 10:
            at_once = next((size for size in _UNROLL if channels % size == 0), _UNROLL[-1])
        times, rest = divmod(channels, at_once)
        positions = [k * jump for k in range(at_once)]
        _channel_loop(code, unit, times, positions, block, at_once * jump)
        _multiply(code, unit, [k * jump for k in range(rest)], block)
    elif len(taps) * outputs * vectors <= (
        _MAX_STRAIGHT_FMAS_AVX512 if unit.cpu.lanes == 16 else _MAX_STRAIGHT_FMAS
    ):
        _channel_loop(code, unit, channels, list(taps), block, jump)
    else:
        rows, columns = op.window.kernel
        starts = taps[::columns]
        first = [tap - taps[0] for tap in taps[:columns]]
        same = all(
            [tap - taps[row * columns] for tap in taps[row * columns : (row + 1) * columns]]
            == first
            for row in range(rows)
        )
        assert same, "columns of a kernel are the same in every row"
        code(f"static const int rows[] = {{{', '.join(map(str, starts))}}};")
        code("const real *plane = x;")
        with code.block(f"for (int k = 0; k < {channels}; ++k, plane += {jump})"):
            with code.block(f"for (int t = 0; t < {rows}; ++t, w += {columns * outputs})"):
                _prefetch_weights(code, unit, columns * outputs)
                code("x = plane + rows[t];")
                _multiply(code, unit, first, block)
    code(*activation_constants(op.epilogue.activation))
    for output in range(outputs):
        for at in range(vectors):
            value = activation_expr(op.epilogue.activation, f"a{output}_{at}")
            code(f"STORE(y + {output * plane} + {at} * LANES, {value});")
    if block.tail:
        behind = f"{vectors} * LANES"
        _packed_tail(block, unit).store(
            code, op.epilogue.activation, plane, other if residual else 0, behind
        )
    head = "INLINE void @(const real *x, const real *w, const real *b, "
    head += ("const real *r, " if residual else "") + "real *y)"
    return unit.kernel(f"conv_{outputs}x{vectors}v", head, code)


def _packed_tail(block: Microkernel, unit: TranslationUnit) -> PackedTail:
    return PackedTail(block.outputs, block.tail, unit.cpu.lanes)


def _init_accumulators(
    code: CWriter, unit: TranslationUnit, outputs: int, vectors: int, other: int | None
) -> None:
    """Initialise accumulators with the bias, or with residual plus bias."""
    fma_by_lane = unit.cpu.fma_by_lane
    if fma_by_lane:
        code(*(f"const v4 b{i} = LOAD4(b + {4 * i});" for i in range((outputs + 3) // 4)))
        if other is not None:
            code("const vf one = SPLAT(1.0f);")
    for output in range(outputs):
        lane = f"b{output // 4}, {output % 4}"
        for at in range(vectors):
            if other is None:
                start = f"SPLAT_LANE({lane})" if fma_by_lane else f"SPLAT(b[{output}])"
                if at and not fma_by_lane:
                    start = f"a{output}_0"
            else:
                load = f"LOAD(r + {output * other} + {at} * LANES)"
                start = f"FMA_LANE({load}, one, {lane})" if fma_by_lane else f"{load} + b[{output}]"
            code(f"vf a{output}_{at} = {start};")


def _prefetch_store_or_residual(
    code: CWriter,
    op: FpConvolution,
    unit: TranslationUnit,
    block: Microkernel,
    distances: tuple[int, int],
) -> None:
    """Prefetch this block's stores, or the next block's residual."""
    cpu, layout, (plane, other) = unit.cpu, op.target.layout, distances
    size = block.vectors * cpu.lanes
    if len(op.sources) > 1:
        if prefetch.exceeds_llc_share(layout, cpu):
            for output in range(block.outputs):
                prefetch.emit_prefetch(code, cpu, f"r + {output * other + size}", size)
    elif prefetch.exceeds_l2(layout, cpu):
        for output in range(block.outputs):
            prefetch.emit_prefetch(code, cpu, f"y + {output * plane}", size, write=True)


def _channel_loop(
    code: CWriter,
    unit: TranslationUnit,
    times: int,
    positions: list[int],
    block: Microkernel,
    jump: int,
) -> None:
    if not times:
        return
    if times == 1:
        _multiply(code, unit, positions, block)
        return
    with code.block(f"for (int k = 0; k < {times}; ++k)"):
        _prefetch_weights(code, unit, len(positions) * block.outputs)
        _multiply(code, unit, positions, block)
        code(f"x += {jump}, w += {len(positions) * block.outputs};")


def _prefetch_weights(code: CWriter, unit: TranslationUnit, weights: int) -> None:
    """Prefetch weights a fixed distance ahead of their use."""
    if unit.cpu.software_prefetch:
        lines = range(0, 4 * weights, ALIGN_BYTES)
        code(
            *(f"__builtin_prefetch(w + {(_WEIGHT_PREFETCH_BYTES + line) // 4});" for line in lines)
        )


def _multiply(
    code: CWriter, unit: TranslationUnit, positions: list[int], block: Microkernel
) -> None:
    """One multiply-add per accumulator for each position of the source."""
    if not positions:
        return
    with code.block(""):
        loaded = -1
        for at, position in enumerate(positions):
            for vector in range(block.vectors):
                code(f"const vf x{at}_{vector} = LOAD(x + {position} + {vector} * LANES);")
            if block.prefetches:
                size = block.vectors * unit.cpu.lanes
                prefetch.emit_prefetch(code, unit.cpu, f"x + {position + size}", size)
            for output in range(block.outputs):
                index = at * block.outputs + output
                if unit.cpu.fma_by_lane and index // 4 > loaded:
                    loaded = index // 4
                    code(f"const v4 w{loaded} = LOAD4(w + {4 * loaded});")
                for vector in range(block.vectors):
                    a, x = f"a{output}_{vector}", f"x{at}_{vector}"
                    if unit.cpu.fma_by_lane:
                        code(f"{a} = FMA_LANE({a}, {x}, w{index // 4}, {index % 4});")
                    else:
                        code(f"{a} += {x} * w[{index}];")
            if block.tail:
                source = f"x + {position} + {block.vectors} * LANES"
                _packed_tail(block, unit).multiply(code, at, source, at * block.outputs)
