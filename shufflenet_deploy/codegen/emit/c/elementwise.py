"""Kernels in which a pixel or a number depends on no neighbour: sums, gates, copies, vectors."""

from __future__ import annotations

from math import ceil

import numpy as np

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.c.activations import activation_constants, activation_expr
from shufflenet_deploy.codegen.emit.kernel_calls import (
    RANGE_PARAMS,
    Arguments,
    emit_calls,
    tile_loops,
)
from shufflenet_deploy.codegen.emit.neon import microkernel
from shufflenet_deploy.codegen.emit.neon.aarch64_asm import element_type
from shufflenet_deploy.codegen.emit.unit import TranslationUnit, float_literal, strided_runs
from shufflenet_deploy.codegen.ir.planar import (
    INPUT,
    OUTPUT,
    Add,
    ChannelScale,
    Copy,
    FullyConnected,
    Layout,
    LocalResponseNorm,
)
from shufflenet_deploy.network.graph import Activation, FloatArray

_ACCUMULATORS = 8
_UNROLL = 4


def add(op: Add, unit: TranslationUnit) -> None:
    """The sum of two values."""
    one, two = op.sources
    code = CWriter(depth=1)
    _flat_loop(code, op.target.layout, unit, "LOAD(x + p) + LOAD(r + p)", "x[p] + r[p]", op)
    name = unit.kernel("add", "LOOP void @(const real *x, const real *r, real *y)", code)
    for run in strided_runs(op.target.planes):
        channels = range(run.first, run.first + run.count)
        columns: Arguments = [
            (one, [one.offset(channel) for channel in channels]),
            (two, [two.offset(channel) for channel in channels]),
            (op.target, [op.target.offset(channel) for channel in channels]),
        ]
        emit_calls(unit, name, columns, run.count, op.name)


def _flat_loop(
    code: CWriter,
    layout: Layout,
    unit: TranslationUnit,
    vectors: str,
    scalar: str,
    op: Add | ChannelScale,
) -> None:
    """One plane, in whole vectors; or one number where a plane is one."""
    if layout.channel_stride == 1:
        value = scalar.replace("[p]", "[0]")
        code(f"*y = {op.activation.value}({value});")
        return
    code(*activation_constants(op.activation))
    end = layout.vectors(unit.cpu.lanes) * unit.cpu.lanes
    with code.block(f"for (int p = 0; p < {end}; p += LANES)"):
        code(f"const vf a = {vectors};")
        code(f"STORE(y + p, {activation_expr(op.activation, 'a')});")


def channel_scale(op: ChannelScale, unit: TranslationUnit) -> None:
    """A map times a number per channel, plus another map if there is one."""
    value, factor, *others = op.sources
    code = CWriter(depth=1)
    vectors, scalar = "LOAD(x + p) * w[0]", "x[p] * w[0]"
    if others:
        vectors, scalar = f"LOAD(r + p) + {vectors}", f"r[p] + {scalar}"
    _flat_loop(code, op.target.layout, unit, vectors, scalar, op)
    residual = "const real *r, " if others else ""
    head = f"LOOP void @(const real *x, const real *w, {residual}real *y)"
    name = unit.kernel("gate", head, code)
    for run in strided_runs(op.target.planes):
        channels = range(run.first, run.first + run.count)
        columns: Arguments = [
            (view, [view.offset(channel) for channel in channels])
            for view in (value, factor, *others, op.target)
        ]
        emit_calls(unit, name, columns, run.count, op.name)


