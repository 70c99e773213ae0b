"""int8 ops as plain C loops, for CPUs without kernels of their own."""

from __future__ import annotations

import numpy as np

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.int8_unit import Int8Unit, contiguous_runs
from shufflenet_deploy.codegen.emit.kernel_calls import RANGE_PARAMS
from shufflenet_deploy.codegen.emit.portable import int8_dwconv
from shufflenet_deploy.codegen.emit.unit import float_literal
from shufflenet_deploy.codegen.ir import ops as ir
from shufflenet_deploy.codegen.ir.int8 import Padding, PixelView


def window_start(view: PixelView, padding: Padding = (0, 0, 0, 0)) -> int:
    """Byte offset of the first pixel of the first window, which may be in the border."""
    return view.origin - padding[0] * view.row_stride - padding[1] * view.pixel_stride


def quantize_input(op: ir.QuantizeInput, unit: Int8Unit) -> None:
    """Emit the quantization of the caller's fp32 image to pixels of four bytes."""
    source, target = op.source, op.target
    code = CWriter(depth=1)
    with code.block("for (int i = begin; i < end; ++i)"):
        with code.block(f"for (int j = 0; j < {target.width}; ++j)"):
            with code.block(f"for (int c = 0; c < {source.channels}; ++c)"):
                plane = f"x[(c * {source.height} + i) * {source.width} + j]"
                value = f"quantize_8({plane} * {float_literal(op.inverse)}, {target.zero_point})"
                code(f"y[i * {target.row_stride} + j * {target.pixel_stride} + c] = {value};")
    head = f"LOOP void @(const float *restrict x, byte *restrict y{RANGE_PARAMS})"
    name = unit.kernel("quantize", head, code, "scalar")
    work = 8 * 4 * target.height * target.width
    y = unit.at(target, target.origin)
    unit.call_parallel(name, op, "input", y, work_items=target.height, work=work)


def fill_padding(op: ir.FillPadding, unit: Int8Unit) -> None:
    """Emit the fill of the border around a value."""
    view = op.target
    top, left, bottom, right = view.border
    before = top * view.row_stride + left * view.pixel_stride
    between = (left + right) * view.pixel_stride
    end = (view.height - 1) * view.row_stride + view.width * view.pixel_stride
    code = CWriter(depth=1)
    if before:
        code(f"memset(y - {before}, {view.fill}, {before});")
    if between and view.height > 1:
        code(f"for (int i = 1; i < {view.height}; ++i)")
        code(f"    memset(y + i * {view.row_stride} - {between}, {view.fill}, {between});")
    if bottom * view.row_stride + right * view.pixel_stride:
        code(
            f"memset(y + {end}, {view.fill}, "
            f"{bottom * view.row_stride + right * view.pixel_stride});"
        )
    name = unit.kernel("pad", "LOOP void @(byte *y)", code, "scalar")
    unit.call(name, op, unit.at(view, view.origin - view.first))


