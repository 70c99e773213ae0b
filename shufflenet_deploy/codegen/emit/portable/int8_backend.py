"""The steps of an int8 program as plain loops, for processors without kernels of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.int8_unit import Int8Unit, contiguous_runs
from shufflenet_deploy.codegen.emit.kernel_calls import RANGE_PARAMS
from shufflenet_deploy.codegen.emit.portable import int8_elementwise
from shufflenet_deploy.codegen.emit.unit import float_literal
from shufflenet_deploy.codegen.ir import int8 as ir
from shufflenet_deploy.codegen.ir.int8 import Padding, PixelView


def window_start(place: PixelView, padding: Padding = (0, 0, 0, 0)) -> int:
    """Bytes to the first pixel of the first window, which may be in the border."""
    return place.origin - padding[0] * place.row - padding[1] * place.pixel


def quantize_input(step: ir.QuantizeInput, unit: Int8Unit) -> None:
    """The caller's floats, channels first, as bytes; of a pixel's four bytes some may be none."""
    source, target = step.source, step.target
    code = CWriter(depth=1)
    with code.block("for (int i = begin; i < end; ++i)"):
        with code.block(f"for (int j = 0; j < {target.width}; ++j)"):
            with code.block(f"for (int c = 0; c < {source.channels}; ++c)"):
                plane = f"x[(c * {source.height} + i) * {source.width} + j]"
                value = f"byte_of_steps({plane} * {float_literal(step.inverse)}, {target.zero})"
                code(f"y[i * {target.row} + j * {target.pixel} + c] = {value};")
    head = f"LOOP void @(const float *restrict x, byte *restrict y{RANGE_PARAMS})"
    name = unit.kernel("picture", head, code)
    work = 8 * 4 * target.height * target.width
    y = unit.at(target, target.origin)
    unit.spread(name, step, "input", y, pieces=target.height, work=work)


def fill_padding(step: ir.FillPadding, unit: Int8Unit) -> None:
    """Pixels around a value."""
    place = step.target
    top, left, bottom, right = place.border
    before = top * place.row + left * place.pixel
    between = (left + right) * place.pixel
    end = (place.height - 1) * place.row + place.width * place.pixel
    code = CWriter(depth=1)
    if before:
        code(f"memset(y - {before}, {place.fill}, {before});")
    if between and place.height > 1:
        code(f"for (int i = 1; i < {place.height}; ++i)")
        code(f"    memset(y + i * {place.row} - {between}, {place.fill}, {between});")
    if bottom * place.row + right * place.pixel:
        code(f"memset(y + {end}, {place.fill}, {bottom * place.row + right * place.pixel});")
    name = unit.kernel("border", "LOOP void @(byte *y)", code)
    unit.call(name, step, unit.at(place, place.origin - place.first))


def convolution(step: ir.Convolution, unit: Int8Unit) -> None:
    """Any convolution but a depthwise one: runs of products."""
    source, target = step.source, step.target
    weight, rows, run = contiguous_runs(step)
    outputs = len(weight) // step.groups
    other = step.sources[1] if step.residual is not None else None
    code = CWriter(depth=1)
    code(f"static const int rows[] = {{{', '.join(map(str, rows))}}};")
    single = target.height * target.width == 1  # pieces are outputs, else rows
    with code.block(f"for (int i = {'0; i < 1' if single else 'begin; i < end'}; ++i)"):
        with code.block(f"for (int j = 0; j < {target.width}; ++j)"):
            down, right = step.stride[0] * source.row, step.stride[1] * source.pixel
            code(f"const byte *pixel = x + i * {down} + j * {right};", "const int8_t *v = w;")
            if single:
                code(f"v += begin * {len(rows) * run};")
            outputs_of = "begin; o < end" if single else f"0; o < {len(weight)}"
            with code.block(f"for (int o = {outputs_of}; ++o)"):
                group = f"o / {outputs} * {step.weight.shape[1]}"
                code("int32_t a = b[o];")
                with code.block(f"for (int t = 0; t < {len(rows)}; ++t, v += {run})"):
                    code(f"const byte *from = pixel + rows[t] + {group};")
                    code(f"for (int k = 0; k < {run}; ++k)", "    a += from[k] * v[k];")
                _emit_epilogue(code, step, other, len(weight))
    residual = "const byte *r, " if other else ""
    y = "float" if step.real else "byte"
    kind = "float" if step.real else "factor"
    head = f"LOOP void @(const byte *x, const int8_t *w, const int32_t *b, const {kind} *m, "
    name = unit.kernel("conv", f"{head}{residual}{y} *y{RANGE_PARAMS})", code)
    unit.spread(
        name,
        step,
        unit.at(source, window_start(source, step.padding)),
        unit.constant(weight),
        unit.constant(step.bias, "int32_t"),
        unit.constant(step.factor, "float" if step.real else "factor"),
        *([unit.at(other, other.origin)] if other else []),
        unit.at(target, target.origin),
        pieces=len(weight) if single else target.height,
        work=4 * weight.size * target.height * target.width,
    )


def _emit_epilogue(
    code: CWriter, step: ir.Convolution, other: PixelView | None, outputs: int
) -> None:
    target = step.target
    if step.real:
        code("y[o] = (float)a * m[o];")
        return
    at = "o"
    if step.shuffle > 1:
        each = outputs // step.shuffle
        at = f"o % {each} * {step.shuffle} + o / {each}"
    value = f"scaled(a, m[o], {step.shift - step.fraction})"
    if other is not None:
        there = f"r[i * {other.row} + j * {other.pixel} + o]"
        value = f"sum_of({value}, {there} * {step.residual}, {step.fraction})"
    code(f"y[i * {target.row} + j * {target.pixel} + {at}] = byte_of({value});")


def depthwise(step: ir.DepthwiseConvolution, unit: Int8Unit) -> None:
    """A depthwise 3x3."""
    source, target = step.source, step.target
    code = CWriter(depth=1)
    with code.block("for (int i = begin; i < end; ++i)"):
        with code.block(f"for (int j = 0; j < {target.width}; ++j)"):
            pixel = f"x + i * {step.stride * source.row} + j * {step.stride * source.pixel}"
            with code.block(f"for (int c = 0; c < {target.channels}; ++c)"):
                code(f"const byte *from = {pixel} + c;", "int32_t a = b[c];")
                for tap in range(9):
                    place = tap // 3 * source.row + tap % 3 * source.pixel
                    code(f"a += from[{place}] * w[9 * c + {tap}];")
                to = f"y[i * {target.row} + j * {target.pixel} + c]"
                code(f"{to} = byte_of(scaled(a, m[c], {step.shift}));")
    head = "LOOP void @(const byte *restrict x, const int8_t *w, const int32_t *b, "
    name = unit.kernel("depthwise", f"{head}const factor *m, byte *restrict y{RANGE_PARAMS})", code)
    unit.spread(
        name,
        step,
        unit.at(source, window_start(source, step.padding)),
        unit.constant(step.weight),
        unit.constant(step.bias, "int32_t"),
        unit.constant(step.factor, "factor"),
        unit.at(target, target.origin),
        pieces=target.height,
        work=4 * 9 * target.channels * target.height * target.width,
    )


def pool(step: ir.MaxPool | ir.AveragePool, unit: Int8Unit) -> None:
    """A pool."""
    source, target = step.source, step.target
    rows, columns = step.kernel
    down, right = step.stride[0] * source.row, step.stride[1] * source.pixel
    code = CWriter(depth=1)
    with code.block("for (int i = begin; i < end; ++i)"):
        with code.block(f"for (int j = 0; j < {target.width}; ++j)"):
            with code.block(f"for (int c = 0; c < {target.channels}; ++c)"):
                code(f"const byte *from = x + i * {down} + j * {right} + c;")
                code(f"int a = {step.start if isinstance(step, ir.AveragePool) else 'LOWEST'};")
                with code.block(f"for (int t = 0; t < {rows * columns}; ++t)"):
                    place = f"t / {columns} * {source.row} + t % {columns} * {source.pixel}"
                    code(f"const int v = from[{place}];")
                    code("a += v;" if isinstance(step, ir.AveragePool) else "a = a > v ? a : v;")
                value = "a"
                if isinstance(step, ir.AveragePool):
                    value = f"(a * {(1 << step.up) * step.factor} + 16384) >> 15"
                code(f"y[i * {target.row} + j * {target.pixel} + c] = byte_of({value});")
    head = f"LOOP void @(const byte *restrict x, byte *restrict y{RANGE_PARAMS})"
    name = unit.kernel("window", head, code)
    x, y = unit.at(source, window_start(source, step.padding)), unit.at(target, target.origin)
    work = 4 * rows * columns * target.channels * target.height * target.width
    unit.spread(name, step, x, y, pieces=target.height, work=work)


def global_average_pool(step: ir.GlobalAveragePool, unit: Int8Unit) -> None:
    """A global average."""
    source, target = step.source, step.target
    code = CWriter(depth=1)
    with code.block(f"for (int c = 0; c < {target.channels}; ++c)"):
        code(f"int32_t a = {step.start};")
        with code.block(f"for (int i = 0; i < {source.height}; ++i)"):
            code(f"for (int j = 0; j < {source.width}; ++j)")
            code(f"    a += x[i * {source.row} + j * {source.pixel} + c];")
        factor = step.factor[0]
        written = float_literal(float(factor)) if step.factor.dtype == np.float32 else str(factor)
        code(f"y[c] = byte_of(scaled(a, {written}, {step.shift}));")
    name = unit.kernel("mean", "LOOP void @(const byte *restrict x, byte *restrict y)", code)
    unit.call(name, step, unit.at(source, source.origin), unit.at(target, target.origin))


def dequantize_output(step: ir.DequantizeOutput, unit: Int8Unit) -> None:
    """Floats, channels first, of bytes."""
    source = step.source
    code = CWriter(depth=1)
    with code.block(f"for (int c = 0; c < {source.channels}; ++c)"):
        with code.block(f"for (int i = 0; i < {source.height}; ++i)"):
            code(f"for (int j = 0; j < {source.width}; ++j)")
            at = f"x[i * {source.row} + j * {source.pixel} + c]"
            scale = float_literal(source.scale)
            code(f"    *y++ = (float)({at} - {source.zero}) * {scale};")
    name = unit.kernel("real", "LOOP void @(const byte *restrict x, float *restrict y)", code)
    unit.call(name, step, unit.at(source, source.origin), "output")


EMITTERS: dict[type[ir.PixelOp], Callable[[Any, Int8Unit], None]] = {
    ir.QuantizeInput: quantize_input,
    ir.FillPadding: fill_padding,
    ir.Convolution: convolution,
    ir.DepthwiseConvolution: depthwise,
    ir.MaxPool: pool,
    ir.AveragePool: pool,
    ir.GlobalAveragePool: global_average_pool,
    ir.AdaptivePool: int8_elementwise.adaptive_pool,
    ir.LookupTable: int8_elementwise.lookup_table,
    ir.Add: int8_elementwise.add,
    ir.ChannelScale: int8_elementwise.channel_scale,
    ir.LocalResponseNorm: int8_elementwise.local_response_norm,
    ir.DequantizeOutput: dequantize_output,
}