def copy(op: Copy, unit: TranslationUnit) -> None:
    """Planes elsewhere, row by row."""
    source, target = op.source.layout, op.target.layout
    # The picture and the scores are floats, whatever is between.
    given = "float" if op.source.buffer == INPUT else "real"
    made = "float" if op.target.buffer == OUTPUT else "real"
    head = f"LOOP void @(const {given} *x, {made} *y)"
    rows, width = source.height, source.width
    if source.row_stride == width == target.row_stride:
        rows, width = 1, rows * width
    if (
        source.channel_stride == target.channel_stride == 1
        and op.source.contiguous
        and op.target.contiguous
    ):
        merged = CWriter(depth=1)
        merged(f"for (int p = 0; p < {len(op.source.planes)}; ++p)")
        merged(f"    y[p] = {op.activation.value}(x[p]);")
        name = unit.kernel("copy", head, merged)
        columns: Arguments = [
            (op.source, [op.source.offset()]),
            (op.target, [op.target.offset()]),
        ]
        emit_calls(unit, name, columns, 1, op.name)
        return
    code = CWriter(depth=1)
    with code.block(f"for (int i = 0; i < {rows}; ++i)"):
        code(
            f"const {given} *from = x + i * {source.row_stride};",
            f"{made} *to = y + i * {target.row_stride};",
        )
        code(f"for (int p = 0; p < {width}; ++p)")
        code(f"    to[p] = {op.activation.value}(from[p]);")
    name = unit.kernel("copy", head, code)
    for run in strided_runs(op.target.planes):
        channels = range(run.first, run.first + run.count)
        columns = [
            (op.source, [op.source.offset(channel) for channel in channels]),
            (op.target, [op.target.offset(channel) for channel in channels]),
        ]
        emit_calls(unit, name, columns, run.count, op.name)


def local_response_norm(op: LocalResponseNorm, unit: TranslationUnit) -> None:
    """AlexNet's normalisation: every channel by the squares of its neighbours."""
    layout = op.source.layout
    code = CWriter(depth=1)
    end = layout.span
    with code.block(f"for (int p = 0; p < {end}; ++p)"):
        code("float total = 0.0f;")
        code("for (int c = first; c < last; ++c)")
        code(f"    total += squared(x[c * {layout.channel_stride} + p]);")
        base = f"{float_literal(op.k)} + {float_literal(op.alpha / op.size)} * total"
        code(f"const float d = {base};")
        power = f"powf(d, {float_literal(op.beta)})"
        if op.beta == 0.75:
            power = "(sqrtf(d) * sqrtf(sqrtf(d)))"
        code(f"y[p] = x[channel * {layout.channel_stride} + p] / {power};")
    head = "LOOP void @(const real *restrict x, real *restrict y, "
    head += "int channel, int first, int last)"
    name = unit.kernel("normalise", head, code)
    source, target = unit.address(op.source), op.target
    body = unit.body
    planes = ", ".join(str(target.offset(channel)) for channel in range(layout.channels))
    cost = 25 * ceil(end / unit.cpu.lanes)  # roots and divisions
    with unit.parallel(layout.channels, cost):
        body(f"static const int to[] = {{{planes}}};")
        with body.block("for (int i = begin; i < end; ++i)"):
            body(f"const int first = i - {op.size // 2}, last = i + {(op.size - 1) // 2 + 1};")
            body(
                f"{name}({source}, {unit.address(target)} + to[i], i, first < 0 ? 0 : first, "
                f"last > {layout.channels} ? {layout.channels} : last); /* {op.name} */"
            )