def convolution(op: ir.Int8Convolution, unit: Int8Unit) -> None:
    """Emit any convolution but a depthwise one, as runs of products."""
    source, target = op.source, op.target
    weight, rows, run = contiguous_runs(op)
    outputs = len(weight) // op.groups
    other = op.sources[1] if op.epilogue.residual is not None else None
    code = CWriter(depth=1)
    code(f"static const int rows[] = {{{', '.join(map(str, rows))}}};")
    single = target.height * target.width == 1  # work items are outputs, else rows
    with code.block(f"for (int i = {'0; i < 1' if single else 'begin; i < end'}; ++i)"):
        with code.block(f"for (int j = 0; j < {target.width}; ++j)"):
            down, right = (
                op.window.stride[0] * source.row_stride,
                op.window.stride[1] * source.pixel_stride,
            )
            code(f"const byte *pixel = x + i * {down} + j * {right};", "const int8_t *v = w;")
            if single:
                code(f"v += begin * {len(rows) * run};")
            outputs_of = "begin; o < end" if single else f"0; o < {len(weight)}"
            with code.block(f"for (int o = {outputs_of}; ++o)"):
                group = f"o / {outputs} * {op.weight.shape[1]}"
                code("int32_t a = b[o];")
                with code.block(f"for (int t = 0; t < {len(rows)}; ++t, v += {run})"):
                    code(f"const byte *from = pixel + rows[t] + {group};")
                    code(f"for (int k = 0; k < {run}; ++k)", "    a += from[k] * v[k];")
                _emit_epilogue(code, op, other, len(weight))
    residual = "const byte *r, " if other else ""
    y = "float" if op.epilogue.float_output else "byte"
    kind = "float" if op.epilogue.float_output else "factor"
    head = f"LOOP void @(const byte *x, const int8_t *w, const int32_t *b, const {kind} *m, "
    name = unit.kernel("conv", f"{head}{residual}{y} *y{RANGE_PARAMS})", code, "scalar")
    unit.call_parallel(
        name,
        op,
        unit.at(source, window_start(source, op.window.padding)),
        unit.constant(weight),
        unit.constant(op.bias, "int32_t"),
        unit.constant(op.epilogue.multiplier, "float" if op.epilogue.float_output else "factor"),
        *([unit.at(other, other.origin)] if other else []),
        unit.at(target, target.origin),
        work_items=len(weight) if single else target.height,
        work=4 * weight.size * target.height * target.width,
    )


def _emit_epilogue(
    code: CWriter, op: ir.Int8Convolution, other: PixelView | None, outputs: int
) -> None:
    target = op.target
    if op.epilogue.float_output:
        code("y[o] = (float)a * m[o];")
        return
    at = "o"
    if op.epilogue.shuffle > 1:
        each = outputs // op.epilogue.shuffle
        at = f"o % {each} * {op.epilogue.shuffle} + o / {each}"
    value = f"requantize(a, m[o], {op.epilogue.shift - op.epilogue.fraction})"
    if other is not None:
        there = f"r[i * {other.row_stride} + j * {other.pixel_stride} + o]"
        value = f"add_residual({value}, {there} * {op.epilogue.residual}, {op.epilogue.fraction})"
    code(f"y[i * {target.row_stride} + j * {target.pixel_stride} + {at}] = saturate_8({value});")


def depthwise(op: ir.DepthwiseConvolution, unit: Int8Unit) -> None:
    """Emit a depthwise convolution."""
    if not op.is_plain_3x3:
        int8_dwconv.depthwise(op, unit)
        return
    source, target = op.source, op.target
    down, right = op.stride[0] * source.row_stride, op.stride[1] * source.pixel_stride
    code = CWriter(depth=1)
    with code.block("for (int i = begin; i < end; ++i)"):
        with code.block(f"for (int j = 0; j < {target.width}; ++j)"):
            pixel = f"x + i * {down} + j * {right}"
            with code.block(f"for (int c = 0; c < {target.channels}; ++c)"):
                code(f"const byte *from = {pixel} + c;", "int32_t a = b[c];")
                for tap in range(9):
                    view = tap // 3 * source.row_stride + tap % 3 * source.pixel_stride
                    code(f"a += from[{view}] * w[9 * c + {tap}];")
                to = f"y[i * {target.row_stride} + j * {target.pixel_stride} + c]"
                code(f"{to} = saturate_8(requantize(a, m[c], {op.epilogue.shift}));")
    head = "LOOP void @(const byte *restrict x, const int8_t *w, const int32_t *b, "
    name = unit.kernel(
        "dwconv3x3", f"{head}const factor *m, byte *restrict y{RANGE_PARAMS})", code, "scalar"
    )
    unit.call_parallel(
        name,
        op,
        unit.at(source, window_start(source, op.padding)),
        unit.constant(op.weight),
        unit.constant(op.bias, "int32_t"),
        unit.constant(op.epilogue.multiplier, "factor"),
        unit.at(target, target.origin),
        work_items=target.height,
        work=4 * 9 * target.channels * target.height * target.width,
    )


