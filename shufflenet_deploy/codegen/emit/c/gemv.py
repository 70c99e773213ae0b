"""Fully connected layers: matrix-vector products that stream packed weights once."""

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
from shufflenet_deploy.codegen.emit.neon.microkernel_registers import MicrokernelSpec
from shufflenet_deploy.codegen.emit.unit import TranslationUnit
from shufflenet_deploy.codegen.ir.ops import FullyConnected
from shufflenet_deploy.network.graph import Activation, FloatArray

_ACCUMULATORS = 8
_UNROLL = 4


def fully_connected(op: FullyConnected, unit: TranslationUnit) -> None:
    """Emit a matrix-vector product; the matrix is packed in streaming order."""
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
    name = unit.kernel("gemv", f"LOOP void @({head}{RANGE_PARAMS if work_items > 1 else ''})", code)
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
    """The AArch64 microkernel with one output channel: weights as pixels, input as weights."""
    size = unit.cpu.vector_bytes * vectors
    strip = MicrokernelSpec(
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
        load_wait=unit.cpu.load_wait,
        has_bias=False,
    )
    text = CWriter(depth=1)
    text(*microkernel.asm_lines(strip))
    return unit.kernel(
        "gemv_columns", f"INLINE void @({', '.join(microkernel.c_parameters(strip))})", text, "asm"
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
    return unit.kernel(f"gemv_{vectors}v", head, code)


def _multiply_steps(code: CWriter, unit: TranslationUnit, vectors: int, count: int) -> None:
    lanes = unit.cpu.lanes
    for k in range(count):
        for at in range(vectors):
            w = f"LOAD(w + {(k * vectors + at) * lanes})"
            code(f"a{at} += {w} * x[{k}];")
