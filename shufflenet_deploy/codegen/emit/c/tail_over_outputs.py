"""Tail pixels vectorized over output channels.

A plane of 7x7 is three vectors of 16 pixels and one pixel, for which a vector of pixels would do
the work of 16; a vector of output channels wastes nothing.
"""

from __future__ import annotations

from math import ceil

import numpy as np

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.c.activations import scalar_expr
from shufflenet_deploy.codegen.emit.unit import TranslationUnit
from shufflenet_deploy.codegen.ir.ops import FpConvolution
from shufflenet_deploy.codegen.schedule.partition import even_sizes
from shufflenet_deploy.network.graph import Activation, FloatArray

_ACCUMULATORS = 20
_UNROLL = 4
_MAX_PIXELS = 2  # pixels
_MAX_WEIGHT_BYTES = 512 << 10


def tail_pixels(op: FpConvolution, lanes: int, outputs: int) -> int:
    """Tail pixels to vectorize over ``outputs`` channels; 0 where that does not pay.

    Their weights are a second copy in another order, which must not crowd the caches.
    """
    layout, depth = op.target.layout, op.weight.shape[1]
    rest = layout.span % lanes
    if not 0 < rest <= _MAX_PIXELS or len(op.window.taps) > 1 or layout.span < lanes:
        return 0
    if op.weight.nbytes > _MAX_WEIGHT_BYTES:
        return 0
    here = depth * ceil(outputs / lanes) * (rest + 0.6) + 4 * outputs * rest
    return rest if here < 0.9 * outputs * (depth + 3) else 0


def pack_weights(weight: FloatArray, lanes: int, rest: int) -> FloatArray:
    """Pack weights ``(out, in, 1)`` in reading order: block of vectors, in, out."""
    outputs, depth = weight.shape[:2]
    padded = np.zeros((ceil(outputs / lanes) * lanes, depth), np.float32)
    padded[:outputs] = weight[:, :, 0]
    parts, first = [], 0
    for vectors in _vector_blocks(outputs, lanes, rest):
        parts.append(padded[first : first + vectors * lanes].T.ravel())
        first += vectors * lanes
    return np.concatenate(parts)


def pad_bias(bias: FloatArray, lanes: int) -> FloatArray:
    """Pad biases with zeros to whole vectors."""
    return np.pad(bias.astype(np.float32), (0, -len(bias) % lanes))


def emit_kernel(
    op: FpConvolution, unit: TranslationUnit, outputs: int, stride: int, rest: int
) -> str:
    """Emit the kernel for the tail pixels of ``outputs`` channels, ``stride`` planes apart."""
    lanes = unit.cpu.lanes
    residual = len(op.sources) > 1
    plane = op.target.layout.channel_stride * stride
    other = op.sources[1].layout.channel_stride if residual else 0
    depth = op.weight.shape[1]
    code = CWriter(depth=1)
    first = 0
    for vectors in _vector_blocks(outputs, lanes, rest):
        with code.block(""):
            _block(code, op, first, vectors, lanes, rest)
            code(f"real sums[{rest}][{vectors} * LANES];")
            for at in range(vectors):
                code(*(f"STORE(sums[{p}] + {at} * LANES, a{at}_{p});" for p in range(rest)))
            count = min(vectors * lanes, outputs - first)
            with code.block(f"for (int o = 0; o < {count}; ++o)"):
                for p in range(rest):
                    value = f"sums[{p}][o]"
                    if residual:
                        value += f" + r[({first} + o) * {other} + {p}]"
                    if op.epilogue.activation is not Activation.NONE:
                        value = scalar_expr(op.epilogue.activation, value)
                    if op.epilogue.clamp_min is not None:
                        code(f"const real sum{p} = {value}, floor{p} = b[{first} + o];")
                        value = f"sum{p} > floor{p} ? sum{p} : floor{p}"
                    code(f"y[({first} + o) * {plane} + {p}] = {value};")
            code(f"w += {depth * vectors} * LANES;")
        first += vectors * lanes
    head = "LOOP void @(const real *x, const real *w, const real *b, "
    head += ("const real *r, " if residual else "") + "real *y)"
    return unit.kernel(f"conv_tail{rest}", head, code)


def _block(
    code: CWriter, op: FpConvolution, first: int, vectors: int, lanes: int, rest: int
) -> None:
    jump = op.source.layout.channel_stride
    depth = op.weight.shape[1]
    for at in range(vectors):
        start = "{0}" if op.epilogue.clamp_min is not None else f"LOAD(b + {first + at * lanes})"
        code(f"vf {', '.join(f'a{at}_{p} = {start}' for p in range(rest))};")
    unroll = next(size for size in range(_UNROLL, 0, -1) if depth % size == 0)
    with code.block(f"for (int k = 0; k < {depth}; k += {unroll})"):
        for k in range(unroll):
            source = f"x[(k + {k}) * {jump}"
            for p in range(rest):
                code(f"const vf x{k}_{p} = SPLAT({source} + {p}]);")
            for at in range(vectors):
                weight = f"w{k}_{at}"
                code(f"const vf {weight} = LOAD(w + ((k + {k}) * {vectors} + {at}) * LANES);")
                code(*(f"a{at}_{p} += {weight} * x{k}_{p};" for p in range(rest)))


def _vector_blocks(outputs: int, lanes: int, rest: int) -> list[int]:
    """Vectors of output channels per block."""
    vectors = ceil(outputs / lanes)
    most = max(1, _ACCUMULATORS // rest)
    times = ceil(vectors / most)
    return even_sizes(vectors, times)