def pool(op: ir.MaxPool | ir.AveragePool, unit: Int8Unit) -> None:
    """Emit a max or average pool."""
    source, target = op.source, op.target
    rows, columns = op.kernel
    down, right = op.stride[0] * source.row_stride, op.stride[1] * source.pixel_stride
    code = CWriter(depth=1)
    with code.block("for (int i = begin; i < end; ++i)"):
        with code.block(f"for (int j = 0; j < {target.width}; ++j)"):
            with code.block(f"for (int c = 0; c < {target.channels}; ++c)"):
                code(f"const byte *from = x + i * {down} + j * {right} + c;")
                code(f"int a = {op.start if isinstance(op, ir.AveragePool) else 'LOWEST'};")
                with code.block(f"for (int t = 0; t < {rows * columns}; ++t)"):
                    view = (
                        f"t / {columns} * {source.row_stride} "
                        f"+ t % {columns} * {source.pixel_stride}"
                    )
                    code(f"const int v = from[{view}];")
                    code("a += v;" if isinstance(op, ir.AveragePool) else "a = a > v ? a : v;")
                value = "a"
                if isinstance(op, ir.AveragePool):
                    value = f"(a * {(1 << op.left_shift) * op.multiplier} + 16384) >> 15"
                code(
                    f"y[i * {target.row_stride} + j * {target.pixel_stride} + c] "
                    f"= saturate_8({value});"
                )
    head = f"LOOP void @(const byte *restrict x, byte *restrict y{RANGE_PARAMS})"
    name = unit.kernel("pool", head, code, "scalar")
    x, y = unit.at(source, window_start(source, op.padding)), unit.at(target, target.origin)
    work = 4 * rows * columns * target.channels * target.height * target.width
    unit.call_parallel(name, op, x, y, work_items=target.height, work=work)


def global_average_pool(op: ir.Int8GlobalAveragePool, unit: Int8Unit) -> None:
    """Emit a global average pool."""
    source, target = op.source, op.target
    code = CWriter(depth=1)
    with code.block(f"for (int c = 0; c < {target.channels}; ++c)"):
        code(f"int32_t a = {op.epilogue.start};")
        with code.block(f"for (int i = 0; i < {source.height}; ++i)"):
            code(f"for (int j = 0; j < {source.width}; ++j)")
            code(f"    a += x[i * {source.row_stride} + j * {source.pixel_stride} + c];")
        factor = op.epilogue.multiplier[0]
        written = (
            float_literal(float(factor))
            if op.epilogue.multiplier.dtype == np.float32
            else str(factor)
        )
        code(f"y[c] = saturate_8(requantize(a, {written}, {op.epilogue.shift}));")
    name = unit.kernel(
        "gavgpool", "LOOP void @(const byte *restrict x, byte *restrict y)", code, "scalar"
    )
    unit.call(name, op, unit.at(source, source.origin), unit.at(target, target.origin))


def dequantize_output(op: ir.DequantizeOutput, unit: Int8Unit) -> None:
    """Emit the dequantization of the output, channels first."""
    source = op.source
    code = CWriter(depth=1)
    with code.block(f"for (int c = 0; c < {source.channels}; ++c)"):
        with code.block(f"for (int i = 0; i < {source.height}; ++i)"):
            code(f"for (int j = 0; j < {source.width}; ++j)")
            at = f"x[i * {source.row_stride} + j * {source.pixel_stride} + c]"
            scale = float_literal(source.scale)
            code(f"    *y++ = (float)({at} - {source.zero_point}) * {scale};")
    name = unit.kernel(
        "dequantize", "LOOP void @(const byte *restrict x, float *restrict y)", code, "scalar"
    )
    unit.call(name, op, unit.at(source, source.origin), unit.at(op.target, 0))
