"""int8 depthwise convolutions with any window as plain loops over channels.

Compilers vectorize the innermost loop: taps are outside of it, and accumulators fit registers.
"""

from __future__ import annotations

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.int8_unit import Int8Unit
from shufflenet_deploy.codegen.emit.kernel_calls import RANGE_PARAMS
from shufflenet_deploy.codegen.ir import ops as ir

_BLOCK = 32


def depthwise(op: ir.DepthwiseConvolution, unit: Int8Unit) -> None:
    """Emit a depthwise convolution, some channels at a time."""
    source, target = op.source, op.target
    channels, height, width = op.weight.shape
    row, column = op.dilation[0] * source.row_stride, op.dilation[1] * source.pixel_stride
    down, right = op.stride[0] * source.row_stride, op.stride[1] * source.pixel_stride
    code = CWriter(depth=1)
    with (
        code.block("for (int i = begin; i < end; ++i)"),
        code.block(f"for (int j = 0; j < {target.width}; ++j)"),
        code.block(f"for (int c = 0; c < {channels}; c += {_BLOCK})"),
    ):
        code(f"const int count = {channels} - c < {_BLOCK} ? {channels} - c : {_BLOCK};")
        code(f"byte *to = y + i * {target.row_stride} + j * {target.pixel_stride} + c;")
        code(f"int32_t a[{_BLOCK}];")
        code("for (int k = 0; k < count; ++k)", "    a[k] = b[c + k];")
        with code.block(f"for (int t = 0; t < {height * width}; ++t)"):
            tap = f"t / {width} * {row} + t % {width} * {column}"
            code(f"const byte *from = x + i * {down} + j * {right} + {tap} + c;")
            code(f"const int8_t *v = w + t * {channels} + c;")
            code("for (int k = 0; k < count; ++k)", "    a[k] += from[k] * v[k];")
        code("for (int k = 0; k < count; ++k)")
        code(f"    to[k] = saturate_8(requantize(a[k], m[c + k], {op.epilogue.shift}));")
    head = "LOOP void @(const byte *restrict x, const int8_t *w, const int32_t *b, "
    name = unit.kernel(
        "dwconv", f"{head}const factor *m, byte *restrict y{RANGE_PARAMS})", code, "scalar"
    )
    unit.call_parallel(
        name,
        op,
        unit.at(source, source.start(op.padding)),
        unit.constant(op.weight.reshape(channels, -1).T),
        unit.constant(op.bias, "int32_t"),
        unit.constant(op.epilogue.multiplier, "factor"),
        unit.at(target, target.origin),
        work_items=target.height,
        work=4 * op.weight.size * target.pixels,
    )