def fully_connected(op: FullyConnected, unit: TranslationUnit) -> None:
    """A matrix by a vector, streaming the matrix once in the order in which it is packed."""
    lanes = unit.cpu.lanes
    outputs, inputs = op.weight.shape
    padded = ceil(outputs / lanes) * lanes
    weight = np.zeros((padded, inputs), np.float32)
    weight[:outputs] = op.weight
    bias = np.zeros(padded, np.float32)
    bias[:outputs] = op.bias
    sizes: list[tuple[int, int]] = []
    full, rest = divmod(padded // lanes, _ACCUMULATORS)
    if full:
        sizes.append((_ACCUMULATORS, full))
    if rest:
        sizes.append((rest, 1))
    work_items = sum(times for _, times in sizes)
    if op.activation is Activation.SIGMOID:
        work_items = 1  # which needs all of them
    packed, first = [], 0
    code = CWriter(depth=1)
    for vectors, times, *_ in tile_loops(code, "o", sizes, lanes, work_items=work_items):
        size = vectors * lanes
        for block in range(times):
            at = first + block * size
            packed.append(_pack_columns(weight[at : at + size]))
        first += size * times
        if unit.cpu.fma_by_lane:
            name = _column_asm(op, unit, vectors, inputs)
            code(f"{name}(w + o * {inputs}, x, NULL, b + o, y + o);")
        else:
            name = _column_c(op, unit, vectors, inputs)
            code(f"{name}(x, w + o * {inputs}, b + o, y + o);")
    if op.activation is Activation.SIGMOID:
        code(f"for (int i = 0; i < {outputs}; ++i)", "    y[i] = sigmoid(y[i]);")
    at_weights = unit.add_weights(np.concatenate(packed))
    at_bias = unit.add_weights(bias)
    head = "const real *x, const real *w, const real *b, real *y"
    name = unit.kernel(
        "dense", f"LOOP void @({head}{RANGE_PARAMS if work_items > 1 else ''})", code
    )
    columns: Arguments = [
        (op.source, [op.source.offset()]),
        (None, [at_weights]),
        (None, [at_bias]),
        (op.target, [op.target.offset()]),
    ]
    cost = inputs * padded // lanes
    emit_calls(unit, name, columns, 1, op.name, cost=cost, work_items=work_items)


def _pack_columns(weight: FloatArray) -> FloatArray:
    return np.ascontiguousarray(weight.T).ravel()


def _column_asm(op: FullyConnected, unit: TranslationUnit, vectors: int, inputs: int) -> str:
    """A convolution of one output: its pixels are the matrix, its weights are the source."""
    size = unit.cpu.vector_bytes * vectors
    strip = microkernel.MicrokernelSpec(
        element=element_type(unit.cpu.element_bytes),
        outputs=1,
        vectors=vectors,
        channels=inputs,
        taps=(0,),
        source_channel_stride=size,
        channel_stride=size,
        residual_channel_stride=size,
        in_place=False,
        activation=Activation.NONE if op.activation is Activation.SIGMOID else op.activation,
        times=1,
        advances_outputs=False,
        clamp_min=False,
        in_order=unit.cpu.in_order,
        has_bias=False,
    )
    text = CWriter(depth=1)
    text(*microkernel.asm_lines(strip))
    return unit.kernel(
        "column", f"INLINE void @({', '.join(microkernel.c_parameters(strip))})", text
    )


def _column_c(op: FullyConnected, unit: TranslationUnit, vectors: int, inputs: int) -> str:
    code = CWriter(depth=1)
    lanes = unit.cpu.lanes
    for at in range(vectors):
        code(f"vf a{at} = LOAD(b + {at} * LANES);")
    times, rest = divmod(inputs, _UNROLL)
    size = vectors * lanes
    if times:
        head = f"for (int k = 0; k < {times}; ++k, x += {_UNROLL}, w += {_UNROLL * size})"
        with code.block(head):
            _multiply_steps(code, unit, vectors, _UNROLL)
    if rest:
        with code.block(""):
            _multiply_steps(code, unit, vectors, rest)
    activation = Activation.NONE if op.activation is Activation.SIGMOID else op.activation
    code(*activation_constants(activation))
    for at in range(vectors):
        code(f"STORE(y + {at} * LANES, {activation_expr(activation, f'a{at}')});")
    head = "INLINE void @(const real *x, const real *w, const real *b, real *y)"
    return unit.kernel(f"column{vectors}", head, code)


def _multiply_steps(code: CWriter, unit: TranslationUnit, vectors: int, count: int) -> None:
    lanes = unit.cpu.lanes
    for k in range(count):
        for at in range(vectors):
            w = f"LOAD(w + {(k * vectors + at) * lanes})"
            code(f"a{at} += {w} * x[{k}];")
